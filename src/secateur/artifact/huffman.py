"""Canonical Huffman codes: symbols of a small alphabet in few bits, their table before them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..core.errors import StorageError
from .varint import Bytes, Numbers

LONGEST = 15  # bits of a code word: a length is half a byte
ALPHABET = 256
_BLOCK = 1 << 16  # symbols, or bits, that are looked at together

Symbols = npt.NDArray[np.uint8]


def code_lengths(counts: Numbers) -> Symbols:
    """Bits of each symbol's word that make Σ counts · bits least, none longer than `LONGEST`.

    `counts` `[symbols]`: how often each comes; one that never does has no word (0). A symbol that is
    alone has a word of 1 bit, which is never written. By package-merge (Larmore & Hirschberg 1990),
    which is Huffman's code wherever that needs no longer words.

    >>> code_lengths(np.array([5, 1, 0, 2])).tolist()
    [1, 2, 0, 2]
    """
    lengths = np.zeros(len(counts), dtype=np.uint8)
    coins: list[tuple[int, tuple[int, ...]]]
    coins = sorted((int(count), (symbol,)) for symbol, count in enumerate(counts) if count)
    if len(coins) == 1:
        lengths[coins[0][1]] = 1
        return lengths
    merged = coins
    for _ in range(LONGEST - 1):
        pairs = zip(merged[::2], merged[1::2], strict=False)
        merged = sorted(coins + [(a[0] + b[0], a[1] + b[1]) for a, b in pairs])
    for _, symbols in merged[: max(2 * len(coins) - 2, 0)]:
        np.add.at(lengths, list(symbols), 1)
    return lengths


def encode(symbols: Symbols) -> Bytes:
    """Symbols `[n]` as bytes: the table, then their words, first bit highest, zeros to the last byte.

    The table is one byte with the largest symbol and half a byte for the length of every symbol's word up
    to it. Of words of one length that of the smaller symbol is the smaller number (canonical).

    >>> encode(np.array([0, 1, 0, 0], dtype=np.uint8)).tolist()
    [1, 17, 64]
    """
    if symbols.size == 0:
        return np.zeros(0, dtype=np.uint8)
    lengths = code_lengths(np.bincount(symbols))
    return np.concatenate((_table(lengths), _words(symbols, lengths)))


def decode(stream: Bytes, count: int) -> Symbols:
    """The `count` symbols that `encode` was given; any other bytes are a `StorageError`.

    A table whose words do not exactly fill the space of words (Kraft: Σ 2^-length = 1) is refused,
    and so is a stream that ends early, or goes on behind its last symbol.
    """
    if count == 0:
        if stream.size:
            raise StorageError("coded symbols follow where none were announced")
        return np.zeros(0, dtype=np.uint8)
    lengths, words = _read_table(stream)
    used = np.flatnonzero(lengths)
    if used.size == 1 and lengths[used[0]] == 1:
        if words.size:
            raise StorageError("a code of one symbol has words")
        return np.full(count, used[0], dtype=np.uint8)
    kraft = int((1 << (LONGEST - lengths[used].astype(np.int64))).sum())
    if kraft != 1 << LONGEST:
        raise StorageError(
            f"a code table does not satisfy Kraft: its words fill {kraft / (1 << LONGEST):.4g} of 1"
        )
    if count > 8 * words.size:
        raise StorageError(f"{words.size} bytes cannot hold {count} coded symbols")
    return _read_words(words, lengths, count)


def _table(lengths: Symbols) -> Bytes:
    pairs = np.append(lengths, np.zeros(lengths.size % 2, dtype=np.uint8)).reshape(-1, 2)
    return np.concatenate(([lengths.size - 1], pairs[:, 0] << 4 | pairs[:, 1])).astype(np.uint8)


def _read_table(stream: Bytes) -> tuple[Symbols, Bytes]:
    """Length of every symbol's word, and the words."""
    size = int(stream[0]) + 1 if stream.size else 0
    end = 1 + -(-size // 2)
    if stream.size < end:
        raise StorageError("a code table is cut off")
    halves = np.stack((stream[1:end] >> 4, stream[1:end] & 15), 1).reshape(-1)
    if halves[size:].any() or not halves[size - 1]:
        raise StorageError("a code table does not end where it says")
    return halves[:size], stream[end:]


def _order(lengths: Symbols) -> npt.NDArray[np.intp]:
    """Symbols that have a word, in the order of the words."""
    order = np.argsort(lengths, kind="stable")
    return order[lengths[order] > 0]


def _words(symbols: Symbols, lengths: Symbols) -> Bytes:
    order, words = _order(lengths), np.zeros(lengths.size, dtype=np.int64)
    if order.size < 2:
        return np.zeros(0, dtype=np.uint8)
    room = 1 << (LONGEST - lengths[order].astype(np.int64))  # that a word takes of all numbers
    words[order] = (np.cumsum(room) - room) >> (LONGEST - lengths[order])
    parts, left = [], np.zeros(0, dtype=np.uint8)
    for start in range(0, symbols.size, _BLOCK):
        left = np.concatenate((left, _bits(symbols[start : start + _BLOCK], lengths, words)))
        whole = left.size // 8 * 8
        parts.append(np.packbits(left[:whole]))
        left = left[whole:]
    return np.concatenate((*parts, np.packbits(left)))


def _bits(symbols: Symbols, lengths: Symbols, words: Numbers) -> Bytes:
    """One byte a bit."""
    size, word = lengths[symbols].astype(np.int64), words[symbols]  # [n]
    end = np.cumsum(size)
    bits = np.zeros(int(end[-1]), dtype=np.uint8)
    for place in range(int(size.max())):  # from the last bit of each word on
        has = size > place
        bits[end[has] - 1 - place] = word[has] >> place & 1
    return bits


def _read_words(words: Bytes, lengths: Symbols, count: int) -> Symbols:
    """Follow the words from the first: at every bit a table says what begins there, and how long it is."""
    order = _order(lengths)
    room = 1 << (LONGEST - lengths[order].astype(np.int64))
    symbol_at = np.repeat(order, room).astype(np.uint8)  # [2^LONGEST]
    length_at = lengths[symbol_at]
    padded = np.concatenate((words, np.zeros(3, dtype=np.uint8)))
    at, found, parts = 0, 0, []
    while found < count:
        block = min(_BLOCK, 8 * words.size - at)
        if block <= 0:
            raise StorageError("coded symbols are cut off")
        window = _windows(padded, at, block)  # [block]
        steps, places, here = length_at[window].tolist(), [], 0
        while here < block and found < count:
            places.append(here)
            here += steps[here]
            found += 1
        parts.append(symbol_at[window[places]])
        at += here
    if -(-at // 8) != words.size or words[-1] & ((1 << (-at % 8)) - 1):
        raise StorageError("coded symbols do not end where their bytes do")
    return np.concatenate(parts)


def _windows(padded: Bytes, at: int, block: int) -> Numbers:
    """[block] the `LONGEST` bits from every bit on."""
    place = np.arange(at, at + block)
    byte = place >> 3
    three = padded[byte[0] : byte[-1] + 3].astype(np.int64)
    byte = byte - byte[0]
    joined = three[byte] << 16 | three[byte + 1] << 8 | three[byte + 2]
    return joined >> (24 - LONGEST - (place & 7)) & ((1 << LONGEST) - 1)
