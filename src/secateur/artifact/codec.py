"""A mask in few bytes, and a pruned tensor as the values it kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import BoolTensor, Tensor

from ..core.errors import StorageError
from . import varint
from .varint import Bytes, Numbers

CODINGS = ("bits", "gaps", "runs")
SAME_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class CodedMask:
    """A mask as bytes: how it is coded, the shape it had, how many it keeps, the bytes."""

    coding: str
    shape: tuple[int, ...]
    kept: int
    payload: Bytes


def encode_mask(mask: Tensor) -> CodedMask:
    """Code a boolean mask of any shape in the way that takes the fewest bytes.

    `bits`: one bit an element, the first element in the lowest bit.
    `gaps`: before each kept element the number of pruned ones since the last kept, as LEB128.
    `runs`: the lengths of pruned, kept, pruned, kept … stretches, as LEB128.

    Random masks that keep less than an eighth are smallest as gaps, masks of whole rows and
    empty or full ones as runs, all others as bits. Ties go to the first in that order.

    >>> encode_mask(torch.tensor([True, False, False, True])).payload.tolist()
    [9]
    """
    if mask.dtype is not torch.bool:
        raise StorageError(f"a mask must be boolean, not {mask.dtype}")
    flat = mask.detach().cpu().reshape(-1).numpy()  # [n]
    coded = {"bits": np.packbits(flat, bitorder="little")}
    kept = int(np.count_nonzero(flat))
    if kept < coded["bits"].size:  # a gap takes at least a byte
        coded["gaps"] = varint.encode(_gaps(flat))
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1  # where a new run starts
    if edges.size < coded["bits"].size:
        coded["runs"] = varint.encode(_runs(flat, edges))
    coding = min(coded, key=lambda name: coded[name].size)
    return CodedMask(coding, tuple(mask.shape), kept, coded[coding])


def decode_mask(coded: CodedMask) -> BoolTensor:
    """The mask that `encode_mask` was given; bytes that fit no mask are a `StorageError`."""
    if coded.coding not in _DECODERS:
        raise StorageError(
            f"unknown mask coding '{coded.coding}'; this version reads {', '.join(CODINGS)}"
        )
    flat = _DECODERS[coded.coding](coded.payload, prod(coded.shape))  # [n]
    kept = int(np.count_nonzero(flat))
    if kept != coded.kept:
        raise StorageError(f"a mask keeps {kept} elements where {coded.kept} were announced")
    return torch.from_numpy(flat).reshape(coded.shape)  # type: ignore[return-value]


def kept_values(tensor: Tensor, mask: Tensor) -> Tensor:
    """The elements of `tensor` where `mask` is True, in row-major order, bit for bit: `[kept]`.

    Raises `StorageError` where a pruned element is not zero: it would be lost. −0 counts as zero.
    """
    bits = tensor.detach().reshape(-1).view(SAME_WIDTH[tensor.element_size()])  # [n]
    flat = mask.reshape(-1)
    pruned = bits[~flat]
    if tensor.is_floating_point() or tensor.is_complex():  # whose zero has two forms
        pruned = pruned.view(tensor.dtype)
        pruned = pruned.float() if pruned.element_size() == 1 else pruned
    lost = int(torch.count_nonzero(pruned))
    if lost:
        raise StorageError(
            f"{lost} of {pruned.numel()} pruned elements are not zero; apply the mask first"
        )
    return bits[flat].view(tensor.dtype)


def spread(values: Tensor, mask: Tensor) -> Tensor:
    """The dense tensor of `mask`'s shape with `values` `[kept]` in place and +0 elsewhere."""
    bits = values.view(SAME_WIDTH[values.element_size()])
    dense = torch.zeros(mask.numel(), dtype=bits.dtype)  # [n]
    dense[mask.reshape(-1)] = bits
    return dense.view(values.dtype).reshape(mask.shape)


def _gaps(flat: np.ndarray) -> Numbers:
    return np.diff(np.flatnonzero(flat), prepend=-1) - 1


def _runs(flat: np.ndarray, edges: Numbers) -> Numbers:
    """Run lengths that begin with a pruned run, which is 0 where the first element is kept."""
    if flat.size == 0:
        return np.zeros(0, dtype=np.int64)
    bounds: Sequence[int] = [0, 0] if flat[0] else [0]
    return np.diff(np.concatenate((bounds, edges, [flat.size])))


def _from_bits(payload: Bytes, size: int) -> np.ndarray:
    if payload.size != -(-size // 8):
        raise StorageError(f"{payload.size} bytes cannot be a bit mask of {size} elements")
    flat = np.unpackbits(payload, bitorder="little").view(bool)
    if flat[size:].any():
        raise StorageError("a bit mask has bits set beyond its last element")
    return flat[:size]


def _from_gaps(payload: Bytes, size: int) -> np.ndarray:
    gaps = varint.decode(payload)
    if _total(gaps) + gaps.size > size:
        raise StorageError(f"a mask of {size} elements has an index beyond its end")
    flat = np.zeros(size, dtype=bool)
    flat[np.cumsum(gaps + 1) - 1] = True
    return flat


def _from_runs(payload: Bytes, size: int) -> np.ndarray:
    runs = varint.decode(payload)
    if _total(runs) != size:
        raise StorageError(f"the runs of a mask do not add up to its {size} elements")
    if np.any(runs[1:] == 0):
        raise StorageError("a run of a mask is empty")
    return np.repeat(np.arange(runs.size) % 2 == 1, runs)


def _total(numbers: Numbers) -> int:
    """The sum, without the wrap-around that hostile numbers could provoke."""
    return int((numbers >> 32).sum()) * (1 << 32) + int((numbers & 0xFFFFFFFF).sum())


_DECODERS = {"bits": _from_bits, "gaps": _from_gaps, "runs": _from_runs}
