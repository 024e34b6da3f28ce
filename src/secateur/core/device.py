"""The device that work is done on, by its name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from .errors import PlanError

HOST = torch.device("cpu")


def pick_device(name: str | torch.device) -> torch.device:
    """`auto` = the accelerator torch sees, else the CPU; an absent device is an error."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]  # torch goes on for pages
        raise PlanError(f"device '{name}' is not here: {reason}; use auto or cpu") from error


def placed(value: Any, device: torch.device | str) -> Any:
    """Every tensor of a structure (batches, outputs, examples) on a device; all else as it is."""
    return tree.tree_map_only(Tensor, lambda tensor: tensor.to(device), value)


def place_buffers(model: nn.Module, device: torch.device | str) -> None:
    """Move the buffers that have values; parameters, which may have none, stay where they are."""
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if not buffer.is_meta:
                module._buffers[name] = buffer.to(device)


def wait_for_device() -> None:
    """Until a GPU has done what it was given: before a clock is read."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
