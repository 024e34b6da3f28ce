"""Watching the operators of one forward pass: work, bytes moved, and whose weights."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..core.instead import call_with
from .forward import Call

aten = torch.ops.aten
_ADDEND_FIRST = (aten.addmm, aten.baddbmm, aten.addmv)  # the factors come after what is added


@dataclass
class Tally:
    """Sums by the module that is running; `names` maps a parameter's storage to its name."""

    names: dict[int, str]
    layers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    weights: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    traffic: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    operators: int = 0
    running: list[tuple[str, nn.Module]] = field(default_factory=list)

    def add(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Count one operator that has just run."""
        layer = self.running[-1][0] if self.running else ""
        moved = _bytes_moved(func, (args, kwargs), out)
        self.traffic[layer] += moved
        self.operators += moved > 0
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is None:
            return
        macs = int(formula(*args, **kwargs, out_val=out)) // 2
        self.layers[layer] += macs
        weight = self._weight(args[1:3] if func.overloadpacket in _ADDEND_FIRST else args[:2])
        if weight is not None:
            self.weights[weight] += macs

    def _weight(self, factors: tuple[Any, ...]) -> str | None:
        """The parameter that is a factor, or, where it was cast or re-parametrised, the layer's."""
        for factor in factors:
            if (name := self.names.get(_storage(factor))) is not None:
                return name
        if not self.running or not isinstance(self.running[-1][1], _WEIGHTED):
            return None
        prefix = f"{self.running[-1][0]}.".removeprefix(".")
        known = set(self.names.values())
        candidates = (f"{prefix}weight", f"{prefix}parametrizations.weight.original")
        return next((name for name in candidates if name in known), None)


def tally(model: nn.Module, call: Call) -> tuple[Tally, bool]:
    """What one forward pass did, and whether it was simulated on tensors without data.

    A model that looks at values cannot be simulated and is run for real instead; torch's own lines
    about it would read like a failure.
    """
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        return _simulate(model, call), True
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
        weights = dict(model.named_parameters())
        return _watch(model, weights, lambda: model(*call.args, **call.kwargs)), False
    finally:
        log.setLevel(before)


@contextmanager
def countable() -> Iterator[None]:
    """Keep torch from fused kernels that hide their products from the counting formulas."""
    mha, mkldnn = torch.backends.mha, torch.backends.mkldnn
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    onednn, *_ = mkldnn.set_flags(_enabled=False, _fp32_precision=None)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        mkldnn.set_flags(_enabled=onednn, _fp32_precision=None)
        mha.set_fastpath_enabled(fast)


class _Watcher(TorchDispatchMode):
    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.tally.add(func, args, kwargs or {}, out)
        return out


def _simulate(model: nn.Module, call: Call) -> Tally:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    weights = {name: mode.from_tensor(tensor) for name, tensor in model.named_parameters()}
    buffers = {name: mode.from_tensor(tensor) for name, tensor in model.named_buffers()}
    fake = call.map(mode.from_tensor)
    state: dict[str, Tensor] = {**weights, **buffers}
    with mode:
        return _watch(
            model,
            weights,
            lambda: call_with(model, state, fake.args, fake.kwargs),
        )


def _watch(model: nn.Module, weights: Mapping[str, Tensor], run: Callable[[], object]) -> Tally:
    seen = Tally({_storage(tensor): name for name, tensor in weights.items()})
    with _following(model, seen), _Watcher(seen):
        run()
    return seen


@contextmanager
def _following(model: nn.Module, seen: Tally) -> Iterator[None]:
    """Keep `seen.running` the stack of modules whose forward is running."""
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            enter = module.register_forward_pre_hook(
                lambda module, _, name=name: seen.running.append((name, module))
            )
            leave = module.register_forward_hook(
                lambda *_: seen.running.pop() and None, always_call=True
            )
            hooks.callback(enter.remove)
            hooks.callback(leave.remove)
        yield


def _bytes_moved(func: Any, inputs: Any, out: Any) -> int:
    """Bytes read and written; none where the result is only another view of an input."""
    read, written = _tensors(inputs), _tensors(out)
    sources = {_storage(tensor) for tensor in read}
    viewed = not func._schema.is_mutable and all(_storage(t) in sources for t in written)
    return 0 if viewed else sum(map(_size, read)) + sum(map(_size, written))


def _size(tensor: Tensor) -> int:
    """Bytes of a tensor; those that an expanded one repeats count once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _storage(tensor: Any) -> int:
    """What tells memories apart, also those of tensors without data; 0 for what is no tensor."""
    return tensor.untyped_storage()._cdata if isinstance(tensor, Tensor) else 0


def _vector_flops(*args: Any, out_val: Tensor, **_: Any) -> int:
    """Matrix times vector, vector times vector: 2 x the elements of the larger factor."""
    return 2 * max(tensor.numel() for tensor in _tensors(args))


def _grouped_flops(rows: Tensor, weights: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Each row `[k]` meets one expert's `[k, n]`; with 3-d rows the columns are shared out instead."""
    shared = rows.shape[0] if rows.ndim == 3 and weights.ndim == 2 else 1
    return 2 * rows.numel() * weights.shape[-1] // shared


_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    aten.mv: _vector_flops,
    aten.addmv: _vector_flops,
    aten.dot: _vector_flops,
    aten._grouped_mm: _grouped_flops,
}
_WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
