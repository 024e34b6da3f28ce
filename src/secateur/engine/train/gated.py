"""A gate at work: its factors stand in for a step, then it learns from what they did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...core.axes import wide
from ...core.layout import Layout, one_group
from ...core.random import generator
from ...core.training import Gate, Moment
from ...core.types import Masks, Member, Target
from .own import put_back

Choose = Callable[[Mapping[str, Tensor], int], Masks]
"""(scores of the targets, step) -> this step's masks; without scores the criterion judges the weights."""


class Gated:
    """Puts w · factor in the weights' place while a batch's gradient is taken.

    All that it does is a function of weights, what is learned, seed and step, so a checkpoint keeps what
    is learned and nothing else.

    Args:
        model: whose weights are stood in for; they are its own again after every batch.
        gate, targets: what stands in, and for what.
        choose: the selection of a step, for gates whose factors are masks.
        steps: of the whole training, which progress is counted by.
        seed, stage: name the stream of randomness.
        groups: target -> which of its units are compared with each other; None = all of them.
    """

    def __init__(
        self,
        model: nn.Module,
        gate: Gate,
        targets: tuple[Target, ...],
        choose: Choose,
        steps: int,
        seed: int = 0,
        stage: str = "train",
        groups: Mapping[str, Layout] | None = None,
    ) -> None:
        self._groups = groups or {t.name: one_group(t.shape) for t in targets}
        self.gate, self.targets, self._choose = gate, targets, choose
        self._model, self._words = model, (seed, "gate", stage)
        self._params = dict(model.named_parameters())
        self._last = max(steps - 1, 1)
        self._factors: dict[str, Tensor] = {}
        self.learned: dict[str, Tensor] = {}
        self.resume(gate.start(targets, self._draw("start")))

    @contextmanager
    def standing_in(self, step: int) -> Iterator[None]:
        """Inside, the network has step `step`'s weights; afterwards its own, to the last bit."""
        self.resume(self.learned)  # the network may have moved to another device
        self._factors = self.factors(step)
        full = self._products()
        with put_back(self._params[name] for name in full):
            with torch.no_grad():
                for name, factor in full.items():
                    self._params[name].mul_(factor)
            yield

    @torch.no_grad()
    def learn(self, step: int, lr: float, base: float) -> None:
        """Learn from the gradients at step `step`, and leave in `.grad` what the weights are to follow.

        Args:
            step: the one that `standing_in` was given.
            lr, base: the weights' learning rate at this step, and without its schedule.
        """
        slopes = {t.name: self._slope(t) for t in self.targets}
        for name, factor in self._products().items():
            param = self._params[name]
            if param.grad is not None:
                param.grad = self.gate.passes(param.grad, param.detach(), factor.to(param.grad))
        if not self.gate.trains:
            for param in self._params.values():
                param.grad = None
        rate = lr if self.gate.rate is None else self.gate.rate * lr / base
        moment = Moment(rate, step / self._last, self._draw(step))
        self.learned = self.gate.learn(self.learned, slopes, moment)

    def once(self) -> dict[str, Tensor]:
        """Nothing: every weight follows a gradient of its own."""
        return {}

    def factors(self, step: int) -> dict[str, Tensor]:
        """Target -> [target.shape] float: this step's factors."""
        if not self.gate.masked:
            draw = self._draw(step)
            return {t.name: self.gate.factor(self.learned, t, draw) for t in self.targets}
        masks = self._choose(self.scores(step) if self.gate.learns else {}, step)
        if self.gate.graded:
            return {t.name: self._graded(t, masks[t.name]) for t in self.targets}
        return {name: mask.float() for name, mask in masks.items()}

    @torch.no_grad()
    def _graded(self, target: Target, mask: Tensor) -> Tensor:
        """[target.shape] what the gate makes of the mask and the size of what the units own."""
        parts = [m.layout.matrix(self._params[m.param].detach()) for m in self._acting(target)]
        square = torch.stack([p.to(wide(p)).square().sum(1) for p in parts]).sum(0)
        return self._by_group(self.gate.grade, target, mask, square.view(target.shape))

    def _by_group(
        self, make: Callable[[Tensor, Tensor], Tensor], target: Target, mask: Tensor, values: Tensor
    ) -> Tensor:
        """[target.shape] what `make` gives for mask and values, a row for each group of units."""
        layout, out = self._groups[target.name], torch.empty_like(values)
        view = layout.view(out)
        view.copy_(make(layout.matrix(mask), layout.matrix(values)).reshape(view.shape))
        return out

    def scores(self, step: int) -> dict[str, Tensor]:
        """Target -> [target.shape] what has been learned of its units."""
        progress = min(1.0, step / self._last)
        known = {**self.learned, **(self._scales() if self.gate.scales else {})}
        return {t.name: self.gate.scores(known, t, progress) for t in self.targets}

    def _scales(self) -> dict[str, Tensor]:
        """`scale/<target>` -> [target.shape] Σ |γ| over the batch norms that a unit runs through."""
        out = {}
        for target in self.targets:
            members = [m for m in target.members if m.role == "scale"]
            parts = [m.layout.matrix(self._params[m.param].detach()).abs() for m in members]
            total = torch.stack([p.to(wide(p)).sum(1) for p in parts]).sum(0)
            out[f"scale/{target.name}"] = total.view(target.shape)
        return out

    @torch.no_grad()
    def settle(self, masks: Masks) -> None:
        """Leave in the weights, for good, what the gate ends with; `masks` hold from here on."""
        for target in self.targets if self.gate.rewrites else ():
            self._rewrite(target, masks[target.name])
        for target in self.targets if not self.gate.masked else ():
            z = self.gate.final(self.learned, target)
            if z is None:
                continue
            for member in self._acting(target):
                view = member.layout.view(self._params[member.param].data)
                view.mul_(_spread(member, z, view).to(view.dtype))

    def _rewrite(self, target: Target, mask: Tensor) -> None:
        (member,) = target.members
        view = member.layout.view(self._params[member.param].data)
        values = view.to(wide(view)).reshape(target.shape)
        view.copy_(self._by_group(self.gate.rewrite, target, mask, values).reshape(view.shape))

    def resume(self, learned: Mapping[str, Tensor]) -> None:
        """Take up what is known, on the network's device."""
        self.learned = {name: tensor.to(self._device) for name, tensor in learned.items()}

    @property
    def _device(self) -> torch.device:
        return next(iter(self._params.values())).device

    def _draw(self, *words: object) -> Callable[..., torch.Generator]:
        return lambda *more: generator(*self._words, *words, *more)

    def _acting(self, target: Target) -> list[Member]:
        """The slices that a factor multiplies."""
        return [m for m in target.members if self.gate.acts(m)]

    def _products(self, without: str = "") -> dict[str, Tensor]:
        """Parameter -> the product of the factors of all units that own an element."""
        full: dict[str, Tensor] = {}
        for target in self.targets:
            if target.name == without:
                continue
            for member in self._acting(target):
                param = self._params[member.param]
                one = full.setdefault(member.param, torch.ones_like(param, dtype=wide(param)))
                view = member.layout.view(one)
                view.mul_(_spread(member, self._factors[target.name], view))
        return full

    def _slope(self, target: Target) -> Tensor:
        """[target.shape] ∂L/∂factor."""
        others = self._products(without=target.name) if self._overlap else {}
        total = torch.zeros(target.units, device=self._device)
        for member in self._acting(target):
            param = self._params[member.param]
            if param.grad is not None:
                each = param.detach().to(wide(param)) * param.grad
                each = each * others[member.param] if member.param in others else each
                total = total + member.layout.matrix(each).sum(1)
        return total.view(target.shape)

    @property
    def _overlap(self) -> bool:
        """Whether any parameter belongs to several targets."""
        names = [{m.param for m in self._acting(t)} for t in self.targets]
        return sum(map(len, names)) > len(set().union(*names))


def _spread(member: Member, factor: Tensor, view: Tensor) -> Tensor:
    """The factors of the units, shaped to multiply the member's view [lead..., rest...]."""
    rest = view.dim() - member.layout.lead
    return factor.reshape(*member.layout.lead_shape, *[1] * rest)
