"""Integers as torchao has them: a safetensors file that torchao, and so transformers, reads."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import PlanError, StorageError, unknown
from ..core.extras import need
from ..core.finite import check_weight
from ..core.integers import steps
from .files import Exported, tried_out

KINDS = {"int8": 8, "int4": 4}

Run = Callable[[nn.Module], list[Tensor]]


def save_torchao(
    model: nn.Module, path: Path, kind: str, run: Run | None, *, overwrite: bool = False
) -> Exported:
    """Write the weights of linear layers and 2-d convolutions as integers, all else as it is.

    A tensor `a.weight` becomes `a._weight_qdata` (int8), `a._weight_scale` and `a._weight_zero_point`, with
    the metadata by which `torchao.prototype.safetensors` puts them together. int4 numbers take a byte
    each: torchao packs them for GPUs only. Weights that an embedding shares stay as they are.

    Args:
        model: in evaluation mode.
        path: the file; a model of transformers in `model.safetensors` gets its `config.json` beside it.
        kind: `int8` or `int4`.
        run: the outputs of a network on the example; None: nothing is run.
    """
    if kind not in KINDS:
        raise unknown("kind of torchao file", kind, KINDS)
    support = need("torchao.prototype.safetensors.safetensors_support", "torchao files")
    made, left = quantised(model, kind)
    tensors, metadata = support.flatten_tensor_state_dict(dict(made.state_dict()))
    separate = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    config = _config(model, kind, left) if path.name == "model.safetensors" else None
    if config is not None and not overwrite and (path.parent / "config.json").exists():
        raise StorageError(f"'{path.parent / 'config.json'}' exists; name another folder")

    def make(file: Path) -> float | None:
        from safetensors.torch import save_file

        save_file(separate, file, metadata=metadata | {"format": "pt"})
        again = _read_back(model, file, support)
        if config is not None:
            (file.parent / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        return None if run is None else _far(run(again), run(model))

    difference = tried_out(path, overwrite, make)
    floats = [*left, *_others(made)]
    more = f", {len(floats) - 5} more" if len(floats) > 5 else ""
    notes = (
        f"{kind} weights",
        *([f"as they are: {', '.join(floats[:5])}{more}"] if floats else []),
    )
    return Exported(path, "torchao", path.stat().st_size, difference, notes=notes)


def quantised(model: nn.Module, kind: str) -> tuple[nn.Module, list[str]]:
    """A copy whose weights are torchao's tensors, and the names of layers that have none."""
    made, left = copy.deepcopy(model), []
    count: dict[int, int] = {}
    for module in made.modules():
        for p in module.parameters(recurse=False):
            count[id(p)] = count.get(id(p), 0) + 1
    coded = 0
    for name, module in _layers(made):
        weight = module.weight
        if type(module) not in (nn.Linear, nn.Conv2d) or count[id(weight)] > 1:
            left.append(name)
            continue
        _check(f"{name}.weight" if name else "weight", weight)
        module.weight = nn.Parameter(_tensor(weight.detach(), KINDS[kind]), requires_grad=False)
        coded += 1
    if not coded:
        raise PlanError(
            f"torchao has integers for linear layers and 2-d convolutions, and {type(model).__name__} has "
            "none with weights of its own; export its state-dict"
        )
    return made, left


def _check(name: str, weight: Tensor) -> None:
    check_weight(name, weight)
    if weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise PlanError(
            f"torchao rounds float32, bfloat16 and float16, and {name} is {str(weight.dtype)[6:]}; "
            "convert the network with model.float(), or export its state-dict"
        )


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Layers with a weight matrix that is no table."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        table = isinstance(module, nn.Embedding)
        if isinstance(weight, nn.Parameter) and weight.dim() > 1 and not table:
            yield name, module


def _others(model: nn.Module) -> list[str]:
    """Matrices by other names than `weight` (attention's `in_proj_weight`, recurrent layers', experts')."""
    return [
        name
        for name, p in model.named_parameters()
        if p.dim() > 1 and name.rpartition(".")[2] != "weight"
    ]


def _tensor(weight: Tensor, bits: int) -> Tensor:
    quantization: Any = need("torchao.quantization", "torchao files")
    scale, zero = steps(weight, bits)
    if bits == 8 and weight.dim() == 2:
        row = quantization.PerRow()
        return quantization.Int8Tensor.from_hp(weight, row, scale=scale, zero_point=zero)
    return quantization.IntxUnpackedToInt8Tensor.from_hp(
        weight, (1, *weight.shape[1:]), getattr(torch, f"int{bits}"),
        intx_choose_qparams_algorithm=None, custom_scale=scale, custom_zero_point=zero,
    )  # fmt: skip


def _read_back(model: nn.Module, file: Path, support: Any) -> nn.Module:
    """The network with the weights of the file, as anybody would load them."""
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        state, _ = support.unflatten_tensor_state_dict(tensors, opened.metadata())
    again = copy.deepcopy(model)
    again.load_state_dict(state, assign=True)
    return again


def _far(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest difference of outputs, over the largest output."""
    pairs = list(zip(found, wanted, strict=True))
    most = max(float(w.abs().max()) for _, w in pairs)
    return max(float((f - w).abs().max()) for f, w in pairs) / max(most, 1e-12)


def _config(model: Any, kind: str, left: list[str]) -> dict[str, Any] | None:
    """The configuration of a model of transformers, with what tells its loader of the integers."""
    if not hasattr(model, "config") or not hasattr(model.config, "to_dict"):
        return None
    transformers: Any = need("transformers", "this network")
    quantization: Any = need("torchao.quantization", "torchao files")
    chosen = (
        quantization.Int8WeightOnlyConfig()
        if kind == "int8"
        else quantization.IntxWeightOnlyConfig(weight_dtype=getattr(torch, kind))
    )
    told = transformers.TorchAoConfig(chosen, modules_to_not_convert=left or None)
    return model.config.to_dict() | {"quantization_config": told.to_dict()}
