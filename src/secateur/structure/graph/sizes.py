"""How large a network is when only some units stay: parameters, and bytes of everything it saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from math import prod

from torch import Tensor, nn

from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import kept_size
from secateur.structure.graph.terms import Var

Count = Callable[[Mapping[Var, Sized]], int]
"""Of the units that stay of each axis; an axis not named keeps all."""


def parameters_left(found: Inference, model: nn.Module) -> Count:
    """The number of parameters, tied ones once: all of the network's less what the axes take along."""
    whole = sum(p.numel() for p in model.parameters())
    return lambda kept: whole - sum(lost for _, lost in _lost(found, kept, nn.Parameter))


def bytes_left(found: Inference, model: nn.Module) -> Count:
    """Bytes of the state dict, each number at its own type, tied tensors once."""
    state = model.state_dict(keep_vars=True)
    once = {id(tensor): tensor for tensor in state.values() if isinstance(tensor, Tensor)}
    whole = sum(t.numel() * t.element_size() for t in once.values())
    saved = {name for name in found.terms if set(found.captured.twins[name]) & set(state)}

    def left(kept: Mapping[Var, Sized]) -> int:
        lost = _lost(found, kept, Tensor)
        sizes = {name: found.captured.tensors[name].element_size() for name in saved}
        return whole - sum(sizes[name] * n for name, n in lost if name in saved)

    return left


def _lost(
    found: Inference, kept: Mapping[Var, Sized], kind: type[Tensor]
) -> Iterator[tuple[str, int]]:
    """(tensor, elements that go), twins once."""
    seen: set[tuple[str, ...]] = set()
    for name, dims in found.terms.items():
        twins = found.captured.twins[name]
        if twins not in seen and isinstance(found.captured.tensors[name], kind):
            seen.add(twins)
            before = prod(kept_size(term, {}) for term in dims)
            yield name, before - prod(kept_size(term, kept) for term in dims)
