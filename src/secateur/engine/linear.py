"""A network read as a positive linear map: the context in which SynFlow scores are taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import NumberError, PlanError
from .rewrite import HIDDEN, Rewrite, each, run, single, tensors


class Linear(Rewrite):
    """Norms scale by |γ| (batch norm by |γ| / sqrt(var + eps)); activations pass everything.

    A gate g (sigmoid, softmax) would square the flow of the block it sits in; it keeps its value
    here, 1 or an equal share, and passes on its relative change dg / g, so that what feeds a gate
    is worth as much as what the gate lets through.
    """

    def gate(self, x: Tensor) -> Tensor:
        """x / x with the denominator held fixed; 1 where nothing arrives."""
        arrives = x > 0
        safe = torch.where(arrives, x, 1.0)
        return torch.where(arrives, safe / safe.detach(), 1.0)

    def batch_norm(
        self, x: Tensor, running_mean: Any = None, running_var: Tensor | None = None,
        weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
        momentum: float = 0.1, eps: float = 1e-5, *_: Any, **__: Any,
    ) -> Tensor:  # fmt: skip
        """Evaluation form with the mean dropped; without running statistics the scale alone."""
        if running_var is not None:
            scale = torch.rsqrt(running_var + eps)  # [C]
            weight = scale if weight is None else weight * scale
        return self.scaled(x, weight, bias, x.dim() - 2)


def flow(
    model: nn.Module,
    example: Any,
    masks: Mapping[str, Tensor] | None = None,
    power: float = 1.0,
) -> tuple[Tensor, dict[str, Tensor]]:
    r"""R = sum of the outputs of the positive linear network for an input of ones, and its |w|.

        R = 1ᵀ (Π_l |θ_l ⊙ m_l|) 1        θ: the parameters, m: `masks`, 1: ones of `example`'s shape

    Biases are zero; every other parameter counts with its absolute value (position tables and
    class tokens are further inputs). The sum is in float64, because a product of a hundred layers
    leaves float32 (in float32 on devices that have no float64). Nothing of the model is written:
    the network runs on substitutes.

    Args:
        model: the network.
        example: gives the input's shape (a tensor, a tuple of arguments or a dict); batch 1 is used.
        masks: parameter name -> bool mask, for weights that are pruned but not zero yet.
        power: of the absolute values, relative to their tensor's largest where it is not 1, so that
            no product of them leaves the range of the numbers.

    Returns:
        R (a scalar with a graph) and {parameter name: |w|, a leaf} to differentiate it by.

    >>> R, w = flow(torch.nn.Linear(2, 1, bias=False), torch.zeros(4, 2))
    >>> bool(torch.isclose(R, w["weight"].sum()))
    True
    """
    leaves = {
        name: _sharpened(_positive(name, p, masks), power).requires_grad_()
        for name, p in model.named_parameters()
        if p.is_floating_point()
    }
    buffers = {n: _unsigned(b) for n, b in model.named_buffers() if b.is_floating_point()}
    outputs = run(model, Linear(), {**leaves, **buffers}, ones(model, example), "synaptic flow")
    total = torch.stack([output.sum() for output in outputs]).sum()
    if not bool(torch.isfinite(total)):
        raise NumberError(
            f"synaptic flow overflows {total.dtype}; check the weights for NaN or inf"
        )
    return total, leaves


def ones(model: nn.Module, example: Any) -> Any:
    """An input of ones of the example's shape, batch 1; integer inputs have no such thing."""
    found = tensors(example)
    if not found:
        raise PlanError(
            "synaptic flow needs an example input; pass example=torch.zeros(1, 3, 32, 32)"
        )
    integer = [t for t in found if not t.is_floating_point()]
    if integer:
        raise PlanError(
            f"synaptic flow needs floating inputs; the example holds {integer[0].dtype} of shape "
            f"{tuple(integer[0].shape)}: use another criterion for models of tokens"
        )
    return each(
        single(model, example), lambda t: torch.ones_like(t, dtype=_dtype(t), requires_grad=True)
    )


def _positive(name: str, p: Tensor, masks: Mapping[str, Tensor] | None) -> Tensor:
    """|p| of one parameter in float64, masked; zero for a bias."""
    value = p.detach().to(_dtype(p)).abs()
    if "bias" in name.rpartition(".")[2]:
        return torch.zeros_like(value)
    return value * masks[name].to(value.device) if masks and name in masks else value


def _sharpened(value: Tensor, power: float) -> Tensor:
    """(v / max v)^power; v itself for power 1."""
    return value if power == 1 else (value / value.amax().clamp(min=1e-300)).pow(power)


def _unsigned(buffer: Tensor) -> Tensor:
    """|b| of a buffer in float64; the -inf of a buffer that masks attention stays."""
    value = buffer.to(_dtype(buffer))
    return torch.where(value > HIDDEN, value.abs(), value)


def _dtype(tensor: Tensor) -> torch.dtype:
    """float64, where the device has it."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64
