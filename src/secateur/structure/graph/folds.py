"""Old counts folded into ordinary RMS norms.

With n -> m units and x summed over those that stay, the norm that keeps the old count is the norm of m units
with another weight and another eps:

    w x / sqrt(sum(x^2) / n + eps)  =  w sqrt(n/m) x / sqrt(sum(x^2) / m + eps n/m)

Where the code shifts the weight first (Gemma's 1 + w), the new one is (1 + w) sqrt(n/m) - 1. Layer norm has
no such form: with the missing units zero, its variance is sum(x^2) / n - (sum(x) / n)^2, and no weight, bias
or eps of a layer norm over m units gives that.
What is folded is compared with the edited graph like every other removal, never trusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor, fx, nn

from secateur.structure.graph.attributes import Change, owners_of
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.op import Op, base_name
from secateur.structure.graph.positions import Kept
from secateur.structure.graph.preserve import REWRITES, counted

FOLDED = ("mean", "rms_norm")
CONVERSIONS = ("to", "_to_copy", "float", "double", "type_as", "contiguous", "clone", "alias")


@dataclass(frozen=True, eq=False)
class Folds:
    """What lets ordinary norms divide by the old count.

    Attributes:
        scales: weight -> factor, with all names of tied ones.
        changes: the eps of every norm.
        shifts: weight -> what the code adds to it before it multiplies; 0 where it is not named.
    """

    scales: Mapping[str, float]
    changes: tuple[Change, ...]
    shifts: Mapping[str, float] = field(default_factory=dict)

    def scaled(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors with the factors in."""
        return {name: self._scaled(name, tensor) for name, tensor in tensors.items()}

    def _scaled(self, name: str, tensor: Tensor) -> Tensor:
        if name not in self.scales:
            return tensor
        shift = self.shifts.get(name, 0.0)
        return (tensor.detach() + shift) * self.scales[name] - shift


def find_folds(model: nn.Module, found: Inference, kept: Kept) -> Folds | None:
    """Folds for every average over a dimension that loses units; None where one has no fold."""
    scales: dict[str, float] = {}
    shifts: dict[str, float] = {}
    changes: dict[str, Change] = {}
    for node, old, new in _averages(found, kept):
        norm = owners_of(node)[0]
        eps = _eps(model, norm, found)
        weight = f"{norm}.weight".lstrip(".")
        if base_name(node) not in FOLDED or eps is None or weight not in found.terms:
            return None
        shift = _shift(found, weight)
        if shift is None:
            return None
        held = getattr(model.get_submodule(norm), eps)
        change = Change(norm, eps, held, held * old / new)
        names = found.captured.twins[weight]
        if any(scales.setdefault(name, sqrt(old / new)) != sqrt(old / new) for name in names):
            return None
        shifts |= dict.fromkeys(names if shift else (), shift)
        if changes.setdefault(norm, change) != change:
            return None
    return Folds(scales, tuple(changes.values()), shifts)


def _shift(found: Inference, weight: str) -> float | None:
    """What every use of a weight adds to it before it multiplies; None where uses differ."""
    reads = [
        node for node in found.captured.graph.nodes
        if node.op == "get_attr" and str(node.target) in found.captured.twins[weight]
    ]  # fmt: skip
    added = {shift for node in reads for shift in _added(node)}
    return added.pop() if len(added) == 1 else None


def _added(node: fx.Node) -> Iterator[float | None]:
    """The number that each use of a value adds; None where it is a tensor."""
    for user in node.users:
        name = base_name(user)
        if name == "_assert_tensor_metadata":
            continue
        if name in CONVERSIONS:
            yield from _added(user)
        elif name in ("add", "rsub", "sub"):
            numbers = [a for a in user.args if isinstance(a, int | float)]
            yield float(numbers[0]) if name == "add" and len(numbers) == 1 else None
        else:
            yield 0.0


def scale_weights(
    model: nn.Module, scales: Mapping[str, float], shifts: Mapping[str, float] | None = None
) -> None:
    """Multiply parameters in place, shifted for the time, tied ones once; gradients follow by the inverse."""
    done = set()
    for name, scale in scales.items():
        parameter = model.get_parameter(name)
        if id(parameter) in done:
            continue
        done.add(id(parameter))
        with torch.no_grad():
            shift = (shifts or {}).get(name, 0.0)
            parameter.add_(shift).mul_(scale).sub_(shift)
            if parameter.grad is not None:
                parameter.grad.div_(scale)


def _averages(found: Inference, kept: Kept) -> Iterator[tuple[fx.Node, int, int]]:
    """Operators that average over a dimension that loses units, with the old and the new count."""
    for node in found.captured.graph.nodes:
        if node.op == "call_function" and base_name(node) in REWRITES:
            old, new = counted(Op(node, found.values, found.solver), kept)
            if old != new:
                yield node, old, new


def _eps(model: nn.Module, norm: str, found: Inference) -> str | None:
    """The one attribute of a module whose value is a constant between 0 and 1 of its graph."""
    try:
        held = vars(model.get_submodule(norm))
    except AttributeError:
        return None
    constants = {
        value
        for node in found.captured.graph.nodes
        if owners_of(node)[0] == norm
        for value in (*node.args, *node.kwargs.values())
        if isinstance(value, float)
    }
    names = [n for n, v in held.items() if isinstance(v, float) and 0 < v < 1 and v in constants]
    return names[0] if len(names) == 1 else None
