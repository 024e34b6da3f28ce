"""What follows a removal: the user's own module, and an optimiser with its moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import PlanError
from ..materialise import HardMasks
from ..structure.graph.replay import kept_part, replay
from .made import Made


@dataclass
class Followed:
    """Parameters before a removal, and where each is afterwards.

    Attributes:
        model: the network that was given.
        made: the smaller one.
        moved: path of a module before -> since, None where it is gone; others keep theirs.
        before: the parameters of `model` with all of their names, taken before anything is edited.
    """

    model: nn.Module
    made: Made
    moved: Mapping[str, str | None]
    before: dict[int, tuple[nn.Parameter, list[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            self.before.setdefault(id(parameter), (parameter, []))[1].append(name)

    def since(self, parameter: nn.Parameter, new: Mapping[str, nn.Parameter]) -> Any:
        """(old name, parameter since); None where it is gone."""
        for name in self.before[id(parameter)][1]:
            path, _, leaf = name.rpartition(".")
            moved = self.moved.get(path, path)
            if moved is not None and (now := f"{moved}.{leaf}".lstrip(".")) in new:
                return name, new[now]
        return None


def take_over(model: nn.Module, made: Made) -> nn.Module:
    """Do to the user's own module what was done to the copy; returns it."""
    if made.edits.retrace is not None:
        raise PlanError(
            "the network's code holds a width that changes, so that what is left is a captured graph (level "
            f"{made.edits.retrace.level}); in_place=True and the folder of a language model take modules "
            "alone. Choose options that leave that width whole or change all of its kind, or use sc.prune "
            "and sc.shrink without in_place"
        )
    HardMasks.of(model).remove()
    return replay(model, made.edits)


def check_optimizer(optimizer: torch.optim.Optimizer | None, followed: Followed) -> None:
    """Refuse an optimiser that does not belong to the network, before anything is edited."""
    for parameter in _parameters(optimizer):
        if id(parameter) not in followed.before:
            raise PlanError(
                f"the optimiser holds a parameter of shape {list(parameter.shape)} that the network "
                "does not have; give the optimiser of this network"
            )


def _parameters(optimizer: torch.optim.Optimizer | None) -> Iterator[nn.Parameter]:
    for group in optimizer.param_groups if optimizer is not None else ():
        yield from group["params"]


def follow(
    optimizer: torch.optim.Optimizer | None, followed: Followed, small: nn.Module
) -> dict[str, list[str]]:
    """Let the optimiser go on with the smaller network: its groups, and its state cut alike.

    Returns what became of each parameter's state, by the name before: `cut`, `kept` as it was, `reset`
    where it is not known how it would be cut, `none` where there was none, `gone` with its parameter.
    """
    became: dict[str, list[str]] = {how: [] for how in ("cut", "kept", "reset", "none", "gone")}
    if optimizer is None:
        return became
    new = dict(small.named_parameters(remove_duplicate=False))
    state = dict(optimizer.state)
    optimizer.state.clear()
    for group in optimizer.param_groups:
        found = [(old, followed.since(old, new)) for old in group["params"]]
        group["params"] = [pair[1] for _, pair in found if pair is not None]
        for old, pair in found:
            name = pair[0] if pair is not None else followed.before[id(old)][1][0]
            had = state.get(old)
            cut = _cut_state(followed, name, old, had) if had and pair is not None else {}
            if pair is not None and cut:
                optimizer.state[pair[1]] = cut
            became[_fate(followed, name, pair is None, had, cut)].append(name)
    return became


def _fate(
    followed: Followed, name: str, gone: bool, had: Mapping[str, Any] | None, cut: dict[str, Any]
) -> str:
    if gone:
        return "gone"
    if not had:
        return "none"
    if not cut:
        return "reset"
    return "cut" if _changes(followed, name) else "kept"


def _changes(followed: Followed, name: str) -> bool:
    edits = followed.made.edits
    return bool(edits.tensors.get(name)) or edits.scales.get(name, 1.0) != 1.0


def _cut_state(
    followed: Followed, name: str, old: nn.Parameter, state: Mapping[str, Any]
) -> dict[str, Any]:
    cuts = followed.made.edits.tensors.get(name, {})
    scale = followed.made.edits.scales.get(name, 1.0)
    moments = {k for k, v in state.items() if isinstance(v, Tensor) and v.shape == old.shape}
    others = {k for k, v in state.items() if isinstance(v, Tensor) and v.dim() > 0} - moments
    if (scale != 1.0 and not moments <= set(POWERS)) or (others and _changes(followed, name)):
        return {}  # it is not known how they scale, or how they are cut: they begin anew
    return {
        key: kept_part(name, value, cuts) * scale ** POWERS.get(key, 0) if key in moments else value
        for key, value in state.items()
    }


POWERS = {
    "exp_avg": -1, "momentum_buffer": -1, "grad_avg": -1, "exp_inf": -1, "exp_avg_sq": -2,
    "max_exp_avg_sq": -2, "square_avg": -2, "sum": -2, "acc_delta": 2,
}  # fmt: skip
"""How the moments of torch's optimisers go with the scale s of a parameter: as s to this power."""
