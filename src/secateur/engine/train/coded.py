"""A precision at work: coded weights stand in for a step, and the weights behind them learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...core.precision import Dims, Precision
from ...core.random import generator
from .own import put_back


class Coded:
    """Puts coded(w) in the weights' place while a batch's gradient is taken.

    A checkpoint keeps what was decided when it began; all else is a function of the weights.

    Args:
        model: whose weights are stood in for; they are its own again after every batch.
        precision: what codes them.
        dims: of the parameters that are coded, by name.
        masks: of parameters; one without is kept whole.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: Precision,
        dims: Mapping[str, Dims],
        masks: Mapping[str, Tensor],
        seed: int = 0,
    ) -> None:
        self.precision = precision
        params = dict(model.named_parameters())
        self._params = {name: params[name] for name in dims}
        self._keep = {
            name: masks.get(name, torch.ones_like(p, dtype=torch.bool))
            for name, p in self._params.items()
        }
        self.learned: dict[str, Tensor] = {}
        for name, p in self._params.items():
            rng = generator(seed, "precision", name)
            decided = precision.start(p.detach(), self._keep[name], dims[name], rng)
            self.learned |= {f"{name}/{word}": value for word, value in decided.items()}

    @contextmanager
    def standing_in(self, step: int) -> Iterator[None]:
        """Inside, the network has coded weights; afterwards its own, to the last bit."""
        self.resume(self.learned)  # the network may have moved to another device
        with put_back(self._params.values()):
            self.settle()
            yield

    @torch.no_grad()
    def learn(self, step: int, lr: float, base: float) -> None:
        """Leave in `.grad` what the weights are to follow; the arguments are those of `Gated.learn`."""
        for name, p in self._params.items():
            if p.grad is not None:
                p.grad = self.precision.passes(p.grad, self._keep[name], self._decided(name))

    @torch.no_grad()
    def once(self) -> dict[str, Tensor]:
        """Name -> the gradient in `.grad` by what is free to move, for its norm; after `learn`."""
        return {
            name: self.precision.once(p.grad, self._keep[name], self._decided(name))
            for name, p in self._params.items()
            if p.grad is not None
        }

    @torch.no_grad()
    def settle(self) -> None:
        """Write the coded weights in the place of the weights."""
        for name, p in self._params.items():
            p.copy_(self.precision.coded(p.detach(), self._keep[name], self._decided(name)))

    def resume(self, learned: Mapping[str, Tensor]) -> None:
        """Take up what was decided, on the network's device."""
        device = next(iter(self._params.values())).device
        self.learned = {name: tensor.to(device) for name, tensor in learned.items()}
        self._keep = {name: keep.to(device) for name, keep in self._keep.items()}

    def _decided(self, name: str) -> dict[str, Tensor]:
        start = f"{name}/"
        return {k.removeprefix(start): v for k, v in self.learned.items() if k.startswith(start)}
