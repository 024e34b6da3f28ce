"""Removals as plain data: written down while they happen, and done again on a stock network."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from secateur.core.edits import Change as Written
from secateur.core.edits import Edits, Kept, Retrace
from secateur.core.errors import StorageError
from secateur.core.run_time import wrapped_again
from secateur.structure.depth import drop_layers, layers_of
from secateur.structure.example import arguments, example_like
from secateur.structure.graph.attributes import Change
from secateur.structure.graph.axes import Axis
from secateur.structure.graph.folds import Folds, scale_weights
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import Kept as Units
from secateur.structure.graph.positions import kept_positions, kept_size
from secateur.structure.graph.provenance import is_settings
from secateur.structure.graph.remove import remove
from secateur.structure.graph.standard import repair
from secateur.structure.graph.terms import size
from secateur.structure.graph.trace import trace


def tensors_kept(model: nn.Module, found: Inference, kept: Units) -> dict[str, dict[int, Kept]]:
    """Parameter or buffer -> dimension -> what stays, for every dimension that loses something."""
    own = {n for n, _ in model.named_parameters(remove_duplicate=False)}
    own |= {n for n, _ in model.named_buffers(remove_duplicate=False)}
    out: dict[str, dict[int, Kept]] = {}
    for name, terms in found.terms.items():
        cuts = {
            dim: Kept.of(kept_positions(term, kept).tolist(), size(term))
            for dim, term in enumerate(terms)
            if kept_size(term, kept) != size(term)
        }
        for twin in found.captured.twins[name] if cuts else ():
            if twin in own:
                out[twin] = cuts
    return out


def replay(model: nn.Module, edits: Edits) -> nn.Module:
    """Carry a removal out on `model` itself, the network as it was before; returns it.

    Sizes and attributes have to be those that the edits were made from. A removal that only the
    graph can say is traced and carried out again, which gives another network.
    """
    if edits.retrace is not None:
        return _again(model, edits.retrace)
    if edits.run_time is not None:
        return wrapped_again(model, edits.run_time)
    _cut(model, edits.tensors)
    _scale(model, edits.scales, edits.shifts)
    for change in edits.attributes:
        _set(model, change)
    _drop(model, edits.layers)
    repair(model)
    return model


def _drop(model: nn.Module, layers: Sequence[str]) -> None:
    """Take layers out of their containers; those that stay close up."""
    present = set(layers_of(model))
    for path in layers:
        if path not in present:
            raise StorageError(f"the network has no layer '{path}' in a list of modules")
    drop_layers(model, layers)


def _scale(model: nn.Module, scales: Mapping[str, float], shifts: Mapping[str, float]) -> None:
    """Multiply parameters by their factors."""
    for name in scales:
        group, leaf = _place(model, name)
        if not isinstance(group[leaf], nn.Parameter):
            raise StorageError(f"'{name}' is no parameter to scale")
    scale_weights(model, scales, shifts)


def _again(model: nn.Module, retrace: Retrace) -> nn.Module:
    """Trace `model` on an input like the one it was traced on, and remove the same units."""
    args, kwargs = arguments(example_like(retrace.example))
    traced = trace(model, args, kwargs, outputs=retrace.outputs or None)
    axes = {axis.name: axis for axis in traced.axes}
    for name, kept in retrace.units.items():
        if name not in axes or axes[name].units != kept.size:
            raise StorageError(f"the network has no structure '{name}' of {kept.size} units")
    plan = {axes[name]: kept.numbers() for name, kept in retrace.units.items()}
    norms, level = retrace.preserve_norms, retrace.level
    made = remove(traced, model, plan, args, kwargs, levels=level, preserve_norms=norms)
    return made.module


def _cut(model: nn.Module, tensors: Mapping[str, Mapping[int, Kept]]) -> None:
    """Take the kept positions of every tensor; tied ones are cut once and stay tied."""
    done: dict[int, Tensor] = {}
    places = {name: _place(model, name) for name in tensors}
    originals = {
        name: group[leaf] for name, (group, leaf) in places.items()
    }  # a layer may have two names
    for name, cuts in tensors.items():
        (group, leaf), old = places[name], originals[name]
        if id(old) not in done:
            done[id(old)] = _kept(name, old, cuts)
        group[leaf] = done[id(old)]


def _place(model: nn.Module, name: str) -> tuple[dict[str, Any], str]:
    path, _, leaf = name.rpartition(".")
    try:
        owner = model.get_submodule(path)
    except AttributeError:
        raise StorageError(f"the network has no module '{path}' to cut '{leaf}' in") from None
    for group in (owner._parameters, owner._buffers):
        if isinstance(group.get(leaf), Tensor):
            return group, leaf
    raise StorageError(f"the network has no tensor '{name}' to cut")


def _kept(name: str, tensor: Tensor, cuts: Mapping[int, Kept]) -> Tensor:
    data = kept_part(name, tensor, cuts)
    if not isinstance(tensor, nn.Parameter):
        return data
    made = nn.Parameter(data, tensor.requires_grad)
    if tensor.grad is not None:
        made.grad = kept_part(name, tensor.grad, cuts)
    return made


def kept_part(name: str, tensor: Tensor, cuts: Mapping[int, Kept]) -> Tensor:
    """What stays of a tensor, or of one of its shape (a gradient, a moment of an optimiser)."""
    data = tensor.detach()
    for dim, kept in cuts.items():
        if not 0 <= dim < data.dim() or data.shape[dim] != kept.size:
            raise StorageError(
                f"dimension {dim} of '{name}' should have {kept.size} entries, the network's is "
                f"{list(data.shape)}"
            )
        data = data.index_select(dim, torch.tensor(kept.numbers(), device=data.device))
    return data


def _set(model: nn.Module, change: Written) -> None:
    """Set one attribute, which has to be there with the old value."""
    try:
        owner: Any = model.get_submodule(change.module)
    except AttributeError:
        raise StorageError(f"the network has no module '{change.module}'") from None
    *path, leaf = change.attribute.split(".")
    for part in path:
        inner = vars(owner).get(part)
        if isinstance(inner, nn.Module) or not is_settings(inner):
            raise StorageError(f"'{change.module}' has no configuration '{change.attribute}'")
        if change.module:  # as `to_set`: below the network itself, one of its own
            inner = copy.copy(inner)
            setattr(owner, part, inner)
        owner = inner
    held = _held(owner, leaf) if path else vars(owner).get(leaf)
    settled = path and as_json(held) == change.new  # a setter may have set what goes with it
    if leaf.startswith("_") or not _plain(held) or not (settled or as_json(held) == change.old):
        raise StorageError(
            f"'{change.module}'.{change.attribute} should be {change.old!r}, it is {held!r:.100}"
        )
    same = held is None or change.new is None or type(as_json(held)) is type(change.new)
    if not _plain(change.new) or not same:
        raise StorageError(f"'{change.module}'.{change.attribute} cannot become {change.new!r}")
    listed = isinstance(held, tuple) and isinstance(change.new, list)
    setattr(owner, leaf, tuple(cast(Any, change.new)) if listed else change.new)


def _held(config: Any, name: str) -> Any:
    """A setting, which may be a property that can be set (`out_features` of a backbone)."""
    known = getattr(type(config), name, None)
    if name not in vars(config) and isinstance(known, property) and known.fset is not None:
        return getattr(config, name)
    return vars(config).get(name)


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    return value is None or isinstance(value, int | float | str)


def as_json(value: Any) -> Any:
    """Tuples as the lists that JSON has."""
    return [as_json(v) for v in value] if isinstance(value, list | tuple) else value


def written(
    model: nn.Module,
    found: Inference,
    plan: Mapping[Axis, Sequence[int]],
    kept: Units,
    changes: Sequence[Change],
    retrace: tuple[str, Any, bool] | None = None,
    folds: Folds | None = None,
) -> Edits:
    """A removal as plain data.

    Args:
        model: the network before.
        found, plan, kept: what was inferred, and what stays.
        changes: attributes that were set.
        retrace: level, example and preserve_norms where the network became a graph.
        folds: of norms that keep an old count.
    """
    attributes = [
        Written(module=c.module, attribute=c.attribute, old=as_json(c.old), new=as_json(c.new))
        for c in changes
    ]
    again = None
    if retrace is not None:
        level, example, norms = retrace
        units = {axis.name: Kept.of(numbers, axis.units) for axis, numbers in plan.items()}
        again = Retrace(
            level=level, units=units, example=example, preserve_norms=norms,
            outputs=found.captured.outputs.chosen,
        )  # fmt: skip
    tensors = tensors_kept(model, found, kept)
    return Edits(
        tensors=tensors,
        scales=folds.scales if folds else {},
        shifts=folds.shifts if folds else {},
        attributes=tuple(attributes),
        retrace=again,
    )
