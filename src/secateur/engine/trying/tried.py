"""Budgets tried on a run's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from ...core.axes import Chooser
from ...core.errors import PlanError
from ...core.types import Groups, Scores, Target
from ..collect.state import unchanged
from ..run import Run
from ..store import Saved
from ..view import ModelView, Stats
from .divergence import dense_log_probabilities, divergence, log_probabilities
from .levels import Levels
from .mistakes import mistakes
from .samples import Samples, apart, with_labels


class Tried:
    """What an allocator that tries candidates is given: see `core.trial.Trial`.

    Of every batch the outputs of the network as it is are computed, then those of each candidate: memory
    holds the logits of two of them, however many samples and candidates there are.

    Args:
        run: the run, in the middle of an update; its network is as before after every trial.
        stats: what was collected for the update.
        round: the number of the update.
        scores, groups: of all units.
    """

    def __init__(self, run: Run, stats: Stats, round: int, scores: Scores, groups: Groups) -> None:
        if run.setting.scoring is None:
            raise PlanError(
                f"method '{run.recipe.method}' tries candidates on data (allocator "
                f"'{run.recipe.allocator.name}'); pass data=... or calibration=..."
            )
        solver = run.recipe.solver
        self._run, self._stats, self._round, self._groups = run, stats, round, groups
        self._data = Samples(run.setting.scoring)
        self._levels = Levels(
            run.model, run.targets, scores, run.recipe.scope,
            solver if isinstance(solver, Chooser) else None, self._sketch,
        )  # fmt: skip
        self._passes = 0

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self._data)

    def __call__(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        """The mean divergence of each candidate."""
        model = self._run.model
        sums, count = [0.0] * len(candidates), 0
        with unchanged(model, {}, {}, self._run.batch_statistics), self._levels.open() as levels:
            for batch in self._data.batches(chosen):
                levels.put(None, None)
                dense = dense_log_probabilities(model, batch)
                count += len(dense)
                for i, keep in enumerate(candidates):
                    levels.put(keep, self._groups)
                    sums[i] += divergence(dense, log_probabilities(model, batch))
        self._passes += len(candidates) * len(chosen)
        return [total / max(count, 1) for total in sums]

    def errors(self, candidates: Sequence[Tensor], chosen: Sequence[int]) -> list[float]:
        """The share of each candidate's predictions that are wrong."""
        model = self._run.model
        wrong, count = [0] * len(candidates), 0
        with unchanged(model, {}, {}, self._run.batch_statistics), self._levels.open() as levels:
            for batch in self._labelled.batches(chosen):
                x, y = apart(batch)
                for i, keep in enumerate(candidates):
                    levels.put(keep, self._groups)
                    missed, seen = mistakes(model, x, y)
                    wrong[i] += missed
                count += seen
        self._passes += len(candidates) * len(chosen)
        return [missed / max(count, 1) for missed in wrong]

    @cached_property
    def _labelled(self) -> Samples:
        """The same samples with their labels."""
        assert self._run.setting.scoring is not None
        return Samples(self._run.setting.scoring, with_labels)

    def resume(self, words: str) -> dict[str, Any]:
        """Where a search of these words was when its run was killed."""
        saved = self._run.store.get(self._name)
        if saved is None or saved.meta.get("words") != words:
            return {}
        self._passes = int(saved.meta["passes"])
        return dict(saved.meta["state"])

    def reached(self, words: str, state: dict[str, Any]) -> None:
        """Keep where the search is, and tell whoever watches the run."""
        meta = {"words": words, "passes": self._passes, "state": state}
        self._run.store.put(self._name, Saved({}, meta))
        self._run.tell({"kind": "searched", "round": self._round, **state})

    def note(self, **facts: object) -> None:
        """Facts of the search, for the record: with how many passes of single samples, on how many."""
        seen = {"samples": len(self._data), "passes": self._passes, "levels": len(self._levels)}
        self._run.place.searched.append({"round": self._round, **facts, **seen})

    @property
    def _name(self) -> str:
        return f"search-{self._round}"

    def _sketch(self, target: Target, weights: Mapping[str, Tensor]) -> ModelView:
        """A view of one target with weights of its own."""
        run = self._run
        return _Sketch(weights, run, (target,), self._stats, self._round)


class _Sketch(ModelView):
    """A view that reads and writes copies of a target's weights."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        run: Run,
        targets: tuple[Target, ...],
        stats: Stats,
        round: int,
    ) -> None:
        self._copies = weights
        super().__init__(run.model, targets, run.masks, stats, run.setting.seed, round, run.targets)

    def _parameters(self, model: Any) -> dict[str, Tensor]:
        return {**super()._parameters(model), **self._copies}
