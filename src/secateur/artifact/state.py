"""From a state dict with masks to stored tensors and their description, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import BoolTensor, Tensor

from ..core.errors import StorageError, unknown
from .codec import CodedMask, decode_mask, encode_mask, kept_values, spread
from .container import CODES, Container, digest
from .entries import CODEBOOK, INDICES, MASK, SHARED, SPANS, VALUES, Entry
from .shared import Shared, share, unshare

_WORTH = 512
"""Bytes that a codebook has to save: its parts have names and places in the header."""


@dataclass(frozen=True)
class SparseState:
    """What a sparse file holds: the state dict, and the masks of the tensors that had one."""

    state: dict[str, Tensor]
    masks: dict[str, BoolTensor]


def encode_state(
    state: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None
) -> tuple[dict[str, Entry], dict[str, Tensor]]:
    """The description of every tensor, and the contiguous CPU tensors that go into the container.

    `state` and `masks` map names to tensors; a mask (True = keep) holds for every name of its tensor.
    Without `masks` all is stored whole, so that others can read it.
    """
    for name, tensor in state.items():
        _check_storable(name, tensor)
    first = _first_names(state)
    tied = _tied_masks(masks or {}, first)
    entries: dict[str, Entry] = {}
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if first[name] != name:
            entries[name] = Entry("same", same_as=first[name])
            continue
        whole, mask = tensor.detach().cpu(), tied.get(name)
        entries[name], parts = _encode(name, whole, mask)
        if masks is not None:
            entries[name], parts = _smaller(whole, mask, entries[name], parts)
        stored |= dict(zip(entries[name].stored(name), parts, strict=True))
    return entries, stored


def decode_state(entries: Mapping[str, Entry], container: Container, limit: int) -> SparseState:
    """The state that `encode_state` was given; `StorageError` where the container does not fit."""
    _check_layout(entries, container, limit)
    result = SparseState({}, {})
    for name, entry in entries.items():
        if entry.coding == "same":
            continue
        result.state[name], mask = _decode(name, entry, container)
        if mask is not None:
            result.masks[name] = mask
    order = {name: result.state[entry.same_as or name] for name, entry in entries.items()}
    return SparseState(order, result.masks)


def _check_storable(name: str, tensor: object) -> None:
    if not isinstance(name, str) or "::" in name or name == "__metadata__":
        raise StorageError(f"{name!r} cannot name a stored tensor; '::' is reserved, rename it")
    if not isinstance(tensor, Tensor):
        raise StorageError(f"'{name}' is a {type(tensor).__name__}; only tensors can be stored")
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.dtype not in CODES:
        raise StorageError(
            f"'{name}' is a {tensor.layout} tensor of {tensor.dtype} on {tensor.device}; "
            "only dense tensors with data and an ordinary dtype can be stored"
        )


def _first_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Each name's first name: names share it where they are the very same memory."""
    seen: dict[tuple[object, ...], str] = {}
    first = {}
    for name, tensor in state.items():
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        first[name] = seen.setdefault(place, name) if tensor.numel() else name
    return first


def _tied_masks(masks: Mapping[str, Tensor], first: Mapping[str, str]) -> dict[str, Tensor]:
    """The masks by first name; two names of one tensor must not disagree."""
    tied: dict[str, Tensor] = {}
    for name, mask in masks.items():
        if name not in first:
            raise unknown("tensor with a mask", name, first)
        other = tied.setdefault(first[name], mask)
        if other is not mask and not torch.equal(other, mask):
            raise StorageError(f"'{name}' and '{first[name]}' are one tensor with two masks")
    return tied


def _encode(name: str, tensor: Tensor, mask: Tensor | None) -> tuple[Entry, tuple[Tensor, ...]]:
    code, shape = CODES[tensor.dtype], tuple(tensor.shape)
    if mask is None:
        whole = tensor.contiguous()
        return Entry("dense", code, shape, digest=digest(whole)), (whole,)
    if mask.shape != tensor.shape:
        raise StorageError(
            f"the mask of '{name}' has shape {tuple(mask.shape)}, the tensor {shape}; "
            "they must be the same"
        )
    try:
        coded, values = encode_mask(mask), kept_values(tensor, mask.cpu())
    except StorageError as error:
        raise StorageError(f"'{name}' cannot be stored with its mask: {error}") from error
    payload = torch.from_numpy(coded.payload)
    entry = Entry(coded.coding, code, shape, coded.kept, digest(values, payload))
    return entry, (values, payload)


def _smaller(
    tensor: Tensor, mask: Tensor | None, entry: Entry, parts: tuple[Tensor, ...]
) -> tuple[Entry, tuple[Tensor, ...]]:
    """Entry and parts with a codebook, where that is worth it; else as they are."""
    most = sum(part.nbytes for part in parts) - _WORTH
    coded = share(tensor, None if mask is None else mask.cpu()) if most > 0 else None
    if coded is None or coded.size > most:
        return entry, parts
    spans = () if coded.spans is None else (coded.spans,)
    made = (coded.codebook, *map(torch.from_numpy, (coded.indices, *spans)))
    coding = "shared" if mask is None else "huffman"
    kept, of = entry.kept, (len(coded.codebook), coded.entries, coded.width)
    return Entry(coding, entry.dtype, entry.shape, kept, digest(*made), "", *of), made


def _check_layout(entries: Mapping[str, Entry], container: Container, limit: int) -> None:
    """Exactly the tensors that were announced, and no more of them than fit the memory."""
    expected = [part for name, entry in entries.items() for part in entry.stored(name)]
    if sorted(expected) != sorted(container.names):
        odd = sorted(set(expected).symmetric_difference(container.names))[:3]
        raise StorageError(f"what is stored is not what is described, for instance {odd}")
    needed = sum(entry.loaded_bytes() for entry in entries.values())
    if needed > limit:
        raise StorageError(f"loading takes {needed} bytes, more than the {limit} allowed here")


def _decode(name: str, entry: Entry, container: Container) -> tuple[Tensor, BoolTensor | None]:
    if entry.coding == "dense":
        tensor = container.tensor(name, entry.dtype, entry.shape)
        _check_digest(name, entry, tensor)
        return tensor, None
    if entry.coding in SHARED:
        return _decode_shared(name, entry, container)
    values = container.tensor(name + VALUES, entry.dtype, (entry.kept,))
    payload = container.tensor(name + MASK, "U8")
    _check_digest(name, entry, values, payload)
    try:
        mask = decode_mask(CodedMask(entry.coding, entry.shape, entry.kept, payload.numpy()))
    except StorageError as error:
        raise StorageError(f"the mask of {name!r} is damaged: {error}") from error
    return spread(values, mask), mask


def _decode_shared(
    name: str, entry: Entry, container: Container
) -> tuple[Tensor, BoolTensor | None]:
    codebook = container.tensor(name + CODEBOOK, entry.dtype, (entry.values,))
    streams = [container.tensor(name + INDICES, "U8")]
    if entry.coding == "huffman":
        streams.append(container.tensor(name + SPANS, "U8"))
    _check_digest(name, entry, codebook, *streams)
    try:
        coded = Shared(codebook, entry.entries, streams[0].numpy(), entry.width)
        if entry.coding == "huffman":
            coded = replace(coded, spans=streams[1].numpy())
        tensor, mask = unshare(coded, entry.shape)
    except StorageError as error:
        raise StorageError(f"the codes of {name!r} are damaged: {error}") from error
    if mask is not None and int(mask.sum()) != entry.kept:
        raise StorageError(f"{name!r} keeps {int(mask.sum())} elements, not {entry.kept}")
    return tensor, mask


def _check_digest(name: str, entry: Entry, *parts: Tensor) -> None:
    if digest(*parts) != entry.digest:
        raise StorageError(f"{name!r} is damaged: its bytes do not match their digest")
