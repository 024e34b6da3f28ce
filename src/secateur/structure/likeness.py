"""All that following a network may read of it but the values of its tensors, as data that can be compared.

Two networks of equal likeness have the same classes with the same code, the same plain attributes and
configurations, and tensors of the same names, shapes, dtypes, devices and ties: on an example of the same
shapes both give the same graph. What cannot be told to be equal raises `Opaque`: doubt counts against it.
"""

from __future__ import annotations

import enum
import functools
import types
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils import _pytree as pytree

from ..core.origin import PLACE
from .graph.op import RULES


class Opaque(Exception):
    """Something of which it cannot be told whether it stays as it is."""


ORDINARY = frozenset(vars(nn.Module())) | {PLACE}
"""Attributes that every module has, and where a network's history is kept."""

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
EVERYWHERE = ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks")

ATOMS = (type(None), bool, int, complex, str, bytes, type(Ellipsis))
NAMED = (torch.dtype, torch.device, torch.layout, torch.memory_format, enum.Enum, np.generic)
MOST = 200_000
"""Values that a likeness may have: a network with more is not worth it."""


class _Plain:
    pass


def likeness(model: nn.Module, args: Any, kwargs: Any) -> Any:
    """What equals only the likeness of a network that is followed in the same way on such an example.

    Args:
        model: its tensors may have other values later.
        args, kwargs: the example; of its tensors shape, dtype and device count.

    Raises:
        Opaque: an attribute, a hook or an input is of a kind whose equality cannot be told.
    """
    return _Describer(model).all(args, kwargs)


class _Describer:
    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules = {id(module): name for name, module in model.named_modules()}
        self.tensors: dict[int, str] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self.tensors.setdefault(id(tensor), name)
        self.met: dict[int, Any] = {}
        self.alive: list[Any] = []  # what was met: its id is the key
        self.count = self.depth = 0

    def all(self, args: Any, kwargs: Any) -> Any:
        modules = [self._module(name, m) for name, m in self.model.named_modules()]
        kinds = dict.fromkeys(type(module) for module in self.model.modules())
        bases = dict.fromkeys(base for kind in kinds for base in kind.__mro__ if _own(base))
        leaves, spec = pytree.tree_flatten((args, kwargs))
        given = [_facts(v) if isinstance(v, Tensor) else self.of(v) for v in leaves]
        code = [self._class(base) for base in bases]
        return modules, code, given, spec, _settings(), dict(RULES)

    def _module(self, name: str, module: nn.Module) -> Any:
        held = vars(module)
        hooked = any(held.get(hooks) for hooks in HOOKS) or held.get("_compiled_call_impl")
        if hooked or any(getattr(torch_module, hooks, None) for hooks in EVERYWHERE):
            raise Opaque(f"'{name}' has hooks")
        tensors = [
            (key, None if t is None else (self.tensors[id(t)], _facts(t)))
            for group in (module._parameters, module._buffers)
            for key, t in group.items()
        ]
        inside = [(key, self.of(child)) for key, child in module._modules.items()]
        plain = [(key, self.of(value)) for key, value in held.items() if key not in ORDINARY]
        return name, weakref.ref(type(module)), module.training, tensors, inside, plain

    def _class(self, kind: type) -> Any:
        """The code and the plain attributes of a class; others cannot be compared and are left out."""
        out: list[Any] = [weakref.ref(kind)]
        for name, value in list(vars(kind).items()):
            held = getattr(value, "fget", getattr(value, "__func__", value))
            try:
                out.append((name, self.of(held)))
            except Opaque:
                out.append((name, type(value).__name__))
        return out

    def of(self, value: Any) -> Any:
        """A value as data: equal where the values are."""
        self.count += 1
        if self.count > MOST:
            raise Opaque("a network with too many attributes")
        kind = type(value)
        if kind in ATOMS:
            return kind, value
        if kind is float:
            return kind, repr(value)
        if isinstance(value, NAMED):
            return kind, repr(value)
        if isinstance(value, type):
            return weakref.ref(value)  # a class may lead to a network that nobody else holds
        if id(value) in self.modules:
            return "module", self.modules[id(value)]
        if id(value) in self.tensors:
            return "tensor", self.tensors[id(value)]
        if id(value) not in self.met:
            self.alive.append(value)
            self.met[id(value)] = ("inside itself", self.depth)
            self.met[id(value)] = (weakref.ref(kind), self._deeper(value))
        return self.met[id(value)]

    def _deeper(self, value: Any) -> Any:
        self.depth += 1
        try:
            return self._inside(value)
        except Opaque:
            del self.met[id(value)]
            raise
        finally:
            self.depth -= 1

    def _inside(self, value: Any) -> Any:
        for kinds, describe in INSIDES:
            if isinstance(value, kinds):
                return describe(self, value)
        if _is_plain_object(value):
            return [(key, self.of(v)) for key, v in vars(value).items()]
        raise Opaque(f"a {type(value).__name__}")

    def several(self, values: Any) -> Any:
        """Every one of a sequence."""
        return [self.of(v) for v in values]

    def mapping(self, value: Mapping[Any, Any]) -> Any:
        """Keys and values in order, and the attributes of a subclass."""
        own = vars(value) if hasattr(value, "__dict__") else {}
        return [(self.of(k), self.of(v)) for k, v in (*value.items(), *own.items())]

    def collection(self, value: Any) -> Any:
        """The members of a set, in an order of their own."""
        return sorted((self.of(v) for v in value), key=repr)

    def function(self, f: types.FunctionType) -> Any:
        """Its code and what it holds; no function is kept, which might keep a network alive."""
        try:
            cells = [cell.cell_contents for cell in f.__closure__ or ()]
        except ValueError as error:
            raise Opaque(f"{f.__qualname__}, which is not defined yet") from error
        held = (f.__defaults__, f.__kwdefaults__, cells)
        return f.__module__, f.__qualname__, f.__code__, self.of(held)

    def method(self, value: types.MethodType) -> Any:
        """A function and what it is bound to."""
        return self.of(value.__self__), self.of(value.__func__)

    def partial(self, value: functools.partial[Any]) -> Any:
        """A function and the arguments it has already."""
        return self.of((value.func, value.args, value.keywords))

    def builtin(self, value: types.BuiltinFunctionType) -> Any:
        """A function of a module written in C."""
        if not isinstance(value.__self__, type(None) | types.ModuleType | type):
            raise Opaque(f"a method of a {type(value.__self__).__name__}")
        return value


INSIDES: tuple[tuple[Any, Callable[[_Describer, Any], Any]], ...] = (
    ((list, tuple, torch.Size), _Describer.several),
    (dict, _Describer.mapping),
    ((set, frozenset), _Describer.collection),
    (types.FunctionType, _Describer.function),
    (types.MethodType, _Describer.method),
    (functools.partial, _Describer.partial),
    (weakref.ReferenceType, lambda self, value: self.of(value())),
    (types.BuiltinFunctionType, _Describer.builtin),
)


def _own(kind: type) -> bool:
    """Whether a class is the network's own, none of torch or of Python."""
    return kind.__module__.partition(".")[0] not in ("torch", "builtins", "abc", "typing")


def _is_plain_object(value: Any) -> bool:
    """Whether an object is no more than its attributes."""
    bases = type(value).__mro__[:-1]
    slots = any("__slots__" in vars(base) for base in bases)
    return not slots and type(value).__basicsize__ == _Plain.__basicsize__


def _facts(t: Tensor) -> Hashable:
    """What of a tensor is no value."""
    kept = (type(t), tuple(t.shape), t.dtype, str(t.device), t.layout, t.requires_grad)
    return (*kept, t.stride() if t.layout == torch.strided else None)


def _settings() -> Any:
    """What of torch itself may lead a network's code elsewhere."""
    backends = torch.backends.cuda
    return (
        torch.get_default_dtype(),
        str(torch.get_default_device()),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_autocast_enabled("cuda"),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
        (backends.flash_sdp_enabled(), backends.math_sdp_enabled()),
        backends.mem_efficient_sdp_enabled(),
    )
