"""Low-rank adapters through peft: put beside linear layers, held by the masks, merged back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import PlanError
from ..core.extras import need
from ..core.names import pick
from ..core.random import derive
from ..core.types import Adapter
from ..materialise import HardMasks
from ..structure.prunable import classifier

NAME = "default"


def attach(model: nn.Module, adapter: Adapter, seed: int, *words: object) -> int:
    """Put adapters beside the layers, freeze the rest; how many parameters are trained.

    Args:
        model: changed in place: `layer` becomes an adapted layer around `layer`.
        adapter: rank, scale, dropout and selectors of layers.
        seed, words: what A is drawn from; B starts at zero, so that nothing changes.
    """
    peft = _peft()
    layers = _layers(model, adapter.layers)
    kept = _kept(model, layers)
    config = peft.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=layers,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "adapters", *words))
        peft.inject_adapter_in_model(config, model, adapter_name=NAME)
    for p_name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in p_name)
    _hold(model, kept)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def merge(model: nn.Module, trained: Iterable[str]) -> None:
    """Add every adapter to its layer and take it off; `trained` names what trains again."""
    base = _peft().tuners.tuners_utils.BaseTunerLayer
    adapted = [(name, m) for name, m in model.named_modules() if isinstance(m, base)]
    for name, module in adapted:
        layer: Any = module
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    again = set(trained)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in again)


def _peft() -> Any:
    return need("peft", "recovery 'lora'")


def _layers(model: nn.Module, selectors: tuple[str, ...]) -> list[str]:
    """Names of the linear layers that get adapters."""
    every = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if selectors:
        return pick(selectors, every, "linear layer")
    left = [name for name in every if name != classifier(model)] or every
    if not left:
        raise PlanError("recovery 'lora' puts adapters beside linear layers; the model has none")
    return left


def _kept(model: nn.Module, layers: Iterable[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> (rows, columns) of its weight that the masks keep, where they remove any."""
    held, out = HardMasks.of(model).masks, {}
    for name in layers:
        mask = held.get(f"{name}.weight")
        if mask is None or bool(mask.all()):
            continue
        rows, columns = mask.any(1), mask.any(0)  # [out], [in]
        if not torch.equal(mask, rows[:, None] & columns):
            raise PlanError(
                f"'{name}.weight' has single weights removed, which a merged adapter would fill again; "
                "recover with fine-tune, or let lora's `layers` name others"
            )
        out[name] = (rows, columns)
    return out


def _hold(model: nn.Module, kept: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Mask columns of A [rank, in] and rows of B [out, rank]: B A is zero where the weight is."""
    masks, parameters = {}, dict(model.named_parameters())
    for name, (rows, columns) in kept.items():
        for part, mask in (("A", columns[None, :]), ("B", rows[:, None])):
            param = f"{name}.lora_{part}.{NAME}.weight"
            masks[param] = mask.expand(parameters[param].shape)
    HardMasks(model, masks)
