"""Trained weights from safetensors files, name by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..core.errors import NumberError, PlanError, StorageError, nearest

M = TypeVar("M", bound=nn.Module)


def load_weights(model: M, path: str | os.PathLike[str]) -> M:
    """Fill `model` with the weights of a safetensors file and return it.

    Every parameter and buffer must be in the file with its shape and finite values, and nothing
    else may be; only batch norm's counters `num_batches_tracked`, which inference does not use,
    may be missing. Nothing is written before all of that is sure.

    Args:
        model: changed in place.
        path: a `.safetensors` file.
    """
    tensors = _read(Path(path))
    state = model.state_dict()
    _check_names(state, tensors, path)
    _check_values(state, tensors, path)
    model.load_state_dict(tensors, strict=True)
    return model


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.safetensors")]
        guess = nearest(path.name, siblings)
        hint = f"; did you mean '{path.parent / guess}'?" if guess else "; check the path"
        raise StorageError(f"there is no weights file '{path}'{hint}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise StorageError(
            f"'{path}' cannot be read as safetensors ({error}); download or save it again"
        ) from error


def _check_names(
    state: dict[str, Tensor], tensors: dict[str, Tensor], path: str | os.PathLike[str]
) -> None:
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    missing = [name for name in state if name not in tensors and name not in counters]
    extra = [name for name in tensors if name not in state]
    if not missing and not extra:
        return
    first = missing[0] if missing else extra[0]
    guess = nearest(first, extra if missing else set(state) - set(tensors))
    parts = [f"{len(n)} {what} ('{n[0]}' …)" for n, what in
             ((missing, "missing"), (extra, "unexpected")) if n]  # fmt: skip
    near = f"; nearest to '{first}' is '{guess}'" if guess else ""
    raise PlanError(
        f"the weights in '{path}' are of another network: {' and '.join(parts)}{near}; "
        "build the model they were saved from"
    )


def _check_values(
    state: dict[str, Tensor], tensors: dict[str, Tensor], path: str | os.PathLike[str]
) -> None:
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            raise PlanError(
                f"'{name}' has shape {tuple(tensor.shape)} in '{path}', but the model has "
                f"{tuple(state[name].shape)}; build it with the same classes, channels and width"
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NumberError(
                f"'{name}' in '{path}' holds NaN or infinite values; use other weights"
            )
