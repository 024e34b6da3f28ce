"""Tensors that a network computes with and that no state dict holds: read off, written, put back.

A plain attribute (`self.scale = torch.randn(8)`), one in a list or a dict of an attribute, a buffer that is
not persistent: a constructor that draws them at random gives others every time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import StorageError
from .container import CODES
from .file import read_sparse, save_sparse

Place = tuple[str | int, ...]
"""Module, attribute, and the keys of lists and dicts within it."""

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_DEEPEST = 8
"""Containers within containers that are looked into; one that holds itself ends there."""


def constants_of(model: nn.Module) -> dict[str, Tensor]:
    """Place, as text -> tensor, of all that a state dict leaves out.

    Refused are tensors that no file can hold, and those inside of objects, which cannot be put back.

    >>> net = nn.Linear(2, 2)
    >>> net.scale = torch.ones(2)
    >>> constants_of(net)
    {'["", "scale"]': tensor([1., 1.])}
    """
    stored = {id(t) for t in model.state_dict(keep_vars=True).values() if isinstance(t, Tensor)}
    stored |= {id(p) for p in model.parameters()}
    found = {}
    for path, module in model.named_modules():
        for name, value in _attributes(module):
            for place, tensor in _tensors((path, name), value, _DEEPEST):
                if id(tensor) not in stored:
                    found[json.dumps(place)] = _storable(place, tensor)
    return found


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    yield from ((n, v) for n, v in vars(module).items() if n not in _OF_EVERY_MODULE)
    for name in sorted(module._non_persistent_buffers_set):
        yield name, module._buffers.get(name)


def _tensors(place: Place, value: Any, depth: int) -> Iterator[tuple[Place, Tensor]]:
    """Every tensor in a value, with the keys that lead to it."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, list | tuple | dict) and depth:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str | int) and type(key) is not bool:
                yield from _tensors((*place, key), inner, depth - 1)
            elif isinstance(inner, Tensor):
                raise StorageError(_refusal(place, f"under the key {key!r:.40}"))
    elif _holds_tensors(value):
        raise StorageError(_refusal(place, f"inside of a {type(value).__name__}"))


def _holds_tensors(value: Any) -> bool:
    """Whether an object has tensors among its own attributes."""
    if isinstance(value, nn.Module | type) or callable(value):
        return False
    return any(isinstance(inner, Tensor) for inner in getattr(value, "__dict__", {}).values())


def _refusal(place: Place, where: str) -> str:
    return (
        f"{_words(place)} holds a tensor {where}, which no file would give back. Remedy: let the "
        "module hold it, with register_buffer(name, tensor)"
    )


def _words(place: Place) -> str:
    path, name, *keys = place
    return f"'{'.'.join(filter(None, (str(path), str(name))))}{''.join(f'[{k!r}]' for k in keys)}'"


def _storable(place: Place, tensor: Tensor) -> Tensor:
    if tensor.layout is torch.strided and not tensor.is_meta and tensor.dtype in CODES:
        return tensor
    raise StorageError(
        f"{_words(place)} is a {tensor.layout} tensor of {tensor.dtype} on {tensor.device}, which cannot "
        "be stored. Remedy: a dense tensor with data and an ordinary dtype, best with register_buffer"
    )


def write_constants(path: Path, model: nn.Module) -> None:
    """Write what `constants_of` finds, where it finds something."""
    found = constants_of(model)
    if found:
        save_sparse(path, found)


def read_constants(path: Path, model: nn.Module, expected: str, limit: int) -> None:
    """Put the tensors of such a file back into a network; its header has the digest `expected`."""
    put_constants(model, read_sparse(path, limit=limit, expected=expected).state)


def put_constants(model: nn.Module, found: Mapping[str, Tensor]) -> None:
    """Let every place hold its tensor: where one is already, where there is None, or nothing yet."""
    modules = dict(model.named_modules())
    for text, tensor in found.items():
        path, name, *keys = place = _parsed(text)
        module = modules.get(str(path))
        if module is None:
            raise StorageError(f"the network has no module '{path}' to hold {_words(place)}")
        group = _group(module, str(name))
        if group is None:
            raise StorageError(f"the network has no place for the tensor {_words(place)}")
        group[str(name)] = _with(group.get(str(name)), keys, tensor, place)


def _parsed(text: str) -> Place:
    try:
        place = json.loads(text)
    except ValueError:
        place = None
    if isinstance(place, list) and len(place) > 1 and all(type(p) in (str, int) for p in place):
        return tuple(place)
    raise StorageError(f"{text!r:.80} names no tensor of a network")


def _group(module: nn.Module, name: str) -> dict[str, Any] | None:
    """Where a module keeps an attribute; None: that name is something else there."""
    if name in module._buffers:
        return module._buffers
    taken = name in _OF_EVERY_MODULE or name in module._parameters or name in module._modules
    of_class = getattr(type(module), name, None)
    if taken or not (of_class is None or isinstance(of_class, Tensor)):
        return None
    return vars(module)


def _with(held: Any, keys: list[Any], tensor: Tensor, place: Place) -> Any:
    """What is held, with the tensor in it: on the device, and a parameter, where it was."""
    if not keys and isinstance(held, Tensor):
        new = tensor if held.is_meta else tensor.to(held.device)
        return nn.Parameter(new, held.requires_grad) if isinstance(held, nn.Parameter) else new
    if not keys and held is None:
        return tensor
    if isinstance(held, dict) and keys:
        held[keys[0]] = _with(held.get(keys[0]), keys[1:], tensor, place)
        return held
    if isinstance(held, list | tuple) and keys and keys[0] in range(len(held) + 1):
        entries = [*held, None] if keys[0] == len(held) else list(held)
        entries[keys[0]] = _with(entries[keys[0]], keys[1:], tensor, place)
        if isinstance(held, list):
            held[:] = entries
            return held
        return type(held)(*entries) if hasattr(held, "_fields") else tuple(entries)
    raise StorageError(f"the network has no place for the tensor {_words(place)}")
