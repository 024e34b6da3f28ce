"""Where a zeroed unit stays zero: what makes removing it the same as zeroing it.

All parameter slices of a removed unit are zero in the masked network. A contraction over an axis does not
notice that the unit has gone when at least one factor is zero there. This pass follows, for every value, the
axes along which it is surely zero at zeroed units; a contraction or sum over any other axis makes it inexact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import fx, nn

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import Cost, Inexact, Op, words
from secateur.structure.graph.terms import Term, Var, free

Zeros = frozenset[Var]

KEEPS_ZERO = set(
    words(
        "relu gelu silu tanh neg abs sign sin sinh asin asinh atan erf sqrt square expm1 log1p leaky_relu "
        "relu6 prelu hardswish hardtanh elu selu celu mish softsign hardshrink softshrink tanhshrink "
        "logit_ to _to_copy contiguous clone alias detach dropout native_dropout feature_dropout "
        "alpha_dropout lift_fresh_copy type_as round floor ceil trunc positive nan_to_num zeros_like data "
        "float double half bfloat16 cpu real imag conj relu_ _conj resolve_conj resolve_neg tril triu "
        "frac"
    )
)
MOVES = set(
    words(
        "reshape view _unsafe_view view_copy flatten ravel unflatten view_as reshape_as permute transpose "
        "swapaxes swapdims t numpy_T mT mH adjoint movedim moveaxis unsqueeze squeeze expand broadcast_to "
        "expand_as repeat tile repeat_interleave unfold cat concat concatenate stack split "
        "split_with_sizes chunk tensor_split unsafe_split unsafe_chunk slice narrow select unbind flip "
        "roll index_select gather take_along_dim sum mean norm linalg_vector_norm amax amin cumsum var "
        "std pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im avg_pool1d avg_pool2d avg_pool3d "
        "max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
        "adaptive_max_pool1d adaptive_max_pool2d max_pool2d_with_indices upsample_nearest1d "
        "upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_linear1d upsample_trilinear3d "
        "upsample_bicubic2d grid_sampler grid_sampler_2d reflection_pad1d reflection_pad2d "
        "replication_pad1d replication_pad2d glu view_as_real view_as_complex index _unsafe_index "
        "local_response_norm "
        "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 "
        "fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_fftshift fft_ifftshift _fft_r2c _fft_c2r _fft_c2c"
    )
)
PRODUCTS = {
    "mul",
    "matmul",
    "mm",
    "bmm",
    "mv",
    "dot",
    "vdot",
    "einsum",
    "outer",
    "bilinear",
    "cdist",
}
SUMS = {"sum", "norm", "linalg_vector_norm"}
NORMS = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "native_layer_norm", "rms_norm"}


class ZeroPass:
    """One walk over the graph in order; `losses` names axes whose contraction meets something not zero."""

    def __init__(self, found: Inference) -> None:
        self.found = found
        self.zeros: dict[fx.Node, Zeros] = {}
        self.losses: list[Inexact] = []
        self.costs: dict[fx.Node, list[Cost]] = {}
        for cost in found.costs:
            self.costs.setdefault(cost.node, []).append(cost)
        for node in found.captured.graph.nodes:
            self.zeros[node] = self._of(node)

    def axes(self, value: Any) -> set[Var]:
        """Every axis in the dimensions of a value."""
        if isinstance(value, list):
            return set().union(*(self.axes(v) for v in value))
        return {v for term in value or () for v in free(term)}

    def _of(self, node: fx.Node) -> Zeros:
        here = self.axes(self.found.values[node])
        if node.op == "get_attr":
            return frozenset(here) if self._masked(str(node.target)) else frozenset()
        if node.op != "call_function":
            return frozenset()
        if not hasattr(node.target, "_schema"):  # getitem and the like
            sources = [self.zeros[n] for n in node.all_input_nodes]
            return frozenset(here).intersection(sources[0]) if len(sources) == 1 else frozenset()
        op = Op(node, self.found.values, self.found.solver)
        self._watch(op)
        return frozenset(here) & self._rule(op)(op)

    def _masked(self, name: str) -> bool:
        return isinstance(self.found.captured.tensors.get(name), nn.Parameter)

    def _rule(self, op: Op) -> Callable[[Op], Zeros]:
        if op.name in KEEPS_ZERO | MOVES:
            return self._common
        if op.name in PRODUCTS or op.name.startswith(("conv", "_conv")) or op.name == "linear":
            return self._product
        named = {
            "add": self._sum,
            "sub": self._sum,
            "rsub": self._sum,
            "where": self._where,
            "div": self._first,
            "fake_quantize_per_tensor_affine": self._first,
            "fake_quantize_per_channel_affine": self._first,
        }
        named |= {"masked_fill": self._fill, "clamp": self._clamp, "clamp_min": self._clamp}
        named |= {
            "clamp_max": self._clamp,
            "pow": self._power,
            "constant_pad_nd": self._pad,
            "pad": self._pad,
        }
        named |= {
            "zeros": self._all,
            "new_zeros": self._all,
            "embedding": self._weight,
            "copy": self._source,
        }
        named |= {
            "scaled_dot_product_attention": self._value,
            "addmm": self._addmm,
            "baddbmm": self._addmm,
        }
        named |= {"lstm": self._weights, "gru": self._weights, "_weight_norm": self._weight_norm}
        named |= dict.fromkeys(NORMS, self._norm) | {"sigmoid": self._none}
        named |= dict.fromkeys(("_grouped_mm", "transformers::grouped_mm_fallback"), self._experts)
        named |= {
            "index_put": self._written,
            "index_add": self._written,
            "scatter_add": self._written,
        }
        return named.get(op.name, self._none)

    def _none(self, op: Op) -> Zeros:
        return frozenset()

    def _all(self, op: Op) -> Zeros:
        return frozenset(self.axes(self.found.values[op.node]))

    def _nodes(self, op: Op) -> list[fx.Node]:
        return [n for n in op.node.all_input_nodes if self.found.values[n] is not None]

    def _named(self, op: Op, name: str) -> Zeros:
        """The zeros of one argument; an absent one is zero everywhere."""
        value = op.raw(name)
        return self.zeros[value] if isinstance(value, fx.Node) else self._all(op)

    def _common(self, op: Op) -> Zeros:
        """Zero where every input that has the axis is."""
        return self._meet(self._nodes(op))

    def _meet(self, nodes: Iterable[fx.Node]) -> Zeros:
        nodes = list(nodes)
        every = set().union(*(self.zeros[n] for n in nodes))
        return frozenset(
            v
            for v in every
            if all(v in self.zeros[n] for n in nodes if v in self.axes(self.found.values[n]))
        )

    def _strict(self, nodes: Iterable[fx.Node]) -> Zeros:
        sets = [self.zeros[n] for n in nodes]
        return frozenset.intersection(*sets) if sets else frozenset()

    def _any(self, nodes: Iterable[fx.Node]) -> Zeros:
        return frozenset().union(*(self.zeros[n] for n in nodes))

    def _product(self, op: Op) -> Zeros:
        bias = op.raw("bias")
        factors = [n for n in self._nodes(op) if n is not bias]
        out = self._any(factors)
        return out & self.zeros[bias] if isinstance(bias, fx.Node) else out

    def _addmm(self, op: Op) -> Zeros:
        added = op.raw("self")
        factors = [n for n in self._nodes(op) if n is not added]
        return self._any(factors) & self.zeros[added]

    def _sum(self, op: Op) -> Zeros:
        nodes = self._nodes(op)
        numbers = [a for a in op.node.args[:2] if isinstance(a, int | float) and a != 0]
        return frozenset() if numbers else self._strict(nodes)

    def _where(self, op: Op) -> Zeros:
        if not all(isinstance(op.raw(name), fx.Node) for name in ("self", "other")):
            return frozenset()
        return self._strict([op.raw("self"), op.raw("other")])

    def _first(self, op: Op) -> Zeros:
        given = op.node.args[0]
        return self.zeros[given] if isinstance(given, fx.Node) else frozenset()

    def _fill(self, op: Op) -> Zeros:
        return self._first(op) if op.raw("value", None) == 0 else frozenset()

    def _pad(self, op: Op) -> Zeros:
        return self._first(op) if op.raw("value", 0) in (0, 0.0) else frozenset()

    def _clamp(self, op: Op) -> Zeros:
        low, high = op.raw("min", 0), op.raw("max", 0)
        if not (isinstance(low, int | float) and isinstance(high, int | float)):
            return frozenset()
        return self._first(op) if low <= 0 <= high else frozenset()

    def _power(self, op: Op) -> Zeros:
        exponent = op.raw("exponent")
        return (
            self._first(op) if isinstance(exponent, int | float) and exponent > 0 else frozenset()
        )

    def _weight(self, op: Op) -> Zeros:
        return self._named(op, "weight")

    def _source(self, op: Op) -> Zeros:
        return self._named(op, "src")

    def _value(self, op: Op) -> Zeros:
        return self._named(op, "value")

    def _weights(self, op: Op) -> Zeros:
        return self._any(n for n in self._nodes(op) if n.op == "get_attr")

    def _weight_norm(self, op: Op) -> Zeros:
        return self._any(self._nodes(op))

    def _experts(self, op: Op) -> Zeros:
        return self._any(self._nodes(op)[:2])

    def _written(self, op: Op) -> Zeros:
        target, source = op.node.args[0], op.raw("values", op.raw("source", op.raw("src")))
        nodes = [n for n in (target, source) if isinstance(n, fx.Node)]
        return self._strict(nodes)

    def _norm(self, op: Op) -> Zeros:
        """Affine parameters that are zero make the result zero; a bias alone would not."""
        if isinstance(op.raw("weight"), fx.Node):
            return self._named(op, "weight") & self._named(op, "bias")
        plain = op.name == "rms_norm" and op.raw("bias") is None
        return self._named(op, "input") if plain else frozenset()

    def _watch(self, op: Op) -> None:
        """Note contractions, sums and averages over axes along which nothing is zero."""
        where = f"{op.name} reads it where it is not zero"
        for cost in self.costs.get(op.node, ()):
            names = ("query", "key") if op.name.startswith("scaled_dot") else ()
            factors = [op.raw(name) for name in names] or self._nodes(op)
            self._lost(cost.inner, self._any(factors), where)
        if op.name in SUMS:
            left = self.axes(self.found.values[op.node])
            gone = {v for v in self.axes(op.tensors()[0]) if v not in left}
            self._lost([(v,) for v in gone], self._any(self._nodes(op)[:1]), where)

    def _lost(self, terms: Iterable[Term], zero: Zeros, where: str) -> None:
        for term in terms:
            self.losses += [Inexact((v,), where, False) for v in free(term) if v not in zero]


def inexact_by_value(found: Inference) -> list[Inexact]:
    """Axes that a contraction, a sum or a mended average reads where they are not zero."""
    walk = ZeroPass(found)
    out = list(walk.losses)
    for note in found.inexact:
        source = note.node.args[0] if note.mends and note.node is not None else None
        if isinstance(source, fx.Node):
            unmended = [v for v in free(note.term) if v not in walk.zeros[source]]
            out += [
                Inexact((v,), f"{note.why} of values that are not zero", False) for v in unmended
            ]
    return out
