"""Low-rank adapters through peft: put beside linear layers, held by the masks, merged back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..core.axes import wide
from ..core.errors import PlanError
from ..core.extras import need
from ..core.names import pick
from ..core.random import derive
from ..core.types import Adapter, Target, element_masks, keep_all
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
    kept = _kept(HardMasks.of(model).masks, layers)
    config = peft.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=layers,
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "adapters", *words))
        peft.inject_adapter_in_model(config, model, adapter_name=NAME)
    _train(model, {name for name, _ in model.named_parameters() if "lora_" in name})
    _hold(model, kept)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def merge(model: nn.Module, trained: Iterable[str]) -> None:
    """Add every adapter to its layer and take it off; `trained` names what trains again."""
    for name, layer in adapted(model).items():
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    _train(model, set(trained))


def adapted(model: nn.Module) -> dict[str, Any]:
    """Name of a layer, as the network without adapters has it -> peft's layer around it."""
    if not any(".base_layer." in name for name, _ in model.named_parameters()):
        return {}
    base = _peft().tuners.tuners_utils.BaseTunerLayer
    return {name: module for name, module in model.named_modules() if isinstance(module, base)}


def merged(layer: Any) -> Tensor:
    """[out, in] W + s B A, which the layer computes with."""
    weight: Tensor = layer.get_base_layer().weight.detach()
    return weight + layer.get_delta_weight(NAME).detach().to(weight)


def estimate(layer: Any) -> Tensor:
    r"""[out, in] ∂L/∂B A + B ∂L/∂A − ∂L/∂B ∂L/∂A, what stands for ∂L/∂W where W is frozen.

    It is by how much B A falls in one step of gradient descent at rate 1, without the scale s. Zero where
    nothing has reached the adapter yet.

    Paper: Zhang, Chen, Shen, Yang, Ou, Yu, Zhuang 2023, arXiv 2305.18403.
    """
    a, b = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
    if a.grad is None or b.grad is None:
        return torch.zeros(len(b), a.shape[1], dtype=wide(b), device=b.device)
    a, b, to_a, to_b = (t.detach().to(wide(t)) for t in (a, b, a.grad, b.grad))
    out: Tensor = to_b @ a + b @ to_a - to_b @ to_a
    return out


@contextmanager
def merged_meanwhile(
    model: nn.Module, trained: Iterable[str], optimizer: torch.optim.Optimizer | None
) -> Iterator[None]:
    """Inside, the network is an ordinary one with everything merged; afterwards adapters are back.

    Frozen weights come back to the last bit, whatever was raised inside. What masks have removed meanwhile
    is gone from weights, adapters and moments.

    Args:
        model: with or without adapters; without, nothing happens.
        trained: names of what trains where no adapters do.
        optimizer: of the adapters' training.
    """
    layers = adapted(model)
    if not layers:
        yield
        return
    own = {name: layer.get_base_layer().weight.detach().clone() for name, layer in layers.items()}
    try:
        with torch.no_grad():
            for name, layer in layers.items():
                layer.get_base_layer().weight.copy_(merged(layer))
                model.set_submodule(name, layer.get_base_layer())
        _train(model, set(trained))
        yield
    finally:
        _put_back(model, layers, own, optimizer)


def _put_back(
    model: nn.Module,
    layers: Mapping[str, Any],
    own: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Frozen weights `own` and the adapters around them, without what masks remove by now."""
    masks = HardMasks.of(model).masks
    with torch.no_grad():
        for name, layer in layers.items():
            layer.get_base_layer().weight.copy_(own[name])
            model.set_submodule(name, layer)
    HardMasks.of(model).zero({n: p.detach() for n, p in model.named_parameters()})
    _train(model, {n for n, _ in model.named_parameters() if "lora_" in n})
    _hold(model, _kept(masks, layers), optimizer)


def check(model: nn.Module, adapter: Adapter, targets: tuple[Target, ...]) -> None:
    """Refuse targets whose masks a merged adapter could not keep, before anything is trained."""
    masks = keep_all(targets)
    for mask in masks.values():
        mask.view(-1)[0] = False
    shapes = {name: p.shape for name, p in model.named_parameters()}
    _kept(element_masks(targets, masks, shapes), _layers(model, adapter.layers))


def _train(model: nn.Module, names: set[str]) -> None:
    """Let the parameters of these names train, and no others."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def _peft() -> Any:
    return need("peft", "training adapters")


def _layers(model: nn.Module, selectors: tuple[str, ...]) -> list[str]:
    """Names of the linear layers that get adapters."""
    every = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if selectors:
        return pick(selectors, every, "linear layer")
    left = [name for name in every if name != classifier(model)] or every
    if not left:
        raise PlanError("low-rank adapters stand beside linear layers; the model has none")
    return left


def _kept(held: Mapping[str, Tensor], layers: Iterable[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> (rows, columns) of its weight that the masks held keep, where they remove any."""
    out = {}
    for name in layers:
        mask = held.get(f"{name}.weight")
        if mask is None or bool(mask.all()):
            continue
        rows, columns = mask.any(1), mask.any(0)  # [out], [in]
        if not torch.equal(mask, rows[:, None] & columns):
            raise PlanError(
                f"'{name}.weight' has single weights removed, which a merged adapter would fill again; "
                "fine-tune all weights instead, or let the adapters' `layers` name others"
            )
        out[name] = (rows, columns)
    return out


def _hold(
    model: nn.Module,
    kept: Mapping[str, tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Mask columns of A [rank, in] and rows of B [out, rank]: B A is zero where the weight is."""
    masks, parameters = {}, dict(model.named_parameters())
    for name, (rows, columns) in kept.items():
        for part, mask in (("A", columns[None, :]), ("B", rows[:, None])):
            param = f"{name}.lora_{part}.{NAME}.weight"
            masks[param] = mask.expand(parameters[param].shape)
    HardMasks(model, masks, optimizer)
