"""The network at one level of each target or another: masks made once, weights exchanged in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.axes import Chooser, Scope
from ...core.select import select
from ...core.types import Groups, Scores, Target, element_masks
from ..view import ModelView


@dataclass(frozen=True)
class Level:
    """What is left of a target at a number of units: its mask, and weights that were changed for it."""

    mask: Tensor
    weights: Mapping[str, Tensor]


Sketch = Callable[[Target, Mapping[str, Tensor]], ModelView]
"""A view of one target, given copies of its weights, which are written to instead of the network's."""


class Levels:
    """Weights of a network by how many units of each target stay.

    A level of a target is made when it is first asked for, and kept: a mask (a byte a unit), and where
    the solver chooses, the weights that it leaves as well. Repairs that follow a selection are left out.

    Args:
        model: the network; its weights are exchanged in `open`, and are as before after it.
        targets: what may be pruned.
        scores: -inf for units that are gone.
        scope: cuts targets into groups.
        solver: chooses the units of a target itself; None where the scores do.
        sketch: makes what it looks at.
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Sequence[Target],
        scores: Scores,
        scope: Scope,
        solver: Chooser | None,
        sketch: Sketch,
    ) -> None:
        self._params = dict(model.named_parameters())
        self._targets = {target.name: target for target in targets}
        self._groups = {t.name: scope.groups((t,)) for t in targets}
        self._scores, self._solver, self._sketch = scores, solver, sketch
        self._made: dict[tuple[str, bytes], Level] = {}
        self._now: dict[str, bytes] = {}
        self._dense: dict[str, Tensor] = {}
        self._owners: dict[str, list[str]] = {}
        for target in targets:
            for member in target.members:
                if member.param in self._params:
                    owners = self._owners.setdefault(member.param, [])
                    owners += [target.name] if target.name not in owners else []

    def __len__(self) -> int:
        """How many levels were made."""
        return len(self._made)

    @contextmanager
    def open(self) -> Iterator[Levels]:
        """Inside, `put` may be called; afterwards, and after an error, the weights are as they were."""
        if not self._dense:  # copied once: between trials nothing changes
            self._dense = {name: self._params[name].detach().clone() for name in self._owners}
        try:
            yield self
        finally:
            self.put(None, None)

    @torch.no_grad()
    def put(self, keep: Tensor | None, groups: Groups | None) -> None:
        """Exchange the weights for those with `keep` [G] units of each group; None = as they were."""
        wanted: dict[str, bytes] = {}
        if keep is not None and groups is not None:
            wanted = {name: _key(self._part(name, keep, groups)) for name in self._targets}
        changed = {n for n in self._targets if wanted.get(n) != self._now.get(n)}
        self._now = wanted
        for param in [p for p, owners in self._owners.items() if changed.intersection(owners)]:
            self._params[param].copy_(self._value(param) if wanted else self._dense[param])

    def _value(self, param: str) -> Tensor:
        """A weight with the levels of all targets that own a part of it."""
        levels = {name: self._level(name) for name in self._owners[param]}
        targets = tuple(self._targets[name] for name in levels)
        shapes = {m.param: self._params[m.param].shape for t in targets for m in t.members}
        masks = {name: level.mask for name, level in levels.items()}
        kept = element_masks(targets, masks, shapes)[param]
        written = [w.weights[param] for w in levels.values() if param in w.weights]
        return (written[-1] if written else self._dense[param]) * kept

    def _part(self, name: str, keep: Tensor, groups: Groups) -> Tensor:
        first = groups.first[name]
        return keep[first : first + groups.layouts[name].units]

    def _level(self, name: str) -> Level:
        """The level that a target is at now."""
        key = self._now[name]
        if (name, key) not in self._made:
            keep = torch.frombuffer(bytearray(key), dtype=torch.long)
            self._made[name, key] = self._make(self._targets[name], keep)
        return self._made[name, key]

    def _make(self, target: Target, keep: Tensor) -> Level:
        groups = self._groups[target.name]
        if self._solver is None:
            return Level(select(self._scores, groups, keep)[target.name], {})
        weights = {m.param: self._dense[m.param].clone() for m in target.members}
        view = self._sketch(target, weights)
        masks = self._solver.choose({target.name: keep}, groups, view)
        return Level(masks[target.name], weights)


def _key(keep: Tensor) -> bytes:
    return keep.to(torch.long).contiguous().numpy().tobytes()
