"""Masks and pruned tensors come back bit for bit; bytes that fit no mask are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.artifact import varint
from secateur.artifact.codec import (
    CODINGS,
    CodedMask,
    decode_mask,
    encode_mask,
    kept_values,
    spread,
)
from secateur.core.errors import StorageError

numbers = st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 300), max_size=50)


def runs_to_mask(runs: list[int]) -> torch.Tensor:
    return torch.tensor(
        [place % 2 == 1 for place, run in enumerate(runs) for _ in range(run)] or []
    )


masks = st.lists(st.integers(0, 70), max_size=12).map(runs_to_mask).map(lambda mask: mask.bool())


def coded(coding: str, size: int, kept: int, payload: list[int]) -> CodedMask:
    return CodedMask(coding, (size,), kept, np.array(payload, dtype=np.uint8))


@given(numbers)
def test_varint_round_trip(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    payload = varint.encode(array)
    assert payload.size == int(varint.lengths(array).sum())
    assert payload.size == sum(max(1, -(-value.bit_length() // 7)) for value in values)
    assert varint.decode(payload).tolist() == values


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ([0x80], "cut off"),
        ([5, 0xFF], "cut off"),
        ([0x80, 0x00], "longer than it needs"),
        ([0xFF] * 9 + [0x01], "63 bits"),
    ],
)
def test_varint_refuses_what_it_never_writes(payload: list[int], words: str) -> None:
    with pytest.raises(StorageError, match=words):
        varint.decode(np.array(payload, dtype=np.uint8))


@given(masks, st.sampled_from([(-1,), (-1, 1), (1, 1, -1)]))
def test_any_mask_round_trips(mask: torch.Tensor, shape: tuple[int, ...]) -> None:
    if mask.numel():
        mask = mask.reshape(shape)
    again = decode_mask(encode_mask(mask))
    assert again.dtype is torch.bool
    assert again.shape == mask.shape
    assert torch.equal(again, mask)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (8,), (9,), (3, 5, 7)])
@pytest.mark.parametrize("value", [True, False])
def test_empty_full_and_odd_shapes_round_trip(shape: tuple[int, ...], value: bool) -> None:
    mask = torch.full(shape, value)
    code = encode_mask(mask)
    assert code.shape == shape
    assert torch.equal(decode_mask(code), mask)


def test_bytes_by_hand() -> None:
    sparse = torch.zeros(300, dtype=torch.bool)
    sparse[[2, 203]] = True  # gaps 2 and 200 = 0b1_1001000 -> 0xC8 0x01
    assert encode_mask(sparse).coding == "gaps"
    assert encode_mask(sparse).payload.tolist() == [2, 0xC8, 0x01]
    rows = torch.zeros(4, 64, dtype=torch.bool)
    rows[0] = rows[2] = True  # an empty pruned run, then 64 of each kind
    assert encode_mask(rows).coding == "runs"
    assert encode_mask(rows).payload.tolist() == [0, 64, 64, 64, 64]
    dense = torch.tensor([True, False, True, True, False, False, False, True, True])
    assert encode_mask(dense).coding == "bits"
    assert encode_mask(dense).payload.tolist() == [0b10001101, 1]


def test_the_smallest_coding_is_chosen_and_never_larger_than_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    chosen = {}
    for density in (0.001, 0.05, 0.1, 0.3, 0.5, 0.9, 0.999):
        mask = torch.rand(20_000, generator=generator) < density
        code = encode_mask(mask)
        chosen[density] = code.coding
        assert code.payload.size <= 2500
        assert torch.equal(decode_mask(code), mask)
    assert chosen == {
        0.001: "gaps", 0.05: "gaps", 0.1: "gaps", 0.3: "bits", 0.5: "bits", 0.9: "bits",
        0.999: "runs",
    }  # fmt: skip


def test_a_huge_gap_takes_four_bytes() -> None:
    mask = torch.zeros(3_000_000, dtype=torch.bool)
    mask[-1] = True
    code = encode_mask(mask)
    assert code.payload.size == 4
    assert torch.equal(decode_mask(code), mask)


def test_a_permuted_mask_is_coded_in_its_logical_order() -> None:
    mask = (torch.arange(24).reshape(2, 3, 4) % 5 == 0).permute(2, 0, 1)
    assert torch.equal(decode_mask(encode_mask(mask)), mask)


@given(
    st.sampled_from(CODINGS),
    st.integers(0, 40),
    st.integers(0, 40),
    st.lists(st.integers(0, 255), max_size=8),
)
def test_any_bytes_are_a_mask_or_a_storage_error(
    coding: str, size: int, kept: int, payload: list[int]
) -> None:
    try:
        mask = decode_mask(coded(coding, size, kept, payload))
    except StorageError:
        return
    assert mask.shape == (size,)
    assert int(mask.sum()) == kept


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (coded("bits", 9, 1, [1]), "1 bytes cannot be"),
        (coded("bits", 3, 1, [9]), "beyond its last element"),
        (coded("bits", 8, 2, [1]), "keeps 1 elements where 2"),
        (coded("gaps", 3, 1, [3]), "index beyond its end"),
        (coded("gaps", 2, 3, [0, 0, 0]), "index beyond its end"),
        (coded("gaps", 5, 2, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F] * 2), "index"),
        (coded("runs", 5, 2, [3, 1]), "do not add up"),
        (coded("runs", 5, 3, [1, 1, 0, 2, 1]), "is empty"),
        (coded("rle", 5, 2, [3, 2]), "unknown mask coding 'rle'"),
    ],
)
def test_impossible_masks_are_named(code: CodedMask, words: str) -> None:
    with pytest.raises(StorageError, match=words):
        decode_mask(code)


def test_only_boolean_masks_are_coded() -> None:
    with pytest.raises(StorageError, match="boolean"):
        encode_mask(torch.ones(3))


@settings(deadline=None)
@given(masks, st.integers(0, 2**32 - 1))
def test_kept_values_survive_bit_for_bit(mask: torch.Tensor, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(2**31), 2**31, mask.shape, generator=generator, dtype=torch.int32)
    bits[~mask] = 0
    weight = bits.view(torch.float32)  # NaN with payloads, infinities, denormals
    again = spread(kept_values(weight, mask), mask)
    assert torch.equal(again.view(torch.int32), bits)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.complex64, torch.int8, torch.int64, torch.uint8, torch.bool, torch.uint16, torch.uint64,
    ],
)  # fmt: skip
def test_every_dtype_round_trips(dtype: torch.dtype) -> None:
    mask = torch.tensor([[True, False, True], [False, False, True]])
    weight = torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 2.0]]).to(dtype)
    values = kept_values(weight, mask)
    assert values.dtype is dtype
    assert values.shape == (3,)
    again = spread(values, mask)
    assert again.dtype is dtype
    assert again.tolist() == weight.tolist() if dtype.itemsize > 1 else True
    assert torch.equal(again.view(torch.uint8), weight.view(torch.uint8))


def test_a_scalar_round_trips() -> None:
    mask, weight = torch.tensor(True), torch.tensor(2.5)
    again = spread(kept_values(weight, mask), mask)
    assert again.shape == ()
    assert again.item() == 2.5


@pytest.mark.parametrize("lost", [1e-40, float("nan"), 3.0])
def test_a_pruned_value_that_is_not_zero_is_refused(lost: float) -> None:
    weight = torch.tensor([1.0, lost, 2.0, 0.0])
    with pytest.raises(StorageError, match="1 of 2 pruned elements are not zero"):
        kept_values(weight, torch.tensor([True, False, False, False]) | (weight == 2.0))


def test_a_tiny_double_that_is_not_zero_is_refused() -> None:
    with pytest.raises(StorageError, match="1 of 2"):
        kept_values(torch.tensor([1e-300, 0.0], dtype=torch.float64), torch.zeros(2).bool())
