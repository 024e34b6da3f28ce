"""The proof: the smaller network computes what the masked network computes.

Both are the same graph: one over tensors in which the units that go are zero, one over tensors without them.
They are compared on random values: zero biases, tiny layer scales and small initial weights, under which all
attention is uniform, would let a wrong edit pass. What is proved is the structure, whatever the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from secateur.structure.graph.capture import as_traced
from secateur.structure.graph.culprit import first_operator
from secateur.structure.graph.edit import argument, rebuild, sliced
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import base_name
from secateur.structure.graph.positions import Kept, kept_positions, kept_size
from secateur.structure.graph.terms import size

TOLERANCE = 1e-5
"""Relative difference up to which two runs are the same."""


@dataclass(frozen=True)
class Proof:
    """How far two runs differ.

    Attributes:
        error: largest difference of removed and masked, relative to the largest masked output.
        effect: the same of masked and whole: near zero, the comparison says nothing.
        shapes: whether the outputs have the shapes they had.
        finite: whether every output is finite where the whole network's is.
        first: where removed and masked part first, if they do.
    """

    error: float
    effect: float
    shapes: bool
    finite: bool
    first: str = ""

    def holds(self, tolerance: float = TOLERANCE) -> bool:
        """Whether the smaller network computes what the masked one does."""
        return self.shapes and self.finite and self.error <= tolerance


def compare(
    found: Inference,
    kept: Kept,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    preserve: bool = False,
    double: bool = True,
    seed: int = 0,
    locate: bool = False,
) -> Proof:
    """Run whole, masked and removed networks on the example and compare; `locate` where they part."""
    given = found.captured.inputs(args, kwargs)
    values = randomised(found, seed, double)
    change = _all_double if double else None
    inputs = pytree.tree_map(_double, given) if double else given
    nets = [
        rebuild(found, masked(found, kept, values), change=change),
        rebuild(found, sliced(found, kept, values), kept, preserve, change),
    ]
    with torch.no_grad(), _default_dtype(torch.float64 if double else torch.get_default_dtype()):
        zeroed, removed = (
            found.captured.outputs.floats(net(*inputs[0], **inputs[1])) for net in nets
        )
        error = difference(removed, zeroed)
        first = ""
        if locate and not error <= TOLERANCE:
            flat = pytree.tree_leaves(inputs)
            first = first_operator(found, kept, nets[0], nets[1], flat, TOLERANCE)
    with torch.no_grad():  # how far masking goes is no matter of digits: in the network's own dtype
        net = rebuild(found, randomised(found, seed))
        whole = found.captured.outputs.floats(net(*given[0], **given[1]))
    return Proof(
        first=first,
        error=error,
        effect=difference([t.to(z.dtype) for t, z in zip(whole, zeroed, strict=True)], zeroed),
        shapes=[t.shape for t in removed] == [t.shape for t in whole],
        finite=all(bool(torch.isfinite(t).all()) for t in [*removed, *zeroed]),
    )


def randomised(found: Inference, seed: int = 0, double: bool = False) -> dict[str, Tensor]:
    """The tensors of the graph with random parameters and running statistics, large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    means, variances = _statistics(found)
    done: dict[tuple[str, ...], Tensor] = {}
    out = {}
    for name, tensor in found.captured.tensors.items():
        key = found.captured.twins[name]
        if key not in done:
            done[key] = _random_like(tensor, name in means, name in variances, generator, double)
        out[name] = done[key]
    return out


def _statistics(found: Inference) -> tuple[set[str], set[str]]:
    means: set[str] = set()
    variances: set[str] = set()
    for node in found.captured.module.graph.nodes:
        if node.op == "call_function" and base_name(node) in ("batch_norm", "instance_norm"):
            for name, target in (("running_mean", means), ("running_var", variances)):
                given = argument(node, name)
                if isinstance(given, fx.Node):
                    target.add(str(given.target))
    return means, variances


def _random_like(
    tensor: Tensor, mean: bool, variance: bool, generator: torch.Generator, double: bool
) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    data, dtype = tensor.detach(), torch.float64 if double else tensor.dtype
    noise = torch.rand(data.shape, generator=generator).to(data.device, dtype).sub_(0.5)
    if variance:
        data = noise.add_(1.0)
    elif isinstance(tensor, nn.Parameter) and data.dim() > 1:
        data = noise.mul_(math.sqrt(12.0 / max(data[0].numel(), 1)))  # variance 1 / fan-in
    elif mean or isinstance(tensor, nn.Parameter):
        data = noise.add_(data)
    else:
        data = data.to(dtype, copy=True)
    return nn.Parameter(data, False) if isinstance(tensor, nn.Parameter) else data


def masked(found: Inference, kept: Kept, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters (and running means) with the units that go set to zero; other buffers are left alone."""
    means, _ = _statistics(found)
    directions = norm_directions(found)
    out = {}
    for name, tensor in tensors.items():
        cuts = {}
        if isinstance(tensor, nn.Parameter) or name in means:
            cuts = {
                dim: kept_positions(term, kept)
                for dim, term in enumerate(found.terms[name])
                if (name, dim) not in directions and kept_size(term, kept) != size(term)
            }
        out[name] = _zeroed(tensor, cuts) if cuts else tensor
    return out


def _zeroed(tensor: Tensor, cuts: Mapping[int, NDArray[np.int64]]) -> Tensor:
    """A copy that is zero outside the given positions of each dimension."""
    data = tensor.detach().clone()
    for dim, positions in cuts.items():
        gone = torch.ones(data.shape[dim], dtype=torch.bool)
        gone[torch.from_numpy(positions)] = False
        data.index_fill_(dim, gone.nonzero()[:, 0].to(data.device), 0)
    return data


def norm_directions(found: Inference) -> set[tuple[str, int]]:
    """Rows of weight-normalised directions: zero they have no direction, their length g is zeroed instead."""
    out = set()
    for node in found.captured.module.graph.nodes:
        if node.op == "call_function" and base_name(node) in (
            "_weight_norm",
            "_weight_norm_interface",
        ):
            v = argument(node, "v")
            out.add((str(v.target), int(argument(node, "dim") or 0)))
    return out


def floats(output: Any) -> list[Tensor]:
    leaves = [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]
    return [t for t in leaves if t.is_floating_point()]


def difference(a: list[Tensor], b: list[Tensor]) -> float:
    worst = 0.0
    for x, y in zip(a, b, strict=True):
        if x.shape != y.shape:
            return float("inf")
        scale = float(y.abs().max()) if y.numel() else 1.0
        gap = float((x - y).abs().max()) if y.numel() else 0.0
        worst = max(worst, gap / max(scale, 1e-6), key=lambda v: float("inf") if v != v else v)
    return worst


def gap(
    a: nn.Module,
    b: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    read: Callable[[Any], list[Tensor]] | None = None,
) -> float:
    """Largest difference of the outputs that `read` takes, relative to the largest of `a`."""
    read = read or floats
    with torch.no_grad(), as_traced(a), as_traced(b):
        return difference(read(b(*args, **kwargs)), read(a(*args, **kwargs)))


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _all_double(graph: fx.Graph) -> None:
    """Let every conversion of the graph convert to float64."""
    floats = (torch.float32, torch.float16, torch.bfloat16)
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if base_name(node) == "_assert_tensor_metadata":
            graph.erase_node(node)
            continue
        swap = lambda v: torch.float64 if isinstance(v, torch.dtype) and v in floats else v  # noqa: E731
        node.args = tuple(swap(a) for a in node.args)
        node.kwargs = {k: swap(v) for k, v in node.kwargs.items()}
        if base_name(node) == "float":
            node.target = torch.ops.aten.double.default


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
