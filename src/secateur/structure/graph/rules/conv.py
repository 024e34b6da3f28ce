"""Convolutions of any dimension, grouped, depthwise and transposed, and pixel shuffles."""

from __future__ import annotations

from secateur.structure.graph.op import Op, Value, rule
from secateur.structure.graph.terms import Dims, Term, fix, size


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def convolution(op: Op) -> Value:
    """x [N, in, ...] and weight [out, in/g, ...] (transposed: [in, out/g, ...]) -> [N, out, ...]."""
    return convolve(op, transposed="transpose" in op.name)


@rule("convolution", "_convolution")
def any_convolution(op: Op) -> Value:
    """The general form, with `transposed` as an argument."""
    return convolve(op, transposed=bool(op.raw("transposed", False)))


def convolve(op: Op, transposed: bool) -> Dims:
    """Tie the channels; window and positions are fixed."""
    x, w, bias = op["input"], op["weight"], op.get("bias")
    lead = len(x) - (len(w) - 1)  # 1 with a batch dimension, 0 without
    alone = _alone(op, w[2:])
    op.freeze(
        [*w[2:], *(t for t, one in zip(x[lead + 1 :], alone, strict=True) if not one)],
        "convolution window",
    )
    out = _channels(op, x[lead], w, transposed)
    if bias:
        op.unify(bias[0], out)
    positions = tuple(
        t if one else fix(n, "convolution window")
        for t, one, n in zip(x[lead + 1 :], alone, op.shape()[lead + 1 :], strict=True)
    )
    at = x[lead + 1 :] if transposed else positions
    heads, inner = ((w[1],), (w[0],)) if transposed else ((out,), (w[1],))
    op.cost(heads, inner, (*x[:lead], *at, *w[2:]), op.weight("weight"))
    return (*x[:lead], out, *positions)


def _alone(op: Op, window: Dims) -> list[bool]:
    """Which dimensions a window of one position goes over step by step: every position stands for itself."""
    if isinstance(op.raw("padding"), str):  # "same" and "valid" pad a window of one by nothing
        padding = [0] * len(window)
    else:
        padding = _each(op.ints("padding", [0]), len(window))
    stride = _each(op.ints("stride", [1]), len(window))
    more = _each(op.ints("output_padding", [0]), len(window))
    return [
        size(k) == 1 and s == 1 and p == 0 and m == 0
        for k, s, p, m in zip(window, stride, padding, more, strict=True)
    ]


def _each(numbers: list[int], count: int) -> list[int]:
    return numbers * count if len(numbers) == 1 else numbers


def _channels(op: Op, channels: Term, w: Dims, transposed: bool) -> Term:
    """The term of the output channels."""
    g = op.integer("groups", 1)
    if g == 1:
        op.unify(channels, w[0 if transposed else 1])
        return w[1 if transposed else 0]
    groups = op.fresh(g)
    op.patch("groups", None, groups)
    if transposed:
        op.unify(channels, w[0])
        op.unify(w[0], groups + op.fresh(size(w[0]) // g))
        return groups + w[1]
    op.unify(channels, groups + w[1])
    op.unify(w[0], groups + op.fresh(size(w[0]) // g))
    return w[0]


@rule("pixel_shuffle")
def pixel_shuffle(op: Op) -> Value:
    """[..., C r r, H, W] -> [..., C, H r, W r]."""
    x, r = op["self"], op.integer("upscale_factor")
    op.freeze(list(x[-2:]), "pixel shuffle")
    channels = op.fresh(size(x[-3]) // (r * r))
    op.unify(x[-3], channels + fix(r * r, "pixel shuffle"))
    return (*x[:-3], channels, *op.fixed_shape()[-2:])


@rule("pixel_unshuffle")
def pixel_unshuffle(op: Op) -> Value:
    """[..., C, H r, W r] -> [..., C r r, H, W]."""
    x, r = op["self"], op.integer("downscale_factor")
    op.freeze(list(x[-2:]), "pixel unshuffle")
    return (*x[:-3], x[-3] + fix(r * r, "pixel unshuffle"), *op.fixed_shape()[-2:])


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(op: Op) -> Value:
    """Channels read as groups x n, written as n x groups."""
    x, g = op["self"], op.integer("groups")
    n = op.fresh(size(x[1]) // g)
    op.unify(x[1], fix(g, "channel shuffle") + n)
    return (x[0], n + fix(g, "channel shuffle"), *x[2:])


@rule("im2col")
def im2col(op: Op) -> Value:
    """[N, C, H, W] -> [N, C k, L]."""
    x = op["self"]
    op.freeze(list(x[-2:]), "unfolded window")
    k = op.shape()[-2] // size(x[-3])
    return (*x[:-3], x[-3] + fix(k, "unfolded window"), *op.fixed_shape()[-1:])


@rule("col2im")
def col2im(op: Op) -> Value:
    """[N, C k, L] -> [N, C, H, W]."""
    x = op["self"]
    op.freeze(x[-1], "folded window")
    channels = op.fresh(op.shape()[-3])
    op.unify(x[-2], channels + fix(size(x[-2]) // size(channels), "folded window"))
    return (*x[:-2], channels, *op.fixed_shape()[-2:])
