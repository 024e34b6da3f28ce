"""A recipe: one answer per axis, a frozen value without model or tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pydantic import Field

from .axes import (
    Allocator,
    Basis,
    Criterion,
    Materialiser,
    Recovery,
    Reorder,
    Schedule,
    Scope,
    Solver,
    Structure,
)
from .component import Component, Registry, words
from .density import describe
from .errors import PlanError
from .following import Following
from .precision import Precision
from .run_time import check_run_time
from .training import Gate, Initial, Pressure, Tuning

SCHEMA = 1
"""Version of the recipe's plain-data form; raised when a field changes its meaning."""


class Recipe(Component):
    """A published method, or one of your own: one answer on every axis.

    Fields left at None mean that the axis is not used. `start` scores the very first selection of
    a method that grows (sparse training begins with a random mask); elsewhere it must be None.
    With `revive` removed units compete again in every round and come back with the weights of
    step 0 (before training; sparse training grows instead). With `connected` a layer that a
    selection would cut off keeps its strongest path, at the cost of the weakest weights elsewhere.
    With `carried` the masks that the network comes with hold from the start: what they leave is all
    there is to choose from.
    A `basis` rewrites the network before its structures are looked for, or puts the inputs of layers in
    another order; `initial` draws the weights of
    an untrained one anew. A `gate` stands in for the weights while the network trains; the schedule
    then says how much of them its masks keep at each step, and the last update comes when training ends.
    A `precision` lets what is left take few values, when all else is done.
    With a `tuning` the main training leaves the weights frozen and trains what is put beside them.
    With `walk="blocks"` the repeated blocks of the model are pruned one after the other, each on
    what the pruned ones before it give; with `walk="layers"` the targets, in the order of the network.

    >>> import secateur as sc
    >>> recipe = sc.recipe("snip", sparsity=0.9)
    >>> Recipe.loads(recipe.dumps()) == recipe
    True
    """

    registry: ClassVar[Registry] = Registry("recipe")
    name: ClassVar[str] = "recipe"

    structure: Structure
    criterion: Criterion
    scope: Scope
    allocator: Allocator
    schedule: Schedule
    basis: Basis | None = None
    initial: Initial | None = None
    start: Criterion | None = None
    grow: Criterion | None = None
    solver: Solver | None = None
    pressure: Pressure | None = None
    gate: Gate | None = None
    tuning: Tuning | None = None
    recovery: Recovery | None = None
    precision: Precision | None = None
    materialise: Materialiser | None = None
    revive: bool = False
    walk: Literal["whole", "blocks", "layers"] = "whole"
    connected: bool = False
    carried: bool = False
    method: str = Field(default="custom", description="the catalogue entry it came from")

    def model_post_init(self, _: Any) -> None:
        """A recipe that exists is valid."""
        self.validate_axes()

    def validate_axes(self) -> None:
        """Refuse combinations in which an axis would be ignored or contradict another."""
        self._check_density()
        self._check_growth()
        self._check_walk()
        self._check_order()
        self._check_pressure()
        self._check_gate()
        self._check_tuning()
        self._check_holding()
        check_run_time(self)
        allowed = self.allocator.scopes
        if allowed and self.scope.name not in allowed:
            raise PlanError(
                f"allocator '{self.allocator.name}' works with scope "
                f"{' or '.join(sorted(allowed))}, not '{self.scope.name}'"
            )

    def _check_density(self) -> None:
        asked, fixed = self.schedule.final_density, self.scope.fixed_density
        if not self.allocator.uses_density and asked is not None:
            raise PlanError(
                f"allocator '{self.allocator.name}' finds the density itself; the one of schedule "
                f"'{self.schedule.name}' would be ignored. Use schedule 'repeat'"
            )
        if self.allocator.uses_density and asked is None:
            raise PlanError(
                f"schedule '{self.schedule.name}' names no density, "
                f"but allocator '{self.allocator.name}' needs one"
            )
        if fixed is not None and asked is None:
            raise PlanError(
                f"{self._fixed_by()} keeps {describe(fixed)} of every layer by itself; what allocator "
                f"'{self.allocator.name}' gives each layer would be ignored: leave one of the two out"
            )
        if fixed is not None and asked is not None and abs(asked - fixed) > 1e-9:
            raise PlanError(
                f"{self._fixed_by()} keeps {describe(fixed)} by itself; {describe(asked)} cannot be "
                "reached with it: leave the density (sparsity) out, or choose another pattern"
            )

    def _fixed_by(self) -> str:
        """The scope that settles how much stays, as its pattern where it has one."""
        pattern = self.scope.pattern
        return f"scope '{self.scope}'" if pattern is None else f"{pattern[0]}:{pattern[1]}"

    def _check_growth(self) -> None:
        if self.schedule.regrows and self.connected:
            raise PlanError(
                f"schedule '{self.schedule.name}' moves weights around; `connected` would be ignored"
            )
        if self.schedule.regrows and self.grow is None:
            raise PlanError(f"schedule '{self.schedule.name}' regrows; name a `grow` criterion")
        if self.schedule.regrows and self.revive:
            raise PlanError(
                f"schedule '{self.schedule.name}' grows by itself; `revive` would be ignored"
            )
        if self.carried and (self.revive or self.schedule.regrows or self.gate is not None):
            what = self.gate or ("`revive`" if self.revive else f"schedule '{self.schedule.name}'")
            raise PlanError(
                f"{what} brings back what is out; `carried`, masks that the network comes with and that "
                "hold, cannot go with it"
            )
        if not self.schedule.regrows and (self.grow is not None or self.start is not None):
            raise PlanError(
                f"schedule '{self.schedule.name}' never grows; `grow` and `start` would be ignored"
            )

    def _check_walk(self) -> None:
        if self.solver is not None and self.solver.makes_up and self.walk != "blocks":
            raise PlanError(
                f"solver '{self.solver}' makes up for what the blocks before have lost, which walk "
                f"'{self.walk}' does not tell; use walk 'blocks'"
            )
        if self.walk == "whole":
            return
        if self.allocator.tries:
            raise PlanError(
                f"allocator '{self.allocator.name}' tries candidates on the whole network, of which walk "
                f"'{self.walk}' has a part at a time; use walk 'whole', with the network in memory, or an "
                "allocator that goes by sizes or scores"
            )
        ahead = self.walk == "layers"  # numbers are settled before the first target is pruned
        for axis, part in (("scope", self.scope), ("allocator", self.allocator)):
            if part.across_targets and not (ahead and axis == "allocator"):
                raise PlanError(
                    f"{axis} '{part.name}' compares layers of the whole model, of which walk "
                    f"'{self.walk}' has a part at a time; use scope 'row', 'tensor' or 'nm' with "
                    "allocator 'uniform', or walk 'whole'"
                )
        if self.schedule.regrows or self.revive:
            raise PlanError(
                f"walk '{self.walk}' visits every part once; what grows or revives needs walk 'whole'"
            )
        if self.walk == "layers" and self.connected:
            raise PlanError(
                "walk 'layers' has one target at a time; `connected` needs walk 'whole'"
            )

    def _check_order(self) -> None:
        """Another order of inputs matters to runs of inputs alone, and is found block by block."""
        if not isinstance(self.basis, Reorder):
            return
        if self.scope.pattern is None:
            raise PlanError(
                f"basis '{self.basis.name}' puts inputs in another order, which matters only where N of "
                f"M consecutive inputs stay, not to scope '{self.scope.name}'; give a pattern, e.g. 2:4"
            )
        if self.walk != "blocks":
            raise PlanError(
                f"basis '{self.basis.name}' finds its orders block by block, walk '{self.walk}' does not "
                "visit blocks; use walk 'blocks'"
            )

    def _check_pressure(self) -> None:
        """A pressure works through training; one that nothing trains would be ignored."""
        if self.pressure is None:
            return
        if self.walk == "blocks":
            raise PlanError(
                f"walk '{self.walk}' trains nothing; pressure '{self.pressure.name}' would be ignored"
            )
        if self.pressure.foresees and not (self.allocator.by_sizes and self.scope.name == "tensor"):
            raise PlanError(
                f"pressure '{self.pressure}' has to know before the training how many units of each "
                f"layer stay, which allocator '{self.allocator}' finds by scores; give the pressure a "
                "density, or let every layer keep the same share"
            )
        plan = self.recovery.plan() if self.recovery is not None else None
        trains = plan is not None and plan.schedule != "none"
        if plan is not None and plan.adapter is not None and self.pressure.during != "training":
            raise PlanError(
                f"pressure '{self.pressure.name}' pushes weights, which an adapter leaves frozen; let "
                "it push during 'training', or fine-tune without adapter"
            )
        if self.pressure.during != "training" and not trains:
            raise PlanError(
                f"pressure '{self.pressure.name}' pushes during {self.pressure.during}, but the recipe "
                "has no recovery that trains; add one, or let it push during 'training'"
            )

    def _check_gate(self) -> None:
        """Learned scores need a gate that learns them, and a gate the freedom to choose anew."""
        gate, learned = self.gate, self.criterion.of_training
        follows = isinstance(self.criterion, Following)
        if gate is None:
            marked = self.pressure is not None and self.pressure.marks
            if learned and not follows and not marked:
                raise PlanError(
                    f"criterion '{self.criterion.name}' scores by what a gate has learned; name a `gate`, "
                    "or a pressure that marks what is to go"
                )
            return
        if gate.learns != learned:
            raise PlanError(
                f"gate '{gate.name}' learns scores, which criterion '{self.criterion.name}' would "
                "ignore; use criterion 'learned'"
                if gate.learns
                else f"gate '{gate.name}' learns nothing that criterion '{self.criterion.name}' could score"
            )
        ignored = {
            f"walk '{self.walk}'": self.walk != "whole",
            f"schedule '{self.schedule.name}', which regrows": self.schedule.regrows,
            "`revive`": self.revive,
            "`connected`": self.connected,
            f"allocator '{self.allocator}', which tries candidates": self.allocator.tries,
            f"criterion '{self.criterion}', which looks on by itself": follows,
        }
        for what in (word for word, given in ignored.items() if given):
            raise PlanError(
                f"gate '{gate.name}' chooses anew at every training step; {what} cannot go with it"
            )

    def _check_tuning(self) -> None:
        """Frozen weights cannot be moved; what would move them would be ignored."""
        if isinstance(self.criterion, Following) and self.walk != "whole":
            raise PlanError(
                f"criterion '{self.criterion.name}' judges by what it saw of the whole network in training, "
                f"which walk '{self.walk}' has no part in; use walk 'whole'"
            )
        if self.tuning is None:
            return
        plan = self.recovery.plan() if self.recovery is not None else None
        ignored = {
            f"walk '{self.walk}'": self.walk != "whole",
            f"schedule '{self.schedule.name}', which regrows": self.schedule.regrows,
            f"schedule '{self.schedule.name}', which holds nothing out": not self.schedule.holds,
            f"solver '{self.solver}'": self.solver is not None,
            f"gate '{self.gate}'": self.gate is not None,
            f"initial '{self.initial}'": self.initial is not None,
            f"pressure '{self.pressure}' in training": self.pushes("training"),
            "`revive`": self.revive,
            f"recovery '{self.recovery}', which goes back": plan and plan.weights != "keep",
        }
        for what in (word for word, given in ignored.items() if given):
            raise PlanError(
                f"tuning '{self.tuning.name}' leaves the weights frozen while it trains beside them; {what} "
                "cannot go with it"
            )

    def _check_holding(self) -> None:
        """Updates whose masks are not held must leave everything but the masks as it is."""
        if self.schedule.holds:
            return
        plan = self.recovery.plan() if self.recovery is not None else None
        again = plan is not None and plan.schedule != "none"  # trains without the gate
        judged = self.schedule.waits and again and self.gate is not None and not self.gate.masked
        ignored = {
            f"walk '{self.walk}'": self.walk != "whole",
            f"solver '{self.solver}'": self.solver is not None,
            f"gate '{self.gate}'": self.gate is not None and not judged,
            f"basis '{self.basis}'": self.basis is not None,
            "`revive`": self.revive,
        }
        for what in (word for word, given in ignored.items() if given):
            raise PlanError(
                f"schedule '{self.schedule.name}' looks at the whole network again and again before "
                f"anything is held out; {what} cannot go with it"
            )

    def settled(self, multiple: Callable[[], int]) -> Recipe:
        """The same with nothing left open in how many units stay."""
        allocator = self.allocator.settled(multiple)
        same = allocator == self.allocator
        return self if same else self.model_copy(update={"allocator": allocator})

    def pushes(self, stage: Literal["training", "recovery"]) -> bool:
        """Whether the pressure acts in the main training, or in that of a recovery."""
        return self.pressure is not None and self.pressure.during in (stage, "both")

    def required(self) -> frozenset[str]:
        """Every statistic any part of the recipe needs."""
        parts = (self.criterion, self.start, self.grow, self.allocator)
        asked = [part.required() for part in parts if part is not None]
        return frozenset().union(*asked, self.solver.required() if self.solver else ())

    def observed(self) -> frozenset[str]:
        """Those and what the basis is found by, before anything is scored."""
        return self.required() | (self.basis.needs if self.basis else frozenset())

    def looks_at(self) -> list[str]:
        """All that it looks at beyond the weights, by name: statistics, and trials where it tries masks."""
        return sorted(self.observed()) + (["trials"] if self.allocator.tries else [])

    def dumps(self) -> str:
        """Canonical JSON: sorted keys, defaults left out, with the schema version."""
        return json.dumps({"schema": SCHEMA, **self.to_dict()}, sort_keys=True, ensure_ascii=False)

    @classmethod
    def loads(cls, text: str) -> Recipe:
        """Read what `dumps` wrote, or the same as YAML."""
        import yaml

        try:
            return cls.from_plain(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise PlanError(f"the recipe is no YAML: {' '.join(str(error).split())}") from None

    @classmethod
    def from_plain(cls, data: Any) -> Recipe:
        """A recipe from plain data; a newer schema is refused."""
        if not isinstance(data, dict):
            raise PlanError(f"a recipe is a mapping of axes, not {type(data).__name__}")
        fields = dict(words(data, "recipe"))
        schema, name = fields.pop("schema", SCHEMA), fields.pop("name", cls.name)
        if name != cls.name:
            raise PlanError(f"this is a '{name}', not a recipe; catalogue entries go by `method`")
        if not isinstance(schema, int):
            raise PlanError(f"recipe schema {schema!r} is no version; this one writes {SCHEMA}")
        if schema > SCHEMA:
            raise PlanError(
                f"recipe schema {schema} is newer than this version reads ({SCHEMA}); upgrade secateur"
            )
        return cls(**fields)

    @property
    def digest(self) -> str:
        """16 hex digits that name this recipe: equal recipes have equal digests."""
        return hashlib.sha256(self.dumps().encode()).hexdigest()[:16]
