"""Weights that share few values: exact, near the bound that entropy sets, and safe to read."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from secateur.artifact import load_sparse, read_sparse, save_sparse
from secateur.artifact.container import Container, digest, write_container
from secateur.artifact.huffman import encode
from secateur.artifact.shared import Shared, share, unshare
from secateur.core.errors import StorageError


def sparse(n: int, density: float, values: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A tensor `[n]` whose kept values are few, as normal weights that were rounded, and its mask."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.rand(n, generator=rng) < density
    step = 6 / values
    weight = (torch.randn(n, generator=rng).clamp(-2.9, 2.9) / step).round() * step
    return torch.where(mask, weight + step / 4, 0), mask


def bits_of(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8])
def test_exact_round_trip(density: float, dtype: torch.dtype) -> None:
    weight, mask = sparse(30_000, density, 16)
    weight = (weight * 8).to(dtype).reshape(100, 300)
    mask = mask.reshape(100, 300)
    coded = share(weight, mask)
    assert coded is not None
    back, where = unshare(coded, (100, 300))
    assert where is not None
    assert torch.equal(where, mask)
    assert bits_of(back) == bits_of(torch.where(mask, weight, 0))


def test_values_are_told_apart_by_their_bits() -> None:
    kept = torch.tensor([0.0, -0.0, math.nan, math.inf] * 3)
    coded = share(kept, torch.ones(12, dtype=torch.bool))
    assert coded is not None
    assert len(coded.codebook) == 4
    assert bits_of(unshare(coded, (12,))[0]) == bits_of(kept)


def test_many_values_get_no_codebook() -> None:
    weight = torch.randn(10_000)
    assert share(weight) is None
    assert share(weight, torch.ones(10_000, dtype=torch.bool)) is None
    assert share(torch.zeros(9), torch.zeros(9, dtype=torch.bool)) is None
    assert share(torch.tensor([1.0, 2.0, 3.0])) is None
    most = (torch.arange(1024) % 255).float()
    coded = share(most)
    assert coded is not None
    assert torch.equal(unshare(coded, (1024,))[0], most)
    many = (torch.arange(8192) % 255).float()
    many[1:5:2] = 999.0  # the 256th value, where a first look at every other element misses it
    assert share(many) is None  # index 0 is no value


def test_paddings_stand_where_spans_are_too_short_for_the_gap() -> None:
    """By hand: kept at 2, 3 and 13, spans of 3 bits say 1 to 8: 3, 1, 8 (padding), 2."""
    dense = torch.zeros(16)
    dense[[2, 3, 13]] = torch.tensor([1.5, 2.5, 1.5])
    book, indices = torch.tensor([1.5, 2.5]), np.array([1, 2, 0, 1], dtype=np.uint8)
    spans = np.array([2, 0, 7, 1], dtype=np.uint8)
    coded = Shared(book, 4, encode(indices), 3, encode(spans))
    back, mask = unshare(coded, (16,))
    assert torch.equal(back, dense)
    assert mask is not None
    assert torch.equal(mask, dense != 0)


def entropy(symbols: list[int]) -> float:
    """Bits of a sequence whose symbols come independently, by the definition."""
    n = len(symbols)
    return sum(c * math.log2(n / c) for c in Counter(symbols).values())


@pytest.mark.parametrize(("density", "values"), [(0.05, 32), (0.1, 200), (0.3, 8)])
def test_the_size_is_near_the_bound_that_entropy_sets(density: float, values: int) -> None:
    """Of a random mask and independent values no code is smaller, on average, than H(mask) + H(values)."""
    weight, mask = sparse(40_000, density, values)
    coded = share(weight, mask)
    assert coded is not None
    bound = entropy(mask.tolist()) + entropy(weight[mask].mul(1000).round().long().tolist())
    tables = 8 * (coded.codebook.nbytes + 2 + 128 + 128)
    assert bound / 8 < coded.size < 1.06 * bound / 8 + tables / 8


def test_a_file_is_smaller_than_plain_gap_coded_and_gzipped_ones(tmp_path: Path) -> None:
    weight, mask = sparse(50_000, 0.1, 32)
    shared = tmp_path / "shared.safetensors"
    save_sparse(shared, {"w": weight}, {"w": mask})
    assert torch.equal(load_sparse(shared)["w"], weight)
    assert torch.equal(read_sparse(shared).masks["w"], mask)
    other = torch.where(mask, torch.randn(50_000), 0)
    plain, gaps = tmp_path / "plain.safetensors", tmp_path / "gaps.safetensors"
    save_sparse(plain, {"w": weight})
    save_sparse(gaps, {"w": other}, {"w": mask})
    zipped = len(gzip.compress(plain.read_bytes(), 9))
    size = shared.stat().st_size
    assert size < 0.5 * gaps.stat().st_size
    assert size < 0.75 * zipped
    assert size < 0.05 * plain.stat().st_size


def test_a_dense_tensor_of_few_values_is_shared_only_beside_masks(tmp_path: Path) -> None:
    """Without masks a file is for any reader of safetensors."""
    state = {"w": (torch.arange(4000) % 5).float()}
    path = tmp_path / "a.safetensors"
    for masks, coding, schema in ((None, "dense", 1), ({}, "shared", 2)):
        save_sparse(path, state, masks)
        with Container(path) as container:
            content = json.loads(container.text)
        assert (content["tensors"]["w"]["coding"], content["schema"]) == (coding, schema)
        assert torch.equal(load_sparse(path)["w"], state["w"])
    save_sparse(path, {"w": state["w"][:140]}, {})  # names of three parts take more than it saves
    with Container(path) as container:
        assert json.loads(container.text)["schema"] == 1


GOOD = share(*sparse(2000, 0.05, 8))
assert GOOD is not None
FULL = (1 << GOOD.width) - 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codebook": torch.ones(3)}, "names no value of a codebook of 3"),
        ({"codebook": GOOD.codebook[:-1]}, "names no value of a codebook of"),
        ({"entries": 10}, "do not end where"),
        ({"entries": 10_000}, "cannot hold"),
        ({"spans": encode(np.full(GOOD.entries, 200, dtype=np.uint8))}, "longer than . bits"),
        ({"spans": encode(np.full(GOOD.entries, FULL + 1, dtype=np.uint8))}, "longer than . bits"),
        ({"width": 99}, "longer than 99 bits"),
        ({"spans": encode(np.full(GOOD.entries, FULL, dtype=np.uint8))}, "lies beyond"),
        ({"indices": encode(np.zeros(GOOD.entries, dtype=np.uint8))}, "padding stands where none"),
        ({"spans": None}, "do not name the 2000 values"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StorageError, match=words):
        unshare(replace(GOOD, **changes), (2000,))


@pytest.mark.parametrize(
    ("indices", "spans", "size", "words"),
    [
        ([1, 2, 0], None, 3, "do not name the 3 values"),
        ([1, 0], [0, 7], 9, "padding stands where none"),
        ([1, 1], [0, 2], 3, "lies beyond the 3 elements"),
    ],
)
def test_parts_that_fit_but_for_one_entry_are_refused(
    indices: list[int], spans: list[int] | None, size: int, words: str
) -> None:
    """A dense tensor with a padding, a padding that comes last, a value one behind the end."""
    streams = [None if s is None else encode(np.array(s, dtype=np.uint8)) for s in (indices, spans)]
    assert streams[0] is not None
    coded = Shared(torch.tensor([1.5, 2.5]), len(indices), streams[0], 3 * bool(spans), streams[1])
    with pytest.raises(StorageError, match=words):
        unshare(coded, (size,))


Change = Callable[[dict[str, Any]], Any]


def forge(path: Path, **changes: Any) -> None:
    """A file with one tensor `w`, right digests, and a row that was changed."""
    parts = (GOOD.codebook, torch.from_numpy(GOOD.indices), torch.from_numpy(GOOD.spans))
    row = {
        "coding": "huffman", "dtype": "F32", "shape": [2000], "kept": int(sparse(2000, 0.05, 8)[1].sum()),
        "values": len(GOOD.codebook), "entries": GOOD.entries, "width": GOOD.width,
        "digest": digest(*parts),
    }  # fmt: skip
    text = json.dumps({"kind": "sparse state", "schema": 2, "tensors": {"w": row | changes}})
    names = ("w::codebook", "w::indices", "w::spans")
    with path.open("wb") as file:
        write_container(file, dict(zip(names, parts, strict=True)), text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kept": 3}, "keeps .* elements, not 3"),
        ({"entries": 2001}, "which cannot be"),
        ({"entries": -1}, "which cannot be"),
        ({"values": 1 << 40}, "stored as F32"),
        ({"width": "5"}, "which cannot be"),
        ({"width": 8}, "padding stands where none"),
        ({"shape": [1 << 40]}, "more than the"),
        ({"shape": [1 << 32], "entries": 1 << 32}, "more than the"),
        ({"coding": "shared"}, "not what is described"),
        ({"shape": [1500]}, "lies beyond"),
    ],
)
def test_hostile_rows_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = tmp_path / "a.safetensors"
    forge(path)
    assert torch.equal(load_sparse(path)["w"], sparse(2000, 0.05, 8)[0])
    with pytest.raises(StorageError, match="more than the"):  # there is more to it than the tensor
        load_sparse(path, limit=5 * 2000 + 10)
    forge(path, **changes)
    with pytest.raises(StorageError, match=words) as caught:
        load_sparse(path, limit=1 << 30)
    assert "\n" not in str(caught.value)
