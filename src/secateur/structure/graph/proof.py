"""The proof: the smaller network computes what the masked network computes.

Both are the same graph: one over tensors in which the units that go are zero, one over tensors without them.
They are compared on random values: zero biases, tiny layer scales and small initial weights, under which all
attention is uniform, would let a wrong edit pass. What is proved is the structure, whatever the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from secateur.structure.graph.capture import as_traced
from secateur.structure.graph.culprit import first_operator
from secateur.structure.graph.drawn import drawing_what_the_first_drew
from secateur.structure.graph.edit import argument, edited, held, sliced
from secateur.structure.graph.graph_run import GraphRun
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import base_name
from secateur.structure.graph.outputs import has_digits
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
        outputs: what the removed network gives, in float64.
    """

    error: float
    effect: float
    shapes: bool
    finite: bool
    first: str = ""
    outputs: Sequence[Tensor] = field(default=(), repr=False, compare=False)

    def holds(self, tolerance: float = TOLERANCE) -> bool:
        """Whether the smaller network computes what the masked one does."""
        return self.shapes and self.finite and self.error <= tolerance


def compare(
    found: Inference,
    kept: Kept,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    preserve: bool = False,
    locate: bool = False,
    values: Mapping[str, Tensor] | None = None,
) -> Proof:
    """Run masked and removed networks on the example in float64, and the whole one, and compare.

    Args:
        preserve: let normalisations keep dividing by the old count.
        locate: say where the two part, if they do.
        values: what the graph's tensors are; `randomised` where None.
    """
    given = found.captured.inputs(args, kwargs)
    values = randomised(found) if values is None else values
    small = sliced(found, kept, values)
    leaves = [_double(leaf) for leaf in pytree.tree_leaves(given)]
    masking = Masking(found, kept)
    nets = [
        _in_float64(found, values, masking.zeroed),
        _in_float64(found, small, lambda name, tensor: tensor, kept, preserve),
    ]
    nets = drawing_what_the_first_drew(found, kept, *nets)
    with _default_dtype(torch.float64):
        zeroed, removed = (found.captured.outputs.floats(net.outputs(leaves)) for net in nets)
        error = difference(removed, zeroed)
        first = ""
        if locate and not error <= TOLERANCE:
            first = first_operator(found, kept, nets[0], nets[1], leaves, TOLERANCE)
    # how far masking goes is no matter of digits: in the network's own dtype
    net = GraphRun(edited(found), lambda name: held(found, name, values))
    whole = found.captured.outputs.floats(net.outputs(pytree.tree_leaves(given)))
    return Proof(
        first=first,
        error=error,
        effect=difference([t.to(z.dtype) for t, z in zip(whole, zeroed, strict=True)], zeroed),
        shapes=[t.shape for t in removed] == [t.shape for t in whole],
        finite=all(bool(torch.isfinite(t).all()) for t in [*removed, *zeroed]),
        outputs=removed,
    )


def _in_float64(
    found: Inference,
    values: Mapping[str, Tensor],
    zeroed: Callable[[str, Tensor], Tensor],
    kept: Kept | None = None,
    preserve: bool = False,
) -> GraphRun:
    """A graph whose tensors are float64 from the time they are read; `zeroed` may write into them."""

    def read(name: str) -> Any:
        tensor = held(found, name, values)
        if isinstance(tensor, Tensor) and has_digits(tensor):
            return zeroed(name, _double(tensor.detach(), copy=True))
        return tensor

    return GraphRun(edited(found, kept, preserve, _all_double), read)


def randomised(found: Inference, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of the graph with random parameters and running statistics, large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    means, variances = _statistics(found)
    done: dict[tuple[str, ...], Tensor] = {}
    out = {}
    for name, tensor in found.captured.tensors.items():
        key = found.captured.twins[name]
        if key not in done:
            done[key] = _random_like(tensor, name in means, name in variances, generator)
        out[name] = done[key]
    return out


def _statistics(found: Inference) -> tuple[set[str], set[str]]:
    means: set[str] = set()
    variances: set[str] = set()
    for node in found.captured.graph.nodes:
        if node.op == "call_function" and base_name(node) in ("batch_norm", "instance_norm"):
            for name, target in (("running_mean", means), ("running_var", variances)):
                given = argument(node, name)
                if isinstance(given, fx.Node):
                    target.add(str(given.target))
    return means, variances


def _random_like(tensor: Tensor, mean: bool, variance: bool, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    data, parameter = tensor.detach(), isinstance(tensor, nn.Parameter)

    def drawn(low: float, high: float) -> Tensor:
        noise = torch.empty(data.shape, dtype=torch.float32).uniform_(
            low, high, generator=generator
        )
        return noise.to(data.device, data.dtype)

    if variance:
        data = drawn(0.5, 1.5)
    elif parameter and data.dim() > 1:
        reach = math.sqrt(3.0 / max(data[0].numel(), 1))  # variance 1 / fan-in
        data = drawn(-reach, reach)
    elif mean or parameter:
        data = drawn(-0.5, 0.5).add_(data)
    return nn.Parameter(data, False) if parameter else data


class Masking:
    """Where the units that go lie in parameters and running means; other buffers are left alone."""

    def __init__(self, found: Inference, kept: Kept) -> None:
        self.found, self.kept = found, kept
        self.means, _ = _statistics(found)
        self.directions = norm_directions(found)

    def touches(self, name: str) -> bool:
        """Whether any of a tensor is zeroed."""
        return bool(self._gone(name))

    def zeroed(self, name: str, tensor: Tensor) -> Tensor:
        """The tensor, with zeros written where its units go."""
        for dim, units in self._gone(name).items():
            tensor.index_fill_(dim, units.to(tensor.device), 0)
        return tensor

    def _gone(self, name: str) -> dict[int, Tensor]:
        own = self.found.captured.tensors[name]
        if not (isinstance(own, nn.Parameter) or name in self.means):
            return {}
        return {
            dim: _rest(kept_positions(term, self.kept), own.shape[dim])
            for dim, term in enumerate(self.found.terms[name])
            if (name, dim) not in self.directions and kept_size(term, self.kept) != size(term)
        }


def masked(found: Inference, kept: Kept, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the units that go set to zero, copied where there are any."""
    masking = Masking(found, kept)
    return {
        name: masking.zeroed(name, tensor.detach().clone()) if masking.touches(name) else tensor
        for name, tensor in tensors.items()
    }


def _rest(positions: NDArray[np.int64], size: int) -> Tensor:
    """The other positions of a dimension."""
    gone = torch.ones(size, dtype=torch.bool)
    gone[torch.from_numpy(positions)] = False
    return gone.nonzero()[:, 0]


def norm_directions(found: Inference) -> set[tuple[str, int]]:
    """Rows of weight-normalised directions: zero they have no direction, their length g is zeroed instead."""
    out = set()
    for node in found.captured.graph.nodes:
        if node.op == "call_function" and base_name(node) in (
            "_weight_norm",
            "_weight_norm_interface",
        ):
            v = argument(node, "v")
            out.add((str(v.target), int(argument(node, "dim") or 0)))
    return out


def floats(output: Any) -> list[Tensor]:
    leaves = [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]
    return [t for t in leaves if has_digits(t)]


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
    return difference(read(run(b, args, kwargs)), read(run(a, args, kwargs)))


def run(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a network gives when it runs as it is traced."""
    with torch.no_grad(), as_traced(model):
        return model(*args, **kwargs)


def _double(value: Any, copy: bool = False) -> Any:
    if not (isinstance(value, Tensor) and has_digits(value)):
        return value
    return value.to(torch.complex128 if value.is_complex() else torch.float64, copy=copy)


def _all_double(graph: fx.Graph) -> None:
    """Let every conversion of the graph convert to float64."""
    wide = dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64)
    wide[torch.complex64] = torch.complex128
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if base_name(node).startswith("fake_quantize"):
            _in_float32(graph, node)
            continue
        if base_name(node) == "_assert_tensor_metadata":
            graph.erase_node(node)
            continue
        swap = lambda v: wide.get(v, v) if isinstance(v, torch.dtype) else v  # noqa: E731
        node.args = tuple(swap(a) for a in node.args)
        node.kwargs = {k: swap(v) for k, v in node.kwargs.items()}
        if base_name(node) == "float":
            node.target = torch.ops.aten.double.default


def _in_float32(graph: fx.Graph, node: fx.Node) -> None:
    """Let an operator that knows no float64 be given float32, and what it gives be float64 again."""
    to = torch.ops.aten.to.dtype
    with graph.inserting_before(node):
        narrow = {
            n: graph.call_function(to, (n, torch.float32))
            for n in node.all_input_nodes
            if n.op != "get_attr"
            or str(n.meta.get("val", torch.empty(0)).dtype).startswith("torch.float")
        }
    node.args = fx.map_arg(node.args, lambda n: narrow.get(n, n))
    with graph.inserting_after(node):
        widened = graph.call_function(to, (node, torch.float64))
    node.replace_all_uses_with(widened, delete_user_cb=lambda user: user is not widened)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
