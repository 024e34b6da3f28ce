"""Zero-cost proxies: what one batch says of a network that nobody has trained yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import DataError
from ..core.labelled import call, split
from .collect.state import unchanged
from .run import Loss
from .scoring import score_model

NEAR_ZERO = 1e-5
"""k of the Jacobian's score."""


def proxies(model: nn.Module, batch: Any, loss: Loss, seed: int = 0) -> dict[str, float]:
    r"""Six scores of a whole network by name, higher = better by the paper's account.

    With w the weights of linear and convolution layers, L the mean loss of the batch, H its Hessian:

        grad_norm = Σ_layers ‖∂L/∂w‖₂      snip = Σ |w · ∂L/∂w|      grasp = -Σ w · (H ∂L/∂w)
        synflow = Σ w · ∂R/∂w, R = 1ᵀ (Π |w|) 1 without data
        fisher = Σ_channels ½ mean_x (Σ_places a · ∂ℓ(x)/∂a)², a what a layer puts out, ℓ(x) of one sample
        jacob_cov = -Σ_i [log(v_i + k) + 1 / (v_i + k)], v the eigenvalues of the correlations between the
        samples' gradients ∂(Σ outputs)/∂x, k = 1e-5

    Batch norms use the batch's statistics. The network is afterwards as it was.

    Args:
        model: the network, untrained.
        batch: a pair (x, y); x a float tensor.
        loss: (model, batch) -> mean loss.
        seed: of random layers.
    """
    x, y = split(batch)
    if not isinstance(x, Tensor) or not x.is_floating_point() or len(x) < 2:
        raise DataError(
            "zero-cost proxies need a batch (x, y) with two samples at least, x of floats"
        )

    def scores(name: str, **options: Any) -> Iterator[Tensor]:
        found = score_model(model, name, options, [(x, y)], loss, x[:1], seed)
        return (score.double() for score in found.values())

    return {
        "grad_norm": sum(float(s.norm()) for s in scores("gradient")),
        "snip": sum(float(s.sum()) for s in scores("snip")),
        "grasp": -sum(float(s.sum()) for s in scores("grasp", temperature=1.0)),
        "synflow": sum(float(s.sum()) for s in scores("synflow")),
        "fisher": _fisher(model, (x, y), loss),
        "jacob_cov": _jacobian_spread(model, x),
    }


def _fisher(model: nn.Module, batch: tuple[Tensor, Tensor], loss: Loss) -> float:
    """The channels' second-order scores, summed over all layers."""
    n, total = len(batch[0]), 0.0
    params = dict(model.named_parameters())
    with unchanged(model, params, {}, batch_statistics=True), _outputs(model) as seen:
        value = loss(model, batch)
        gradients = torch.autograd.grad(value, [*seen], allow_unused=True)
    for a, gradient in zip(seen, gradients, strict=True):
        if gradient is not None:
            each = (a.detach() * gradient).double()
            each = each.flatten(2).sum(2) if a.dim() > 2 else each  # [n, channels]
            total += float((n * each).square().mean(0).sum()) / 2
    return total


@contextmanager
def _outputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """What linear and convolution layers put out inside, in order."""
    seen: list[Tensor] = []
    keep: Callable[..., None] = lambda module, given, out: seen.append(out)  # noqa: E731
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _jacobian_spread(model: nn.Module, x: Tensor) -> float:
    """How differently the samples' inputs act on the outputs."""
    with unchanged(model, {}, {}, batch_statistics=True):
        leaf = x.detach().clone().requires_grad_(True)
        out = call(model, leaf)
        (jacobian,) = torch.autograd.grad(out.sum(), leaf)
    correlation = torch.corrcoef(jacobian.flatten(1).double())  # [n, n]
    if not bool(torch.isfinite(correlation).all()):
        raise DataError(
            "some sample's input does not act on the outputs at all; there is no jacob_cov"
        )
    v = torch.linalg.eigvalsh(correlation) + NEAR_ZERO
    return -float((v.log() + 1 / v).sum())
