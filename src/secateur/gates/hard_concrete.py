"""L0 regularisation: gates that are exactly closed, exactly open, or in between, by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..core.component import register
from ..core.errors import PlanError
from ..core.training import Draw, Gate, Learned, Moment
from ..core.types import Target
from .rules import State, adam, logit, value

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1
"""β, γ and ζ of the paper."""
FAR = math.log(100.0)
"""How far log α may go to either side, as in the official code."""
LEVEL, CURVE = "#level", "#curve"
"""The two multipliers λ₁ and λ₂."""


@register("hard-concrete")
class HardConcrete(Gate):
    """z = clamp(s (ζ - γ) + γ, 0, 1), s = σ((log u - log(1 - u) + log α) / β), u ~ U(0, 1) per step.

        P_u = P(z_u > 0) = σ(log α_u - β log(-γ / ζ))

    and to the loss comes either strength · Σ n_u P_u / Σ n_u, n_u the weights of unit u, or, with
    `density`, λ₁ (d - q) + λ₂ (d - q)² with d the share of units asked for, q = mean P and multipliers
    that climb where log α descends. At the end z = clamp(σ(log α) (ζ - γ) + γ, 0, 1) is multiplied into
    what later layers read. β = 2/3, γ = -0.1, ζ = 1.1; log α stays within ± log 100.

    Shapes: one log α per unit, [target.shape].

    Attributes:
        lr: of log α and of the multipliers, both by Adam.
        strength: λ; not used with `density`.
        density: the share of all units that is to stay; None = what `strength` leaves.
        warmup: share of the training in which d goes from 1 to `density` in a line.
        open: σ(log α) at the start, up to a jitter of 0.01 in log α.

    Paper: Louizos, Welling, Kingma 2018, arXiv 1712.01312. Its λ multiplies Σ n_u P_u over the number of
    training samples; here it multiplies the expected share, which does not change with the size of
    the network. One sample of the gates serves a whole batch, and the L2 penalty that the official code
    weighs by P_u is left to the training's weight decay. The multipliers: Wang, Wohlwend, Lei 2020, arXiv
    1910.04732, as in CoFi (Xia, Zhong, Chen 2022, arXiv 2204.00408), which counts parameters, not
    units.
    """

    masked: ClassVar[bool] = False
    reads: ClassVar[bool] = True

    lr: float = Field(default=0.02, gt=0, allow_inf_nan=False)
    strength: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    density: float | None = Field(default=None, gt=0, lt=1)
    warmup: float = Field(default=0.3, ge=0, lt=1)
    open: float = Field(default=0.9, gt=0.01, lt=0.99)

    @property
    def rate(self) -> float | None:
        """As given."""
        return self.lr

    @model_validator(mode="after")
    def _sane(self) -> HardConcrete:
        if self.density is not None and "strength" in self.model_fields_set:
            raise PlanError(
                "gate 'hard-concrete' learns its multipliers where a density is asked for; strength "
                "would be ignored. Give one of the two"
            )
        return self

    def start(self, targets: tuple[Target, ...], draw: Draw) -> dict[str, Tensor]:
        """log α near logit(open); multipliers at 0; how many weights each unit has."""
        out: State = {}
        for target in targets:
            jitter = torch.randn(target.shape, generator=draw("gate", target.name))
            out[value(target.name)] = logit(self.open) + 0.01 * jitter
            out[f"size/{target.name}"] = torch.tensor(
                float(sum(m.layout.size for m in target.members))
            )
        if self.density is not None:
            out |= {value(LEVEL): torch.zeros(()), value(CURVE): torch.zeros(())}
        return out

    def scores(self, learned: Learned, target: Target, progress: float) -> Tensor:
        """The deterministic gate before it is clamped: above 0 where it is open."""
        return learned[value(target.name)].sigmoid() * (HIGH - LOW) + LOW

    def final(self, learned: Learned, target: Target) -> Tensor:
        """The deterministic gate; where a density asks for one that is closed, a hair's breadth open."""
        z = self.scores(learned, target, 1.0)
        return z.clamp(1e-3 if self.density is not None else 0.0, 1.0)

    def factor(self, learned: Learned, target: Target, draw: Draw) -> Tensor:
        """This step's sample."""
        return self._stretched(learned, target.name, target.shape, draw)[0].clamp(0, 1)

    def learn(
        self, learned: Learned, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """One step of Adam on every log α, and one up on the multipliers."""
        state = dict(learned)
        pulls = self._pulls(state, slopes, moment)
        for name, slope in slopes.items():
            wide, s = self._stretched(learned, name, slope.shape, moment.draw)
            inside = (wide > 0) & (wide < 1)
            gradient = slope * inside * (HIGH - LOW) * s * (1 - s) / BETA + pulls[name]
            adam(state, name, gradient, moment.lr)
            state[value(name)] = state[value(name)].clamp(-FAR, FAR)
        return state

    def _stretched(
        self, learned: Learned, name: str, shape: tuple[int, ...], draw: Draw
    ) -> tuple[Tensor, Tensor]:
        """The sample before it is clamped, and s."""
        log_alpha = learned[value(name)]
        u = torch.rand(shape, generator=draw("noise", name)).clamp(1e-6, 1 - 1e-6)
        s = ((u.logit().to(log_alpha) + log_alpha) / BETA).sigmoid()
        return s * (HIGH - LOW) + LOW, s

    def _pulls(
        self, state: State, slopes: Mapping[str, Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """∂penalty/∂log α of every target; the multipliers in `state` climb."""
        p = {name: opened(state[value(name)]) for name in slopes}
        if self.density is None:
            whole = sum(float(state[f"size/{n}"]) * v.numel() for n, v in p.items())
            weight = {n: self.strength * float(state[f"size/{n}"]) / whole for n in p}
        else:
            units = sum(v.numel() for v in p.values())
            gap = (
                self._wanted(moment.progress)
                - sum(float(v.double().sum()) for v in p.values()) / units
            )
            push = -(float(state[value(LEVEL)]) + 2 * float(state[value(CURVE)]) * gap) / units
            weight = dict.fromkeys(p, push)
            for name, climb in ((LEVEL, gap), (CURVE, gap * gap)):
                adam(state, name, torch.tensor(climb), -moment.lr)
        return {n: weight[n] * v * (1 - v) for n, v in p.items()}

    def _wanted(self, progress: float) -> float:
        """The share asked for by now."""
        assert self.density is not None
        done = min(1.0, progress / self.warmup) if self.warmup else 1.0
        return 1 - (1 - self.density) * done


def opened(log_alpha: Tensor) -> Tensor:
    """P(z > 0)."""
    return (log_alpha - BETA * math.log(-LOW / HIGH)).sigmoid()
