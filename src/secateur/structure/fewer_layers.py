"""Taking whole layers out, and the network in which they hand on their input."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..core.edits import Change, Edits
from .depth import Depth, depths, renumbered
from .graph.replay import as_json, replay


def fewer_layers(
    model: nn.Module, names: Iterable[str]
) -> tuple[nn.Module, Edits, tuple[Depth, ...]]:
    """A copy of `model` without the named layers, the removal as plain data, and what was lost.

    Layers that stay are numbered anew and lists of layers lose their entries; the configuration is
    left alone. Names are paths of modules in a `ModuleList` or `Sequential`.
    """
    names = tuple(names)
    lost = depths(model, names)
    changes = [
        Change(module=c.module, attribute=c.attribute, old=as_json(c.old), new=as_json(c.new))
        for c in renumbered(model, lost)
    ]
    edits = Edits(attributes=tuple(changes), layers=names)
    return replay(twin(model), edits), edits, lost


def twin(model: nn.Module) -> nn.Module:
    """A copy, its gradients among it."""
    made = copy.deepcopy(model)
    for own, copied in zip(model.parameters(), made.parameters(), strict=True):
        copied.grad = None if own.grad is None else own.grad.detach().clone()
    return made


@contextmanager
def skipped(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Inside, the named layers hand on their input: what removal has to equal."""
    hooks = [
        model.get_submodule(name).register_forward_hook(hand_on, prepend=True, with_kwargs=True)
        for name in names
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def hand_on(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    """A layer's output, the first floating tensor of it exchanged for the first that went in."""
    given = next(_floats((args, kwargs)))
    first = next(_floats(output))
    return pytree.tree_map(lambda value: given if value is first else value, output)


def _floats(value: Any) -> Iterator[Tensor]:
    leaves = pytree.tree_leaves(value)
    return (t for t in leaves if isinstance(t, Tensor) and t.is_floating_point())


def new_names(model: nn.Module, lost: Iterable[Depth]) -> dict[str, str | None]:
    """Path of every module in a container that lost layers -> its path since, None where it is gone."""
    out: dict[str, str | None] = {}
    for depth in lost:
        keys = list(model.get_submodule(depth.container)._modules)
        numbered = keys == [str(i) for i in range(len(keys))]
        for i, key in enumerate(keys):
            stays = i in depth.stay
            new = str(depth.stay.index(i)) if stays and numbered else key
            before, after = (f"{depth.container}.{k}".lstrip(".") for k in (key, new))
            for path, _ in model.get_submodule(before).named_modules():
                inner = f".{path}" if path else ""
                out[before + inner] = after + inner if stays else None
    return out
