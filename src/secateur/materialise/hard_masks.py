"""Hard masks: pruned weights are zero and stay zero, whatever trains the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..core.errors import PlanError, unknown
from .guard import Guard, guards, uninstall


class HardMasks:
    r"""w <- m · w once, and g <- m · g after every accumulation of a gradient.

    A pruned weight is zero and its gradient is zero before anyone reads it, so clipping,
    accumulation, AMP and DistributedDataParallel see masked gradients; with zero moments the
    steps of SGD, Adam and AdamW, weight decay included, leave zero at zero. NaN or infinite
    gradients of pruned weights are dropped, not multiplied (0 · inf would be NaN).

    The masks live on the modules that own the weights: `copy.deepcopy(model)` (and so
    `AveragedModel`) copies them with the weights, `load_state_dict` of dense weights applies them
    again, and `state_dict` keeps the keys of the stock network (save `masks` beside it).
    `torch.autograd.grad` is not masked: only gradients accumulated in `.grad` are.

    Args:
        model: the network; its pruned weights are set to zero in place.
        masks: parameter name -> bool of the parameter's shape, True = keep.
        optimizer: one that has already taken steps, whose moments of pruned weights must go.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> masks = HardMasks(net, {"weight": torch.tensor([[True, False]])})
    >>> net(torch.ones(3, 2)).sum().backward()
    >>> net.weight.grad
    tensor([[3., 0.]])
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.model = model
        self.update(masks, optimizer)

    @classmethod
    def of(cls, model: nn.Module) -> HardMasks:
        """The masks that `model` carries already, e.g. a copy of a masked network."""
        return cls(model, {})

    @property
    def masks(self) -> dict[str, Tensor]:
        """Parameter name -> bool of its shape, True = keep; tied weights once."""
        return {name: guard.keep for name, guard in self._unique().items()}

    def update(
        self, masks: Mapping[str, Tensor], optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Set the masks of the parameters named; those of others stay.

        Newly pruned weights, their gradients and, in `optimizer`, their moments become zero. Leave
        `optimizer` out only before its first step: left-over momentum would move a pruned weight.
        A weight that comes back starts from zero, with zero moments.
        """
        self._check(masks)
        owners = _owners(self.model)
        present = {(module, guard.name): guard for _, module, guard in guards(self.model)}
        for name, keep in masks.items():
            for module, local in owners[name]:
                guard = present.get((module, local)) or Guard.install(module, local)
                guard.set(keep)
        if optimizer is not None:
            self.zero_moments(optimizer)

    def zero_moments(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero the state of pruned weights in every state tensor of a parameter's shape."""
        for guard in self._unique().values():
            for value in optimizer.state.get(guard.param, {}).values():
                if isinstance(value, Tensor) and value.shape == guard.param.shape:
                    guard.zero(value)

    def zero(self, tensors: Mapping[str, Tensor]) -> None:
        """Zero the pruned elements of other tensors that go by the parameters' names (an average)."""
        for name, _, guard in guards(self.model):
            if name in tensors:
                guard.zero(tensors[name])

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Hard masks become soft: pruned weights stay zero but get their gradients.

        Read the dense gradients (the growth signal of RigL) inside; on leaving, those of pruned
        weights are zeroed, so that no optimizer step can use them.
        """
        found = [guard for _, _, guard in guards(self.model)]
        before = [guard.mask.active for guard in found]
        for guard in found:
            guard.mask.active = False
        try:
            yield
        finally:
            for guard, active in zip(found, before, strict=True):
                guard.mask.active = active
                guard.mask(guard.param)

    def remove(self) -> None:
        """Make the network an ordinary one again; its weights stay as they are."""
        uninstall(self.model)

    def _unique(self) -> dict[str, Guard]:
        """Guards by parameter name; a tied parameter has one per place, the first counts."""
        found: dict[int, tuple[str, Guard]] = {}
        for name, _, guard in guards(self.model):
            found.setdefault(id(guard.param), (name, guard))
        return dict(found.values())

    def _check(self, masks: Mapping[str, Tensor]) -> None:
        """Refuse unknown names and masks that do not fit, before anything is changed."""
        params = dict(self.model.named_parameters())
        for name, keep in masks.items():
            if name not in params:
                raise unknown("parameter", name, params)
            if keep.dtype != torch.bool or keep.shape != params[name].shape:
                raise PlanError(
                    f"the mask of '{name}' is {keep.dtype} {list(keep.shape)}; "
                    f"it must be torch.bool {list(params[name].shape)}, True = keep"
                )


def _owners(model: nn.Module) -> dict[str, list[tuple[nn.Module, str]]]:
    """Parameter name, as `named_parameters` has it -> every (module, local name) that holds it."""
    first = {id(p): name for name, p in model.named_parameters()}
    out: dict[str, list[tuple[nn.Module, str]]] = {name: [] for name in first.values()}
    for module in model.modules():
        for local, param in module.named_parameters(recurse=False, remove_duplicate=False):
            out[first[id(param)]].append((module, local))
    return out
