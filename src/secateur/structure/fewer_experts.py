"""Taking experts out of a mixture, and the network whose router passes them by."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..core.edits import Change, Edits, Kept
from ..core.errors import PlanError, unknown
from .experts import Mixture, mixtures
from .graph.replay import replay

COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")
"""What modules and configurations call the number of experts."""


def fewer_experts(model: nn.Module, keep: Mapping[str, Sequence[int]]) -> tuple[nn.Module, Edits]:
    """A copy of `model` with some experts of each layer, and the removal as plain data.

    Args:
        keep: path of a layer's experts -> numbers of those that stay; other layers stay whole.

    Router rows go with their experts. The configuration says the new number where every mixture
    ends with the same one; otherwise no stock class can be built from it, and `secateur.load` does.
    """
    every = {mixture.experts: mixture for mixture in mixtures(model)}
    for name, numbers in keep.items():
        if name not in every:
            raise unknown("layer of experts", name, every)
        _check(model, every[name], sorted(set(numbers)))
    left = {m: keep.get(m.experts, range(m.count)) for m in every.values()}
    cut = {m: sorted(set(n)) for m, n in left.items() if len(set(n)) < m.count}
    tensors = {
        name: {0: Kept.of(numbers, mixture.count)}
        for mixture, numbers in cut.items()
        for name, _ in mixture.tensors(model)
    }
    changes = [c for m, n in cut.items() for c in _counts(model, m, len(n))]
    changes += _model_wide(model, {len(set(n)) for n in left.values()}, changes)
    edits = Edits(tensors=tensors, attributes=tuple(changes))
    return replay(copy.deepcopy(model), edits), edits


def _check(model: nn.Module, mixture: Mixture, numbers: list[int]) -> None:
    """Refuse to leave fewer than the router chooses, numbers there are not, and choices in groups."""
    if not numbers or numbers[0] < 0 or numbers[-1] >= mixture.count:
        raise PlanError(
            f"'{mixture.experts}' has experts 0 to {mixture.count - 1}; to keep {numbers} makes no sense"
        )
    if len(numbers) < mixture.top_k:
        raise PlanError(
            f"'{mixture.experts}' would keep {len(numbers)} of {mixture.count} experts, but its router "
            f"chooses {mixture.top_k} for every token; raise the density or set a floor"
        )
    groups = getattr(model.get_submodule(mixture.router), "num_group", 1)
    if groups not in (None, 1):
        raise PlanError(
            f"'{mixture.router}' chooses among {groups} equal groups of experts, which would end "
            "unequal; experts of such routers cannot be taken out"
        )


def _counts(model: nn.Module, mixture: Mixture, left: int) -> Iterator[Change]:
    """The attributes of a mixture's modules that say how many experts it has."""
    for path in dict.fromkeys((mixture.parent, mixture.experts, mixture.router)):
        for attribute in COUNTS:
            if vars(model.get_submodule(path)).get(attribute) == mixture.count:
                yield Change(module=path, attribute=attribute, old=mixture.count, new=left)


def _model_wide(model: nn.Module, left: set[int], done: Sequence[Change]) -> Iterator[Change]:
    """The number the whole model and its configuration say, where all mixtures agree on a new one."""
    old = {change.old for change in done}
    if len(left) != 1 or len(old) != 1:
        return
    (before,), (after,) = old, left
    owners: list[tuple[str, Any]] = [("", vars(model))]
    if hasattr(model, "config"):
        owners.append(("config.", vars(model.config)))
    for prefix, held in owners:
        for attribute in COUNTS:
            if held.get(attribute) == before:
                yield Change(module="", attribute=prefix + attribute, old=before, new=after)


class _PassBy(TorchFunctionMode):
    """Linear layers with some router's weight give -inf for the experts that are passed by."""

    def __init__(self, gone: Mapping[int, Tensor]) -> None:
        super().__init__()
        self._gone = gone

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is F.linear and id(args[1]) in self._gone:
            gone = self._gone[id(args[1])].to(out.device)
            return out.masked_fill(gone, -torch.inf)
        return out


@contextmanager
def passed_by(model: nn.Module, keep: Mapping[str, Sequence[int]]) -> Iterator[None]:
    """Inside, routers choose among the experts of `keep` only: what removal has to equal."""
    gone = {}
    for mixture in mixtures(model):
        if mixture.experts in keep:
            weight = model.get_submodule(mixture.router).weight
            mask = torch.ones(mixture.count, dtype=torch.bool)
            mask[list(keep[mixture.experts])] = False
            gone[id(weight)] = mask
    with _PassBy(gone):
        yield
