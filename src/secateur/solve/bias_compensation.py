"""Bias compensation: the mean of what was removed goes into the bias of the layer that read it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core.axes import Repair, View
from ..core.component import register
from ..core.errors import PlanError
from ..core.flags import biased
from ..core.reads import inputs, readers
from ..core.types import Groups, Target


@register("bias-compensation")
class BiasCompensation(Repair):
    r"""b ← b + Σ_j W_:j m_j over the features j that the removed units own.

    W: the weight [out, in] of each layer that reads them, m_j: the mean of its input j over all
    tokens (over places and samples for convolutions, padding included). A feature that never varies
    is replaced exactly. Layers without a bias get one; selection is left as proposed.

    Shapes: b [out], in the layer's precision, summed in float64.

    Paper: An, Zhao, Yu, Tang, Wang 2024, arXiv 2312.11983; the means are those of the dense
    network's activations, as in the official code, which overwrites an existing bias.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"input_mean"})

    def prepare(self, model: nn.Module, targets: tuple[Target, ...]) -> bool:
        """A bias of zeros for every layer that reads a target and has none.

        Where the configuration of a Hugging Face model has switches for these biases they are turned
        on, and the other layers that they give biases get zeros too, so that its class builds it.
        """
        params, seen = dict(model.named_parameters()), dict[str, set[int]]()
        for target in targets:
            for member in target.members:
                if member.reads is None:
                    continue
                shape = tuple(params[member.param].shape)
                features = inputs(member.layout, shape, member.reads)
                if features is not None:
                    _claim(seen.setdefault(member.param, set()), features, target, member.param)
        needed = [name for name in map(_bias, seen) if name not in params]
        switched = biased(model, needed) if needed else None
        if switched is not None:
            switches, needed = switched[0], list(switched[1])
            for switch in switches:
                setattr(model.config, switch, True)
        for name in needed:
            _give_bias(model.get_submodule(name.rpartition(".")[0]))
        written = {_bias(m.param) for t in targets for m in t.members if m.reads is None}
        return bool(written & set(needed))  # a new bias goes with what its layer writes

    def solve(self, target: Target, proposal: Tensor, groups: Groups, view: View) -> Tensor:
        """The proposal; biases of the target's readers are written."""
        gone = (view.masks[target.name] & ~proposal).flatten()
        for reader in readers(view, target):
            lost = reader.features[gone.cpu()].flatten()
            weight = reader.weight(view)  # [out, in, kernel]
            mean = view.stat("input_mean", reader.param).to(weight).view(weight.shape[1:])
            name = _bias(reader.param)
            gain = (weight * mean).sum(2)[:, lost.to(weight.device)].sum(1)  # [out]
            view.write(name, (view.weight(name) + gain).to(view.weight(name).dtype))
        return proposal


def _bias(param: str) -> str:
    """The name of the bias beside a weight."""
    return param.removesuffix("weight") + "bias"


def _claim(taken: set[int], features: Tensor, target: Target, param: str) -> None:
    """Refuse targets that share features: what two remove would be made up for twice."""
    mine = set(features.flatten().tolist())
    if taken & mine:
        raise PlanError(
            f"'{target.name}' ({target.kind}) shares inputs of '{param}' with another structure, so "
            "that bias compensation would count them twice; name kinds that do not overlap"
        )
    taken |= mine


def _give_bias(layer: nn.Module) -> None:
    """Add a bias of zeros to a linear layer or convolution."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() == 3:
        raise PlanError(
            f"{type(layer).__name__} holds several matrices in one tensor, as experts do, and takes no "
            "bias to make up for what is removed; name other kinds, or leave the compensation out"
        )
    zeros = torch.zeros(weight.shape[0], dtype=weight.dtype, device=weight.device)
    layer.bias = nn.Parameter(zeros, requires_grad=weight.requires_grad)
