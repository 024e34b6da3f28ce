"""Where training happens: accelerate's devices, precision and processes, or plain torch."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...core.errors import PlanError
from ...core.extras import need


class Hardware(Protocol):
    """The part of `accelerate.Accelerator` that training uses."""

    device: torch.device
    num_processes: int
    process_index: int
    mixed_precision: str
    scaler: Any

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """Move it, and wrap it for mixed precision and several processes."""

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of the (scaled) loss."""

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Inside, gradients are not yet exchanged between processes."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside, operations run in the lower precision."""

    def reduce(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""


class Host:
    """One process in float32 on the device where the model is: no accelerate needed."""

    num_processes, process_index = 1, 0
    mixed_precision, scaler = "no", None

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of the loss."""
        loss.backward()

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Nothing to keep from exchanging."""
        return nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        """Nothing is cast."""
        return nullcontext()

    def reduce(self, tensor: Tensor) -> Tensor:
        """The sum over one process."""
        return tensor


class Forward(nn.Module):
    """The model as accelerate may wrap it: what it patches is this module, not the user's."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The model's outputs."""
        return self.model(*inputs, **named)


def open_accelerator(precision: str = "no", cpu: bool = False) -> Any:
    """An `accelerate.Accelerator` for `precision`, on the best device there is.

    Accelerate fixes the precision for the whole process at its first use; here a later training
    may choose anew. An accelerator serves one training at a time.

    Args:
        precision: `no`, `bf16` or `fp16` (which needs an accelerator device).
        cpu: stay on the CPU whatever else there is.
    """
    accelerate = need("accelerate", f"training with precision '{precision}' or several processes")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(mixed_precision=precision, cpu=cpu)
    _check(accelerator, precision)
    hardware: Hardware = accelerator
    return hardware


def _check(hardware: Any, precision: str) -> None:
    """Refuse a precision that the hardware would silently ignore."""
    if hardware.mixed_precision != precision:
        raise PlanError(
            f"the accelerator was opened for precision '{hardware.mixed_precision}', the training "
            f"asks for '{precision}'; open it with open_accelerator('{precision}')"
        )
    if precision == "fp16" and hardware.scaler is None:
        raise PlanError(
            f"precision 'fp16' does not work on {hardware.device.type}; use 'bf16' or 'no'"
        )


def hardware_for(model: nn.Module, precision: str, accelerator: Any) -> Hardware:
    """The hardware a training uses: `accelerator`, or what its precision calls for."""
    if accelerator is None and precision == "no":
        return Host(device_of(model))
    if accelerator is None:
        accelerator = open_accelerator(precision, cpu=device_of(model).type == "cpu")
    _check(accelerator, precision)
    accelerator.free_memory()  # forgets the models of earlier trainings, which it would keep alive
    if accelerator.scaler is not None:  # a resumed training must not depend on earlier ones
        scaler = accelerator.scaler
        scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**16, "_growth_tracker": 0})
    hardware: Hardware = accelerator
    return hardware


def device_of(model: nn.Module) -> torch.device:
    """Where the model's first parameter or buffer is; the CPU where it has none."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
