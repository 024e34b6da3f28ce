"""Batch norms folded into the layers before them: the same function in fewer operators."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.utils import _pytree as pytree

from .structure.example import arguments
from .structure.graph.capture import capture
from .structure.graph.errors import ProofError
from .structure.graph.op import base_name
from .structure.graph.proof import floats

TOLERANCE = 1e-5
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def fold_batch_norms(model: nn.Module, example: Any) -> nn.Module:
    """A copy for inference in which every batch norm right behind a layer is part of that layer.

    W' = γ / sqrt(σ² + ε) · W,  b' = γ / sqrt(σ² + ε) · (b − μ) + β

    with γ, β, μ, σ² of the norm along the layer's outputs (`torch.nn.utils.fusion`). Which norm
    follows which layer is read off the captured graph: the layer's result goes nowhere else, and
    both are called once. The norm's place is taken by `nn.Identity`. The copy is in evaluation mode;
    that it computes the same is proved on the example in float64.

    Args:
        model: it is left as it was.
        example: a tensor, a tuple of arguments or a dict of keywords.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> fold_batch_norms(net, torch.zeros(2, 3, 8, 8))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): ReLU()
    )
    """
    args, kwargs = arguments(example)
    pairs = list(_pairs(model, args, kwargs))
    folded = copy.deepcopy(model).eval()
    for layer, norm in pairs:
        fused = _fused(folded.get_submodule(layer), folded.get_submodule(norm))
        folded.set_submodule(layer, fused)
        folded.set_submodule(norm, nn.Identity())
    _prove(model, folded, args, kwargs)
    return folded


def _pairs(model: nn.Module, args: Any, kwargs: Any) -> Iterator[tuple[str, str]]:
    """(layer, norm) by the names of their modules."""
    captured = capture(model, args, kwargs)
    modules = dict(model.named_modules())
    for node in captured.graph.nodes:
        if base_name(node) != "batch_norm" or not isinstance(node.args[0], fx.Node):
            continue
        norm, layer = _owner(node, "running_mean"), _owner(node.args[0], "weight")
        alone = len(node.args[0].users) == 1
        if alone and _foldable(modules.get(layer)) and isinstance(modules.get(norm), _BatchNorm):
            yield layer, norm


def _foldable(layer: nn.Module | None) -> bool:
    """What torch's functions fold: of transposed convolutions only those without groups."""
    if isinstance(layer, TRANSPOSED):
        return layer.groups == 1
    return isinstance(layer, (nn.Linear, *CONVOLUTIONS))


def _owner(node: fx.Node, tensor: str) -> str:
    """The module whose tensor of that name an operator reads, if nothing else reads it."""
    for source in node.all_input_nodes:
        owner, _, name = str(source.target).rpartition(".")
        if source.op == "get_attr" and name == tensor and len(source.users) == 1:
            return owner
    return ""


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(norm, _BatchNorm)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    assert isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED))
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, TRANSPOSED))


def _prove(model: nn.Module, folded: nn.Module, args: Any, kwargs: Any) -> None:
    """The same outputs in float64, up to `TOLERANCE` of the largest."""
    before, after = (
        _floats(copy.deepcopy(net).double().eval(), args, kwargs) for net in (model, folded)
    )
    for old, new in zip(before, after, strict=True):
        gap = float((old - new).abs().max() / old.abs().max().clamp_min(1e-30))
        if not gap <= TOLERANCE:
            raise ProofError(
                f"the network with its batch norms folded differs from the network by {gap:.1e} of its "
                "largest output; a forward() reads a norm's tensors besides calling it"
            )


@torch.no_grad()
def _floats(model: nn.Module, args: Any, kwargs: Any) -> list[Tensor]:
    args, kwargs = pytree.tree_map_only(
        Tensor, lambda t: t.double() if t.is_floating_point() else t, (args, kwargs)
    )
    return floats(model(*args, **kwargs))
