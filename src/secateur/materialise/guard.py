"""What keeps one masked parameter at zero, and travels with the module that owns it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class GradientMask:
    """The hook on a parameter: zeroes the gradient of pruned elements after each accumulation.

    It holds no parameter, so that a parameter and its hook form no reference cycle and a network
    is freed as soon as nobody uses it. A mask is replaced, never changed, so copies may share it.
    """

    def __init__(self, pruned: Tensor, active: bool = True) -> None:
        self.pruned = pruned
        self.active = active

    def on(self, device: torch.device) -> Tensor:
        """The pruned elements, on the device the parameter has moved to."""
        if self.pruned.device != device:
            self.pruned = self.pruned.to(device)
        return self.pruned

    def __call__(self, param: Tensor) -> None:
        """Mask `param.grad`; with `create_graph` the masking is part of the graph."""
        if param.grad is not None and self.active:
            param.grad.masked_fill_(self.on(param.grad.device), 0)


class Guard:
    """One masked parameter in one place, kept among its module's `load_state_dict` hooks.

    Living in the module's own dictionary of hooks is what makes it travel: `copy.deepcopy` of the
    module copies the guard, through the same memo as the parameter, and hooks the new parameter.
    """

    def __init__(self, name: str, param: nn.Parameter, mask: GradientMask) -> None:
        self.name = name
        self.mask = mask
        self.watch(param)

    @classmethod
    def install(cls, module: nn.Module, name: str) -> Guard:
        """A guard for `module.name` that keeps every element so far."""
        param = module._parameters[name]
        assert param is not None
        guard = cls(name, param, GradientMask(torch.zeros_like(param, dtype=torch.bool)))
        module.register_load_state_dict_post_hook(guard)
        return guard

    def watch(self, param: nn.Parameter) -> None:
        """Hook `param`, also one that is frozen at present: it may be thawed later."""
        self.param = param
        frozen = not param.requires_grad
        self._handle: RemovableHandle = param.requires_grad_(
            True
        ).register_post_accumulate_grad_hook(self.mask)
        if frozen:
            param.requires_grad_(False)

    @property
    def keep(self) -> Tensor:
        """True where the element stays."""
        return ~self.mask.on(self.param.device)

    def set(self, keep: Tensor) -> None:
        """Take a new mask and zero what it prunes, weight and gradient."""
        self.mask.pruned = ~keep.to(self.param.device)
        self.apply()

    def apply(self) -> None:
        """Zero the pruned weights and, unless suspended, their gradients."""
        self.zero(self.param)
        self.mask(self.param)

    def zero(self, tensor: Tensor) -> None:
        """Zero the pruned elements of a tensor of the parameter's shape, in place."""
        with torch.no_grad():
            tensor.masked_fill_(self.mask.on(tensor.device), 0)

    def __call__(self, module: nn.Module, _: Any) -> None:
        """After `load_state_dict`: mask what was loaded, also where it replaced the parameter."""
        param = module._parameters[self.name]
        if param is not None and param is not self.param:
            self.release()
            self.watch(param)
        self.apply()

    def __deepcopy__(self, memo: dict[int, Any]) -> Guard:
        mask = GradientMask(self.mask.pruned, self.mask.active)
        return Guard(self.name, copy.deepcopy(self.param, memo), mask)

    def release(self) -> None:
        """Let go of the parameter; its weights stay as they are."""
        self._handle.remove()


def guards(model: nn.Module) -> Iterator[tuple[str, nn.Module, Guard]]:
    """(parameter name, owner, guard) of every place in `model` that holds a masked parameter."""
    for prefix, module in model.named_modules(remove_duplicate=False):
        for hook in module._load_state_dict_post_hooks.values():
            if isinstance(hook, Guard):
                yield f"{prefix}.{hook.name}" if prefix else hook.name, module, hook


def uninstall(model: nn.Module) -> None:
    """Take every guard off the modules of `model`."""
    for module in model.modules():
        hooks = module._load_state_dict_post_hooks
        for key, hook in list(hooks.items()):
            if isinstance(hook, Guard):
                hook.release()
                del hooks[key]
