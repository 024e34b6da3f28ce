"""Whole numbers in as few bytes as they need, all at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.errors import StorageError

LONGEST = 9  # bytes of 7 bits: every number below 2**63

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]


def lengths(numbers: Numbers) -> Numbers:
    """How many bytes each number takes: one for every 7 bits, at least one."""
    count = np.ones(numbers.shape, dtype=np.int64)
    for place in range(1, LONGEST):
        longer = numbers >= (1 << (7 * place))
        if not longer.any():
            break
        count += longer
    return count


def encode(numbers: Numbers) -> Bytes:
    """LEB128: 7 bits a byte, the lowest first; a set top bit says that more follow.

    `numbers` are int64 `[n]`, none negative; the result is uint8 `[bytes]`.

    >>> encode(np.array([1, 127, 128])).tolist()
    [1, 127, 128, 1]
    """
    count = lengths(numbers)
    first = np.cumsum(count) - count  # where each number's first byte goes  # [n]
    payload = np.zeros(int(count.sum()), dtype=np.uint8)  # [bytes]
    for place in range(int(count.max(initial=0))):
        has = count > place
        part = ((numbers[has] >> (7 * place)) & 0x7F).astype(np.uint8)
        more = (count[has] > place + 1).astype(np.uint8) << 7
        payload[first[has] + place] = part | more
    return payload


def decode(payload: Bytes) -> Numbers:
    """The numbers `encode` was given; anything it would not have written is a `StorageError`.

    >>> decode(np.array([1, 127, 128, 1], dtype=np.uint8)).tolist()
    [1, 127, 128]
    """
    if payload.size == 0:
        return np.zeros(0, dtype=np.int64)
    last = np.flatnonzero(payload < 0x80)  # where each number's last byte stands  # [n]
    if last.size == 0 or last[-1] != payload.size - 1:
        raise StorageError("a coded number is cut off")
    first = np.concatenate(([0], last[:-1] + 1))  # [n]
    if int((last - first).max()) >= LONGEST:
        raise StorageError("a coded number has more than 63 bits")
    if np.any((payload[last] == 0) & (last > first)):
        raise StorageError("a coded number is longer than it needs to be")
    return _join(payload, first, last)


def _join(payload: Bytes, first: Numbers, last: Numbers) -> Numbers:
    """Add up the 7-bit parts of each number, place by place."""
    numbers = np.zeros(first.shape, dtype=np.int64)
    for place in range(int((last - first).max()) + 1):
        has = last - first >= place
        part = (payload[first[has] + place] & 0x7F).astype(np.int64)
        numbers[has] |= part << (7 * place)
    return numbers
