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
    expert puts out before the gate. An expert that no token was given to gets 0. Where the gate is on
    what an expert is given (Llama 4) it is ‖f_e(g_e(x) x)‖₂, again what the expert adds to the token;
    the official code of REAP takes f_e of the ungated token there.

    Shapes: [experts] float64, under the names of the mixture's parameters.
    """
    every = mixtures(model)
    if not every:
        raise PlanError("expert statistics need a mixture of experts; this network has none")
    found = [m for m in every if any(name in params for name, _ in m.tensors(model))]
    with ExitStack() as stack:
        watches = [_Watch(mixture, valid) for mixture in found]
        for watch in watches:
            module, router = (
                model.get_submodule(p) for p in (watch.mixture.experts, watch.mixture.router)
            )
            stack.callback(router.register_forward_pre_hook(watch.routed, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(watch, with_kwargs=True).remove)
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
        self._routed = 0
        """Tokens that the router saw last."""

    def mean(self) -> Tensor:
        """[experts] the mean over the tokens each was given."""
        return torch.where(self.tokens > 0, self.total / self.tokens.clamp(min=1), 0.0)

    def routed(self, router: nn.Module, args: Any, kwargs: Any) -> None:
        """A hook: how many tokens the router is shown."""
        hidden: Tensor = next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor))
        self._routed = hidden.numel() // hidden.shape[-1]

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor)]
        every = self.mixture.count * self._routed
        if len(given) == 1 and given[0].shape == output.shape and len(output) == every > 0:
            self._at_once(given[0], output)
            return
        hidden, chosen, gate = self._arguments(args, kwargs)
        there = self._there(len(hidden), hidden.device)
        for expert in range(self.mixture.count):
            given_to = (chosen == expert) & there[:, None]  # [tokens, top_k]
            rows = given_to.any(1)
            if bool(rows.any()):
                share = (gate.double() * given_to).sum(1)[rows]
                norms = _alone(module, hidden[rows], expert, chosen, gate).double().norm(dim=1)
                self.total[expert] += float((share * norms).sum())
                self.tokens[expert] += int(rows.sum())

    def _at_once(self, hidden: Tensor, output: Tensor) -> None:
        """All experts get all tokens, scaled by the gate: zeros where a token is not theirs."""
        gated = hidden.reshape(self.mixture.count, -1, hidden.shape[-1])  # [experts, tokens, width]
        theirs = gated.any(2) & self._there(gated.shape[1], hidden.device)
        norms = output.detach().reshape(gated.shape).double().norm(dim=2)
        self.total += (norms * theirs).sum(1).to(self.total)
        self.tokens += theirs.sum(1).to(self.tokens)

    def _there(self, tokens: int, device: torch.device) -> Tensor:
        """[tokens] which of them are no padding."""
        valid = self._valid()
        if valid is None or valid.numel() != tokens:
            return torch.ones(tokens, dtype=torch.bool, device=device)
        return valid.flatten().to(device)

    def _arguments(self, args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """hidden [tokens, width], chosen [tokens, top_k] and gate [tokens, top_k]."""
        given = [*args, *kwargs.values()][:3]
        shapes = [tuple(t.shape) for t in given if isinstance(t, Tensor)]
        if len(given) < 3 or len(shapes) < 3 or shapes[1] != shapes[2]:
            raise PlanError(
                f"'{self.mixture.experts}' is called neither with tokens, chosen experts and gates nor "
                f"with what each expert gets (shapes {shapes}), so that nothing tells what its router lets "
                "through; take experts out by number instead, with secateur.shrink(model, example, keep=…)"
            )
        hidden, chosen, gate = given
        return hidden.reshape(len(chosen), -1), chosen, gate


@torch.no_grad()
def _alone(module: nn.Module, hidden: Tensor, expert: int, chosen: Tensor, gate: Tensor) -> Tensor:
    """[tokens, width] what one expert puts out for these tokens, ungated."""
    index = torch.full((len(hidden), 1), expert, dtype=chosen.dtype, device=chosen.device)
    found: Tensor = module.forward(hidden, index, torch.ones_like(index, dtype=gate.dtype))
    return found
