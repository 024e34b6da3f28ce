"""The protocols of the axes: one question each, one small file per answer (DESIGN, section 4).

Imports go core <- axes <- engine: an answer sees plain data and a `View`, never another axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from .component import Component, Registry
from .cost import Costs
from .pooling import Pool, pool
from .precision import Precision
from .training import Gate, Initial, Pressure, Tuning
from .trial import Trial
from .types import Groups, Masks, RecoveryPlan, Scores, Target, Update

Speaks = Literal["any", "coupled", "layers", "experts"]
"""Units a criterion can score: any, only those that a later layer reads, whole layers, experts."""


class View(Protocol):
    """What criteria, allocators and solvers may look at: weights, collected statistics, masks."""

    targets: tuple[Target, ...]
    every: tuple[Target, ...]
    """The targets of the whole model; `targets` are those at hand (all, or those of one block)."""
    surveyed: Mapping[str, Sequence[float]]
    """What the allocator's `survey` said of all blocks, where they are pruned one by one."""
    masks: Mapping[str, Tensor]
    """Current mask of each target, bool [target.shape]."""
    learned: Mapping[str, Tensor]
    """What a gate has learned of each target's units while the network trained."""
    costs: Costs
    """What the network costs by the units that stay."""
    progress: float
    """Share of all updates that are done after the one at hand."""

    def weight(self, param: str) -> Tensor:
        """The parameter's current value, detached."""

    def dims(self, param: str) -> tuple[str, ...]:
        """What each dimension of a weight is: `out`, `in`, `k` (kernel), `expert`."""

    def alive(self, param: str) -> Tensor:
        """Bool mask of the parameter's elements as the current masks have it."""

    def write(self, param: str, value: Tensor) -> None:
        """Give a parameter new values, of the shape it has; what is masked becomes zero afterwards."""

    def note(self, target: str, **facts: object) -> None:
        """Say something about a target that the record is to hold (plain data)."""

    def stat(self, name: str, param: str) -> Tensor:
        """A collected statistic (one of the criterion's `needs`) that belongs to `param`."""

    def generator(self, *words: object) -> torch.Generator:
        """A CPU generator that depends on the run's seed, the round and `words` only."""

    def trial(self, scores: Scores, groups: Groups) -> Trial:
        """Tries budgets for units of these scores; only where the whole network and data are at hand."""


class Structure(Component, ABC):
    """WHAT may go together."""

    registry: ClassVar[Registry] = Registry("structure")

    @property
    def traces(self) -> bool:
        """Whether the network is captured as a graph to find the targets, and to take units out."""
        return False

    @property
    def saves(self) -> bool:
        """Whether a unit that is taken out saves work or memory, so that a budget can be met."""
        return False

    @abstractmethod
    def targets(self, model: nn.Module, example: object = None) -> tuple[Target, ...]:
        """The targets of `model`; never empty: a model without any is an error that says why."""

    def absent(self, targets: Sequence[Target]) -> tuple[str, ...]:
        """The kinds of structures asked for that `targets` hold none of, to be told in the record."""
        return ()

    def trace(self, model: nn.Module, example: object = None) -> Any:
        """What tells what goes with a unit when it is taken out; None where masks save no work."""
        return


Observe = Callable[[Iterable[str], Iterable[str]], Mapping[str, Mapping[str, Tensor]]]
"""(statistics, weights) -> {statistic: {weight: value}}, collected on the run's data."""


class Basis(Component, ABC):
    """In what BASIS: rewrites the network before anything is pruned; it computes what it did."""

    registry: ClassVar[Registry] = Registry("basis")
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def in_turn(self) -> bool:
        """Whether places of the residual stream get their bases one after the other, block by block."""
        return False

    @abstractmethod
    def rewrite(
        self, model: nn.Module, observe: Observe | None, density: float | None = None
    ) -> None:
        """Change the network in place; without `observe` its shapes alone (to plan, to load).

        `density`: what is to stay of the network in the end, None where that is not known yet.
        """


class Reorder(Basis):
    """A basis that only puts inputs of layers in another order while blocks are pruned one by one.

    What produces the inputs is put in the same order, so shapes stay and the network is a stock one.
    """

    def rewrite(
        self, model: nn.Module, observe: Observe | None, density: float | None = None
    ) -> None:
        """Nothing: orders are found when the turn of a block comes."""

    @property
    def across(self) -> bool:
        """Whether the residual stream, which all blocks share, gets an order, too."""
        return False

    @abstractmethod
    def judge(self, criterion: Criterion) -> Criterion:
        """What scores the weights whose order is looked for; `criterion` is the recipe's own."""

    @abstractmethod
    def order(self, scores: Tensor, n: int, m: int) -> Tensor:
        """[inputs] which input comes at each place, for scores [rows, inputs] of which n of m stay."""


class Criterion(Component, ABC):
    """WHICH are worth least: a score for every unit, higher = keep.

    `needs` names the statistics the score rests on; one collector gathers the union for all.
    """

    registry: ClassVar[Registry] = Registry("criterion")
    needs: ClassVar[frozenset[str]] = frozenset()
    speaks: ClassVar[Speaks] = "any"
    of_training: ClassVar[bool] = False  # scores what a gate or pressure knows of the units
    at_run_time: ClassVar[bool] = False  # has no score before: units are judged for every input

    def required(self) -> frozenset[str]:
        """The statistics this criterion needs; wrappers add those of what they wrap."""
        return self.needs

    @abstractmethod
    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] float scores of the units of one target."""


class ElementCriterion(Criterion):
    """A criterion that scores single elements; units of larger structures pool their elements.

    Pooling runs over all members of the target: `sum`, `mean`, `norm` (root of the sum of squares)
    or `max` over the elements that a unit owns, in float32 or wider.
    """

    pool: Pool = "sum"

    @abstractmethod
    def elements(self, view: View, param: str) -> Tensor:
        """[shape of the parameter] float scores of its elements."""

    def score(self, view: View, target: Target) -> Tensor:
        """[target.shape] element scores, pooled where a unit owns several elements."""
        if len(target.members) == 1 and target.members[0].layout.size == 1:
            member = target.members[0]
            return member.layout.view(self.elements(view, member.param)).reshape(target.shape)
        scored = {p: self.elements(view, p) for p in dict.fromkeys(m.param for m in target.members)}
        parts = [m.layout.matrix(scored[m.param]) for m in target.members]
        return pool(torch.cat([p.to(wide(p)) for p in parts], dim=1), self.pool).view(target.shape)


def wide(values: Tensor) -> torch.dtype:
    """The dtype statistics of `values` are accumulated in: float64 stays, all else is float32."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


class Scope(Component, ABC):
    """COMPARED with whom: cuts the units of all targets into groups."""

    registry: ClassVar[Registry] = Registry("scope")
    across_targets: ClassVar[bool] = False
    """Whether units of different targets are compared, so that all must be there at once."""

    @property
    def fixed_density(self) -> float | None:
        """The density the grouping itself dictates (N:M: N / M), None where it is free."""
        return None

    @property
    def pattern(self) -> tuple[int, int] | None:
        """(N, M) where N of every M consecutive inputs stay."""
        return None

    @abstractmethod
    def groups(self, targets: tuple[Target, ...]) -> Groups:
        """The groups of all units; every unit is in exactly one."""


class Allocator(Component, ABC):
    """HOW MANY from each group: whole numbers whose total is exact."""

    registry: ClassVar[Registry] = Registry("allocator")
    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def uses_density(self) -> bool:
        """False where the allocator finds the density by itself (Han's threshold)."""
        return True

    @property
    def scopes(self) -> frozenset[str]:
        """Names of the scopes it can work with; empty = any."""
        return frozenset()

    @property
    def across_targets(self) -> bool:
        """Whether a target's budget depends on the others, so that all must be there at once."""
        return False

    def required(self) -> frozenset[str]:
        """The statistics this allocator needs; wrappers add those of what they wrap."""
        return self.needs

    def check(
        self, groups: Groups, density: float | None, targets: tuple[Target, ...], costs: Costs
    ) -> None:
        """Refuse what bounds exclude, from sizes, names and costs alone, before any work is done."""

    @property
    def exact(self) -> bool:
        """Whether its total is exactly the one asked for, or as near as multiples permit."""
        return True

    def held(self, groups: Groups, left: Tensor, every: tuple[Target, ...]) -> Tensor:
        """[G] int64 the fewest units that bounds leave each group with.

        Args:
            groups: those at hand.
            left: [G] units each still has.
            every: the targets of the whole model, which patterns speak of.
        """
        return torch.zeros_like(groups.size)

    def together(self, groups: Groups, every: tuple[Target, ...]) -> Tensor:
        """[G] int64 an id for each group: those of one id keep equally many, and go down together."""
        return torch.arange(len(groups.size))

    @property
    def weighs(self) -> frozenset[str]:
        """Names of the costs it looks at."""
        return frozenset()

    @property
    def tries(self) -> bool:
        """Whether it tries candidates on data: it needs those, and the whole network at once."""
        return False

    @property
    def labelled(self) -> bool:
        """Whether what it tries is judged by labels."""
        return False

    def settled(self, multiple: Callable[[], int]) -> Allocator:
        """The same with nothing left open: `multiple` measures what widths this machine likes."""
        return self

    @property
    def by_sizes(self) -> bool:
        """Whether its numbers follow from sizes and costs alone, before anything is scored."""
        return False

    @property
    def surveys(self) -> bool:
        """Whether it looks at the scores of all blocks before the first one is pruned."""
        return False

    def survey(self, scores: Scores, view: View) -> dict[str, list[float]]:
        """What budgets depend on beyond the targets at hand, as plain numbers by a name of its own."""
        return {}

    @abstractmethod
    def keep(self, scores: Scores, groups: Groups, density: float | None, view: View) -> Tensor:
        """[G] int64 units to keep in each group.

        `scores` hold -inf for units that are gone already; the total is
        `keep_count(density, number of units)` wherever a density is given and the answer `exact`.
        """


class Schedule(Component, ABC):
    """WHEN: the moments of pruning and the density after each."""

    registry: ClassVar[Registry] = Registry("schedule")
    prunes: ClassVar[bool] = True
    """Whether it has an update at all."""
    regrows: ClassVar[bool] = False
    holds: ClassVar[bool] = True
    """Whether what an update takes out is held out, also by those before the last."""
    waits: ClassVar[bool] = False
    """Whether nothing goes until masks have settled, and then for good."""

    @property
    @abstractmethod
    def final_density(self) -> float | None:
        """The density after the last update; None where the allocator decides."""

    @abstractmethod
    def updates(self, steps_per_epoch: int, total: int) -> Iterator[Update]:
        """The updates in order; `Update.step` is absolute (`it`), `total` the steps of training."""


class Solver(Component, ABC):
    """What the SURVIVORS do at once: changes kept weights after a selection."""

    registry: ClassVar[Registry] = Registry("solver")
    needs: ClassVar[frozenset[str]] = frozenset()

    def required(self) -> frozenset[str]:
        """The statistics this solver needs."""
        return self.needs

    @property
    def makes_up(self) -> bool:
        """Whether it makes up for what blocks before have lost, so that they must be pruned first."""
        return False

    def prepare(self, model: nn.Module, targets: tuple[Target, ...]) -> bool:
        """Add the parameters it will write, as zeros; whether targets may own some of them now."""
        return False


class Repair(Solver):
    """A solver that follows the selection, which the step has made."""

    @abstractmethod
    def solve(self, target: Target, proposal: Tensor, groups: Groups, view: View) -> Tensor:
        """The final mask of the target; new values of kept weights are written into the view.

        The proposal keeps exactly the budget of each group, and so does the answer.
        """


class Chooser(Solver):
    """A solver that selects while it solves: it is told how many stay, and says which.

    Scores are asked for only where they decide how many stay.
    """

    @abstractmethod
    def choose(self, keep: Mapping[str, Tensor], groups: Groups, view: View) -> dict[str, Tensor]:
        """{target: mask} of all targets; new values of kept weights are written into the view.

        `keep[target]`: int64 [groups of the target], how many of its units each keeps.
        """


class Recovery(Component, ABC):
    """How accuracy is WON BACK after an update at the end of training."""

    registry: ClassVar[Registry] = Registry("recovery")

    @abstractmethod
    def plan(self) -> RecoveryPlan:
        """What the engine is to do, as plain data; the engine never asks which recovery it is."""


class Materialiser(Component, ABC):
    """What comes OUT of a finished pruning."""

    registry: ClassVar[Registry] = Registry("materialiser")

    @abstractmethod
    def apply(self, model: nn.Module, targets: tuple[Target, ...], masks: Masks) -> nn.Module:
        """The model to hand over: masked weights, or a smaller module."""


AXES: tuple[type[Component], ...] = (
    Structure, Basis, Initial, Criterion, Scope, Allocator, Schedule, Solver, Pressure, Gate, Tuning,
    Recovery, Precision, Materialiser,
)  # fmt: skip
