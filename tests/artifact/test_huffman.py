"""Canonical Huffman codes: as short as any, exact, and hostile streams refused."""

from __future__ import annotations

import heapq
import itertools
import math

import numpy as np
import pytest

from secateur.artifact import huffman
from secateur.core.errors import StorageError


def classic(counts: list[int]) -> int:
    """Bits that Huffman's own algorithm needs: the weights of all inner nodes of its tree."""
    heap = [c for c in counts if c]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


def drawn(symbols: int, n: int, skew: float, seed: int) -> huffman.Symbols:
    rng = np.random.default_rng(seed)
    shares = (1 + np.arange(symbols)) ** -skew
    return rng.choice(symbols, n, p=shares / shares.sum()).astype(np.uint8)


@pytest.mark.parametrize(("symbols", "skew"), [(2, 0.0), (5, 2.0), (31, 1.0), (256, 0.5), (256, 0)])
def test_words_are_as_short_as_huffmans_and_within_a_bit_of_the_entropy(
    symbols: int, skew: float
) -> None:
    data = drawn(symbols, 3001, skew, 0)
    counts = np.bincount(data)
    lengths = huffman.code_lengths(counts)
    bits = int((counts * lengths).sum())
    assert bits == classic(counts.tolist())
    entropy = sum(c * math.log2(3001 / c) for c in counts.tolist() if c)
    assert entropy <= bits < entropy + 3001
    stream = huffman.encode(data)
    assert stream.size == 1 + -(-counts.size // 2) + -(-bits // 8)
    assert np.array_equal(huffman.decode(stream, 3001), data)


def test_no_word_is_longer_than_half_a_byte_can_say() -> None:
    """Fibonacci's numbers ask for words of up to 21 bits; what 15 allow is found by brute force for few."""
    fibonacci = [1, 1]
    while len(fibonacci) < 22:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = huffman.code_lengths(np.array(fibonacci))
    assert lengths.max() == 15
    assert sum(2.0 ** -int(n) for n in lengths) == 1
    data = np.repeat(np.arange(22), fibonacci).astype(np.uint8)
    assert np.array_equal(huffman.decode(huffman.encode(data), data.size), data)


def test_a_limit_costs_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huffman, "LONGEST", 3)
    counts = [1, 1, 2, 3, 5, 8]
    fits = (
        sum(c * n for c, n in zip(counts, lengths, strict=True))
        for lengths in itertools.product((1, 2, 3), repeat=6)
        if sum(2.0**-n for n in lengths) <= 1
    )
    assert int((huffman.code_lengths(np.array(counts)) * counts).sum()) == min(fits)


@pytest.mark.parametrize("n", [0, 1, 2, 65_535, 65_536, 65_537, 200_000])
def test_streams_around_the_size_of_a_block(n: int) -> None:
    data = drawn(20, n, 1.2, n)
    assert np.array_equal(huffman.decode(huffman.encode(data), n), data)


def test_one_symbol_takes_no_bits() -> None:
    data = np.full(1000, 7, dtype=np.uint8)
    stream = huffman.encode(data)
    assert stream.size == 1 + 4
    assert np.array_equal(huffman.decode(stream, 1000), data)


def test_words_of_one_length_go_up_with_their_symbols() -> None:
    """The canonical code of lengths 2, 1, 3, 3 by hand: 10, 0, 110, 111."""
    data = np.array([0, 1, 2, 3, 1, 1, 1, 0, 1], dtype=np.uint8)
    stream = huffman.encode(data)
    assert stream[:3].tolist() == [3, 0x21, 0x33]
    bits = "".join(f"{byte:08b}" for byte in stream[3:].tolist())
    assert bits.startswith("100110111000100")
    assert set(bits[15:]) <= {"0"}


SOUND = huffman.encode(np.array([0, 1, 2, 2, 2, 1], dtype=np.uint8))


def refused(stream: list[int], count: int, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught:
        huffman.decode(np.array(stream, dtype=np.uint8), count)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("stream", "count", "words"),
    [
        ([], 3, "table is cut off"),
        ([255, 0x11], 3, "table is cut off"),
        ([1, 0x10, 0], 3, "does not end where it says"),
        ([0, 0x11, 0], 3, "does not end where it says"),
        ([1, 0x12, 0], 3, "Kraft: its words fill 0.75 of 1"),
        ([2, 0x11, 0x10, 0], 3, "Kraft: its words fill 1.5 of 1"),
        ([0, 0x20, 0], 3, "Kraft: its words fill 0.25 of 1"),
        ([0, 0x10, 0], 3, "one symbol has words"),
        ([1, 0x11], 3, "0 bytes cannot hold 3"),
        ([1, 0x11, 0], 9, "1 bytes cannot hold 9"),
        ([1, 0x11, 0, 0], 3, "do not end where their bytes do"),
        ([1, 0x11, 0b00010000], 3, "do not end where their bytes do"),
        ([3, 0x22, 0x22, 0], 5, "cut off"),
        ([1, 0x11, 0], 0, "where none were announced"),
        (SOUND.tolist()[:-1], 6, "do not end where"),
        (SOUND.tolist(), 5, "do not end where"),
        (SOUND.tolist(), 15, "cut off"),
    ],
)
def test_hostile_streams_are_refused(stream: list[int], count: int, words: str) -> None:
    refused(stream, count, words)


def test_random_bytes_decode_to_what_encodes_to_them_or_are_refused() -> None:
    """Whatever is not refused has one form only: its words are the bytes that were read."""
    rng = np.random.default_rng(1)
    fine = 0
    for _ in range(3000):
        stream = rng.integers(0, 256, int(rng.integers(1, 6))).astype(np.uint8)
        stream[0] %= 4
        stream[1:3] &= 0x33
        count = int(rng.integers(0, 9))
        try:
            symbols = huffman.decode(stream, count)
        except StorageError:
            continue
        fine += 1
        assert symbols.size == count
        assert symbols.max(initial=0) <= stream[0]
    assert fine > 10
