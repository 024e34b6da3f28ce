"""Plain data that the axes hand to each other: members, targets, groups, updates, masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from .kth import count_rows
from .layout import Layout, one_group
from .time import START, Time

Scores = Mapping[str, Tensor]
"""Target name -> score of each unit, shape `target.shape`, higher = keep."""


class LazyScores(Mapping[str, Tensor]):
    """Scores that are computed when one is first looked at: who only counts units needs none.

    Attributes:
        alive: target name -> which units are there, those whose score is not -inf.
    """

    def __init__(self, compute: Callable[[], Scores], alive: Mapping[str, Tensor]) -> None:
        self._compute, self.alive = compute, alive

    @cached_property
    def _scores(self) -> Scores:
        return self._compute()

    def __getitem__(self, name: str) -> Tensor:
        return self._scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.alive)

    def __len__(self) -> int:
        return len(self.alive)


Masks = Mapping[str, Tensor]
"""Target name -> bool of each unit, shape `target.shape`, True = keep."""


@dataclass(frozen=True)
class Member:
    """The elements of one tensor that belong to a target; `layout` says which go with which unit.

    Attributes:
        reads: the dimension along which a layer reads what the units put out; None where the tensor
            writes them, or where that is not known.
        role: `scale` or `shift` of a batch norm's weight or bias; empty for everything else.
    """

    param: str
    layout: Layout
    reads: int | None = None
    role: Literal["", "scale", "shift"] = ""


@dataclass(frozen=True)
class Target:
    """What must go together: a grid of units, each owning a slice of every member.

    Attributes:
        name: readable and unique, e.g. `layer1.0.conv1.weight`.
        kind: `weights`, `rows`, `blocks`, `channels`, `heads`, …
        shape: the grid of units; for single weights the shape of the tensor.
        members: every tensor slice a unit owns; the first is the one scores speak of by default.
        dims: what each grid dimension is (`out`, `in`, `k`), for scopes that ask for rows or inputs.
        exact: whether removing a unit equals masking it.
        layer: the module that owns the first member, for reports by layer.
        even: names of all targets, this among them, that code cuts a tensor into as equal pieces; an
            empty name is a piece that keeps its size. Empty where there is no such cut.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    members: tuple[Member, ...]
    dims: tuple[str, ...] = ()
    exact: bool = True
    layer: str = ""
    even: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """How many units may be kept or removed one by one."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Groups:
    """Who is compared with whom: each target's unit grid cut into groups by a strided layout.

    Attributes:
        layouts: target name -> layout whose leading dimensions enumerate that target's groups.
        first: target name -> id of its first group; targets that share an id are compared together.
        size: [G] int64, units in each group over all targets.
    """

    layouts: Mapping[str, Layout]
    first: Mapping[str, int]
    size: Tensor

    def ids(self, target: str) -> Tensor:
        """[lead..., rest...] -> flat [units] int64: the group of every unit of `target`."""
        layout = self.layouts[target]
        out = torch.empty(math.prod(layout.shape), dtype=torch.long)
        view = layout.view(out)
        number = torch.arange(layout.units).view(
            *layout.lead_shape, *[1] * (view.dim() - layout.lead)
        )
        view.copy_((number + self.first[target]).expand(view.shape))
        return out

    def merged(self) -> Groups:
        """The same units, in the same order, as one group over all targets."""
        layouts = {name: one_group(layout.shape) for name, layout in self.layouts.items()}
        return Groups(layouts, dict.fromkeys(layouts, 0), self.size.sum()[None])

    def count(self, masks: Masks) -> Tensor:
        """[G] units of each group that the masks keep."""
        total = torch.zeros(len(self.size), dtype=torch.long)
        for name, layout in self.layouts.items():
            kept = count_rows(layout.matrix(masks[name])).cpu()  # [groups of this target]
            total[self.first[name] : self.first[name] + layout.units] += kept
        return total

    @property
    def shared(self) -> bool:
        """Whether any group spans several targets."""
        spans = sum(layout.units for layout in self.layouts.values())
        return spans > len(self.size)


Across = Literal["none", "falling", "all"]


@dataclass(frozen=True)
class Settling:
    """Masks are taken for good once the last ones drawn agree.

    Attributes:
        memory: how many of the masks drawn last are compared.
        within: share of all units in which the newest may differ from each of the others.
    """

    memory: int
    within: float


@dataclass(frozen=True)
class Update:
    """One change of the masks: when, to what density, and how much to drop and grow again.

    Attributes:
        step: the moment in training.
        density: fraction kept after the update; None where the allocator decides by itself.
        drop: fraction of the survivors to drop and grow anew (sparse training), 0 for none.
        progress: share of all updates that are done after this one; what an allocator that decides by
            itself goes by when it takes several.
        across: what is compared over all groups where weights move: nothing, what a falling density
            takes, or all that is dropped.
        soft: what goes is set to zero once, is not held there, and may come back.
        settling: masks are drawn, and hold only once they have settled; None = they hold at once.
    """

    step: Time = START
    density: float | None = None
    drop: float = 0.0
    progress: float = 1.0
    across: Across = "none"
    soft: bool = False
    settling: Settling | None = None


@dataclass(frozen=True)
class Adapter:
    """Low-rank weights trained beside the frozen ones, and merged in at the end.

    Attributes:
        rank, alpha: W + (alpha / rank) B A with A [rank, in], B [out, rank].
        dropout: on what enters A.
        layers: selectors of linear layers; empty = all but the classifier.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecoveryPlan:
    """What to do after an update at the end of training.

    Attributes:
        weights: `keep` the trained weights, `rewind` to those of `rewind_to`, or `reinit`: draw
            new initial ones.
        rewind_to: the time whose weights come back, and from which a `restart` schedule goes on.
        shuffle_masks: shuffle each target's mask (the random ticket of equal layer densities).
        schedule: `none` = no training; `restart` = the training schedule from `rewind_to` to its
            end; `constant` = one learning rate for `length`.
        length: how long to train where the schedule is constant.
        lr_scale: factor on the learning rate (constant: on the peak learning rate).
        every_update: after every update at the end of training, or after the last one only.
        adapter: train low-rank weights beside the frozen ones instead of the weights themselves.
        recalibrate: take the running statistics of batch norms anew from the data.
        rounds: what is done instead after every update but the last (a control of a ticket finds
            the ticket first); None = the same.
    """

    weights: Literal["keep", "rewind", "reinit"] = "keep"
    rewind_to: Time = START
    shuffle_masks: bool = False
    schedule: Literal["none", "restart", "constant"] = "none"
    length: Time | None = None
    lr_scale: float = 1.0
    every_update: bool = True
    adapter: Adapter | None = None
    recalibrate: bool = False
    rounds: RecoveryPlan | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing at all is to be done."""
        changes = self.weights != "keep" or self.shuffle_masks or self.recalibrate
        return self.schedule == "none" and not changes


@dataclass
class Health:
    """What a selection did to the network's layers, reported by name.

    Attributes:
        empty: layers that keep no weight.
        unreachable: layers whose kept weights lie on no path from input to output.
        severed: whether no output depends on the input any more.
        untraced: why paths could not be followed in this network; empty where they were.
    """

    empty: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    severed: bool = False
    untraced: str = ""

    @property
    def collapsed(self) -> bool:
        """Whether any layer has no kept weight or lies on no path from input to output."""
        return bool(self.empty or self.unreachable)


def element_masks(
    targets: tuple[Target, ...], masks: Masks, shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Masks of the parameters' elements: an element stays only if every unit that owns it stays.

    Args:
        targets: the targets that `masks` speaks of.
        masks: target name -> bool [target.shape].
        shapes: parameter name -> its shape.

    Returns:
        Parameter name -> bool mask of its shape, on the masks' device.
    """
    out: dict[str, Tensor] = {}
    for target in targets:
        mask = masks[target.name]
        for member in target.members:
            full = out.setdefault(
                member.param,
                torch.ones(shapes[member.param], dtype=torch.bool, device=mask.device),
            )
            view = member.layout.view(full)  # [*target.shape, rest...]
            rest = view.dim() - member.layout.lead
            view.logical_and_(mask.reshape(*member.layout.lead_shape, *[1] * rest))
    return out


def keep_all(targets: tuple[Target, ...], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Masks that keep every unit: where every run starts."""
    return {t.name: torch.ones(t.shape, dtype=torch.bool, device=device) for t in targets}
