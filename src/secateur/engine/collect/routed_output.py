"""What each expert of a mixture adds to the tokens it gets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import PlanError
from ...core.types import Target
from ...structure.experts import Mixture, mixtures
from .observing import Valid
from .statistics import Values, watched


@watched("routed_output")
@contextmanager
def routed_output(
    model: nn.Module, targets: tuple[Target, ...], params: Collection[str], valid: Valid
) -> Iterator[Callable[[], Values]]:
    r"""a_e = (1/|X_e|) Σ_{x in X_e} g_e(x) ‖f_e(x)‖₂ for each expert e of each mixture.

    X_e: the tokens, padding left out, for which the router chose e; g_e: the share of the gate it
    gave, as the network uses it (normalised over the chosen ones where it does so); f_e: what the
    expert puts out before the gate. An expert that no token was given to gets 0.

    Shapes: [experts] float64, under the names of the mixture's parameters.
    """
    every = mixtures(model)
    if not every:
        raise PlanError("expert statistics need a mixture of experts; this network has none")
    found = [m for m in every if any(name in params for name, _ in m.tensors(model))]
    with ExitStack() as stack:
        watches = [_Watch(mixture, valid) for mixture in found]
        for watch in watches:
            module = model.get_submodule(watch.mixture.experts)
            stack.callback(module.register_forward_pre_hook(watch, with_kwargs=True).remove)
        yield lambda: _values(model, watches, params)


def _values(model: nn.Module, watches: list[_Watch], params: Collection[str]) -> Values:
    return {
        name: watch.mean().to(tensor.device)
        for watch in watches
        for name, tensor in watch.mixture.tensors(model)
        if name in params
    }


class _Watch:
    """Sums over the tokens of each expert of one mixture."""

    def __init__(self, mixture: Mixture, valid: Valid) -> None:
        self.mixture, self._valid = mixture, valid
        self.total = torch.zeros(mixture.count, dtype=torch.float64)
        self.tokens = torch.zeros(mixture.count, dtype=torch.float64)

    def mean(self) -> Tensor:
        """[experts] the mean over the tokens each was given."""
        return torch.where(self.tokens > 0, self.total / self.tokens.clamp(min=1), 0.0)

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        hidden, chosen, gate = self._arguments(args, kwargs)
        valid = self._valid()
        there = torch.ones(len(hidden), dtype=torch.bool, device=hidden.device)
        if valid is not None and valid.numel() == len(hidden):
            there = valid.flatten().to(hidden.device)
        for expert in range(self.mixture.count):
            given = (chosen == expert) & there[:, None]  # [tokens, top_k]
            rows = given.any(1)
            if bool(rows.any()):
                share = (gate.double() * given).sum(1)[rows]
                norms = _alone(module, hidden[rows], expert, chosen, gate).double().norm(dim=1)
                self.total[expert] += float((share * norms).sum())
                self.tokens[expert] += int(rows.sum())

    def _arguments(self, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """hidden [tokens, width], chosen [tokens, top_k] and gate [tokens, top_k]."""
        given = [*args, *kwargs.values()][:3]
        shapes = [tuple(t.shape) for t in given if isinstance(t, Tensor)]
        if len(given) < 3 or len(shapes) < 3 or shapes[1] != shapes[2]:
            raise PlanError(
                f"'{self.mixture.experts}' is not called with tokens, chosen experts and gates "
                f"(got shapes {shapes}); its experts cannot be judged"
            )
        hidden, chosen, gate = given
        return hidden.reshape(len(chosen), -1), chosen, gate


@torch.no_grad()
def _alone(module: nn.Module, hidden: Tensor, expert: int, chosen: Tensor, gate: Tensor) -> Tensor:
    """[tokens, width] what one expert puts out for these tokens, ungated."""
    index = torch.full((len(hidden), 1), expert, dtype=chosen.dtype, device=chosen.device)
    found: Tensor = module.forward(hidden, index, torch.ones_like(index, dtype=gate.dtype))
    return found
