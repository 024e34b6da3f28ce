"""The protocols of what acts while a network trains: a push, a stand-in for weights, first weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from .component import Component, Registry
from .cost import Counts
from .errors import PlanError
from .types import Adapter, Member, Target

Weights = Mapping[str, Tensor]
"""Parameter name -> value."""

Draw = Callable[..., torch.Generator]
"""A CPU generator for some words, the same whenever the same step of the same run asks."""

Learned = Mapping[str, Tensor]
"""What a gate has learned so far, by names of its own; all that a checkpoint has to keep of it."""


@dataclass(frozen=True)
class Moment:
    """One optimiser step, as a gate sees it.

    Attributes:
        lr: the gate's learning rate.
        progress: from 0 at the first step of the training to 1 at the last.
        draw: generators of this step.
    """

    lr: float
    progress: float
    draw: Draw


class Pressure(Component, ABC):
    """What PUSHES towards sparsity while training: a gradient beside that of the loss.

    It is added once per optimiser step, when the gradients of all parts and processes are summed
    and unscaled, and before they are clipped; what masks prune is not pushed.

    Attributes:
        during: the main `training`, the training of every `recovery`, or `both`.
        begin: share of that training that passes before the push begins.
    """

    registry: ClassVar[Registry] = Registry("pressure")

    during: Literal["training", "recovery", "both"] = "training"
    begin: float = Field(default=0.0, ge=0, lt=1)

    def check(self, targets: tuple[Target, ...]) -> None:
        """Refuse targets of which nothing would be pushed."""

    @property
    def foresees(self) -> bool:
        """Whether it has to know how many units of each target will stay."""
        return False

    @property
    def weighs(self) -> str | None:
        """The cost whose price of a unit it needs, or None. `gradient` then gets prices for `decided`."""
        return None

    def there(self, weights: Weights, targets: tuple[Target, ...]) -> Counts:
        """Target -> how many of its units count as being there, where it `weighs` them."""
        return {t.name: t.units for t in targets}

    marks: ClassVar[bool] = (
        False  # `start` says which units are to go, which criterion `learned` reads
    )

    def start(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
        counts: Counts | None = None,
        draw: Draw | None = None,
    ) -> dict[str, Tensor]:
        """What is decided once, when the push begins; checkpoints keep it. Empty: nothing is.

        `counts`: units of each target that will stay, where it `foresees`; `draw`: generators by words.
        """
        return {}

    @abstractmethod
    def gradient(
        self,
        weights: Weights,
        targets: tuple[Target, ...],
        progress: float,
        decided: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Parameter -> what is added to its gradient, in float32 or wider; zero where the weight is.

        Args:
            weights: parameter -> current value, detached.
            targets: what is to be pruned.
            progress: from 0 at `begin` to 1 at the last step.
            decided: what `start` gave; for one that `weighs`, target -> the price of one of its units,
                among those that are there, over the mean price in the whole network.
        """


class Gate(Component, ABC):
    """What STANDS IN for the weights while the network trains: w · factor, one factor per unit.

    At every optimiser step each unit of each target gets a factor; the network computes with w · factor
    for that step's batch, then has its weights w back. Two things are known by then: the gradient
    g = ∂L/∂(w · factor), which `passes` turns into that of w; and of every unit the slope
    ∂L/∂factor = Σ w · g over the elements it owns, from which the gate learns. When the training ends
    the last update selects for good, and factors that are no masks are multiplied into the weights.

    Attributes:
        masked: whether factors are masks, those of the one selection, taken anew at every step; else
            the gate names them (`factor`).
        learns: whether there is something to learn, which criterion `learned` scores by; else the
            recipe's criterion judges the weights as they are.
        reads: whether a factor multiplies only what later layers read of a unit (so that no norm
            divides it out again), not everything the unit owns.
        trains: whether the weights train too.
        graded: whether what masks let through is graded by the size of the weights (`grade`).
        rewrites: whether other weights stay at the end than those behind the masks (`rewrite`).
        scales: whether `scores` finds among what is learned, as `scale/<target>`, [target.shape] the sum of
            the sizes of the units' batch-norm scales.
    """

    registry: ClassVar[Registry] = Registry("gate")
    masked: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    reads: ClassVar[bool] = False
    trains: ClassVar[bool] = True
    graded: ClassVar[bool] = False
    rewrites: ClassVar[bool] = False
    scales: ClassVar[bool] = False

    @property
    def rate(self) -> float | None:
        """Learning rate of what is learned, on the training's schedule; None = the training's own."""
        return None

    def check(self, targets: tuple[Target, ...]) -> None:
        """Refuse targets that it could not act on."""
        if not self.reads:
            return
        deaf = [t.name for t in targets if all(m.reads is None for m in t.members)]
        if deaf:
            raise PlanError(
                f"gate '{self.name}' multiplies what later layers read; of {len(deaf)} structures none "
                f"is known to be read, among them '{deaf[0]}'. Use structure 'coupled'"
            )

    def acts(self, member: Member) -> bool:
        """Whether the factors of units multiply this slice of them."""
        return member.reads is not None or not self.reads

    def start(self, targets: tuple[Target, ...], draw: Draw) -> dict[str, Tensor]:
        """What is known before the first step."""
        return {}

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """[target.shape] what the learned says of each unit, higher = keep."""
        raise PlanError(f"gate '{self.name}' learns no scores")

    def factor(self, learned: Learned, target: Target, draw: Draw) -> Tensor:
        """[target.shape] this step's factors, where they are no masks."""
        raise PlanError(f"gate '{self.name}' names no factors; its factors are masks")

    def grade(self, kept: Tensor, square: Tensor) -> Tensor:
        """[groups, n] this step's factors, where they follow from masks and the size of the weights.

        Args:
            kept: [groups, n] bool, the selection's masks, a row for each group of a target's units.
            square: [groups, n] Σ w² over what each unit owns.
        """
        raise PlanError(f"gate '{self.name}' has masks as they are")

    def rewrite(self, kept: Tensor, weight: Tensor) -> Tensor:
        """[groups, n] the weights that stay at the end, each a unit of its own; zero where none is kept.

        Args:
            kept: [groups, n] bool, the last masks, a row for each group of a target's units.
            weight: [groups, n] as the training left it.
        """
        raise PlanError(f"gate '{self.name}' leaves the weights as they are")

    def final(self, learned: Learned, target: Target) -> Tensor | None:
        """[target.shape] the factors that stay in the weights at the end; None = the mask alone."""
        return None

    def learn(
        self, learned: Learned, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """What is known after a step.

        Args:
            learned: before it.
            slopes: target -> [target.shape] ∂L/∂factor, float32 or wider.
            moment: learning rate, progress, randomness.
        """
        return dict(learned)

    def passes(self, gradient: Tensor, weight: Tensor, factor: Tensor) -> Tensor:
        """The gradient of w, from that of w · factor; by the chain rule, gradient · factor.

        All three have the shape of the parameter; `factor` is the product of those of all units that
        own an element.
        """
        return gradient * factor


class Initial(Component, ABC):
    """With which weights a network BEGINS that is not trained: drawn anew before anything else."""

    registry: ClassVar[Registry] = Registry("initial")

    @abstractmethod
    def weights(self, shape: tuple[int, ...], fan_in: int, rng: torch.Generator) -> Tensor:
        """New float32 values of one weight.

        Args:
            shape: outputs first, then inputs, then the kernel.
            fan_in: values that one output sums up.
            rng: a CPU generator.
        """


class Adapting(Component):
    """Low-rank adapters: W ← W + (alpha / rank) B A with A [rank, in] and B [out, rank] trained, W frozen.

    Attributes:
        rank: of B A.
        alpha: scale of B A, over the rank.
        dropout: on what enters A, while training.
        layers: selectors of linear layers by name; empty = all but the classifier.
    """

    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16.0, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    layers: tuple[str, ...] = ()

    @property
    def adapter(self) -> Adapter:
        """The same as plain data."""
        return Adapter(self.rank, self.alpha, self.dropout, self.layers)


class Tuning(Component, ABC):
    """WHAT TRAINS in the main training: weights beside the network's own, which are frozen.

    Updates of the masks interrupt such a training as any other. They look at the network with everything
    merged; what they take out, the adapters lose too. When the training ends all is merged for good.
    """

    registry: ClassVar[Registry] = Registry("tuning")

    @property
    @abstractmethod
    def adapter(self) -> Adapter:
        """What is put beside which layers, as plain data."""
