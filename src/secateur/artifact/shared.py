"""Weights that share few values: a codebook, and which entry comes where, both Huffman-coded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import BoolTensor, Tensor

from ..core.errors import StorageError
from . import huffman
from .codec import SAME_WIDTH, kept_values
from .varint import Bytes, Numbers

MOST = huffman.ALPHABET - 1  # values: index 0 is no value
WIDTHS = (3, 4, 5, 6, 7, 8)  # bits of a span
_PROBE = 4096


@dataclass(frozen=True)
class Shared:
    """A tensor of few values as codebook, indices and, where it has a mask, spans.

    Attributes:
        codebook: [k] the values, k at most 255.
        entries: how many indices there are: kept values, and paddings.
        indices: their bytes (`huffman`); 1 to k name a value, 0 is a padding.
        width: bits of a span; 0 where every element is there.
        spans: bytes of the distances from each entry to the one before, less 1.
    """

    codebook: Tensor
    entries: int
    indices: Bytes
    width: int = 0
    spans: Bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        more = self.spans.size if self.spans is not None else 0
        return self.codebook.nbytes + self.indices.size + more


def share(tensor: Tensor, mask: Tensor | None = None) -> Shared | None:
    """The coded tensor; None where its kept values are too many to be worth a codebook.

    Positions are stored as in the paper: the distance to the entry before in a fixed number of bits, and
    where it is larger than those can say a padding entry without a value in between; then both streams
    are Huffman-coded. The width of a span is the one, of 3 to 8 bits, with which both take least.

    Args:
        tensor: on the CPU, of any shape; values are compared bit for bit.
        mask: bool of the same shape, True = keep; pruned values must be zero.

    Paper: Han, Mao, Dally 2016, arXiv 1510.00149, whose spans are 8 bits wide for convolutions and 5 for
    fully connected layers, and whose paddings are zeros among the weights.

    >>> coded = share(torch.tensor([0.0, 2.0, 0.0, 2.0]), torch.tensor([False, True, False, True]))
    >>> unshare(coded, (4,))[0].tolist()
    [0.0, 2.0, 0.0, 2.0]
    """
    values = tensor.reshape(-1) if mask is None else kept_values(tensor, mask)
    bits = values.contiguous().view(SAME_WIDTH[values.element_size()]).numpy()  # [kept]
    if bits.size == 0 or np.unique(bits[:: -(-bits.size // _PROBE)]).size > MOST:
        return None
    codebook, index = np.unique(bits, return_inverse=True)
    if codebook.size > min(MOST, bits.size // 2):
        return None
    book = torch.from_numpy(codebook).view(values.dtype)
    indices = (index + 1).astype(np.uint8)
    if mask is None:
        return Shared(book, indices.size, huffman.encode(indices))
    gaps = np.diff(np.flatnonzero(mask.reshape(-1).numpy()), prepend=-1)  # [kept] from 1 on
    width = min(WIDTHS, key=lambda w: _estimate(gaps, indices, w))
    spans, indices = _padded(gaps, indices, width)
    coded = huffman.encode(indices), huffman.encode(spans)
    return Shared(book, indices.size, coded[0], width, coded[1])


def unshare(coded: Shared, shape: tuple[int, ...]) -> tuple[Tensor, BoolTensor | None]:
    """The tensor and its mask; parts that `share` would not have made are a `StorageError`."""
    indices = huffman.decode(coded.indices, coded.entries)  # [entries]
    size = int(np.prod(shape, dtype=np.int64))
    if int(indices.max(initial=0)) > len(coded.codebook):
        raise StorageError(f"an index names no value of a codebook of {len(coded.codebook)}")
    if coded.spans is None:
        if indices.size != size or not indices.all():
            raise StorageError(f"its indices do not name the {size} values of the tensor")
        return _looked_up(coded.codebook, indices).reshape(shape), None
    place = _places(coded, indices, size)
    mask = torch.zeros(size, dtype=torch.bool)
    mask[place] = True
    dense = torch.zeros(size, dtype=SAME_WIDTH[coded.codebook.element_size()])
    dense[place] = _looked_up(coded.codebook, indices[indices > 0]).view(dense.dtype)
    return dense.view(coded.codebook.dtype).reshape(shape), mask.reshape(shape)  # type: ignore[return-value]


def _looked_up(codebook: Tensor, indices: huffman.Symbols) -> Tensor:
    bits = codebook.view(SAME_WIDTH[codebook.element_size()])
    return bits[torch.from_numpy(indices.astype(np.int64) - 1)].view(codebook.dtype)


def _places(coded: Shared, indices: huffman.Symbols, size: int) -> Tensor:
    """[kept] where the values are; paddings stand at the end of a full span, and never last."""
    assert coded.spans is not None
    spans = huffman.decode(coded.spans, coded.entries).astype(np.int64) + 1
    if coded.width not in WIDTHS or int(spans.max(initial=1)) > 1 << coded.width:
        raise StorageError(f"a span is longer than {coded.width} bits can say")
    padding = indices == 0
    if np.any(spans[padding] != 1 << coded.width) or (padding.size and padding[-1]):
        raise StorageError("a padding stands where none is needed")
    place = np.cumsum(spans) - 1
    if place.size and place[-1] >= size:
        raise StorageError(f"an index lies beyond the {size} elements of the tensor")
    return torch.from_numpy(place[~padding])


def _padded(
    gaps: Numbers, indices: huffman.Symbols, width: int
) -> tuple[huffman.Symbols, huffman.Symbols]:
    """Spans and indices `[entries]` with the paddings that spans of so many bits need."""
    full = 1 << width
    more = (gaps - 1) // full  # [kept] paddings before each value
    last = np.cumsum(more + 1) - 1  # where each value stands among the entries
    spans = np.full(int(last[-1]) + 1, full - 1, dtype=np.uint8)
    padded = np.zeros(spans.size, dtype=np.uint8)
    spans[last] = gaps - more * full - 1
    padded[last] = indices
    return spans, padded


def _estimate(gaps: Numbers, indices: huffman.Symbols, width: int) -> float:
    """Bits of both streams by their entropy, and of the table of spans."""
    full = 1 << width
    more = (gaps - 1) // full
    paddings = int(more.sum())
    spans = np.bincount(gaps - more * full - 1, minlength=full)
    spans[-1] += paddings
    values = np.append(np.bincount(indices), paddings)
    return _entropy(spans) + _entropy(values) + 4 * full


def _entropy(counts: Numbers) -> float:
    some = counts[counts > 0]
    return float((some * np.log2(some.sum() / some)).sum())
