"""A state in several files is the state in one, and each file is covered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from secateur.artifact.covered import digest_of
from secateur.artifact.sharded import GradualShards, read_shards, shard_digests
from secateur.core.errors import StorageError

STATE = {"a": torch.arange(40.0).view(5, 8), "b": torch.tensor([3, 4]), "c": torch.ones(3).half()}
SPECS = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in STATE.items()}
FILES = {"one.safetensors": ["a", "c"], "two.safetensors": ["b"]}
SAME = {"tied": "b"}
ROOM = 5 * 8 * 4 + 2 * 8 + 3 * 2
"""Bytes of all tensors once; the tied one shares."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = GradualShards(tmp_path, FILES, SPECS | {"tied": SPECS["b"]}, SAME)
    assert made.names == ["a", "b", "c"]
    digests = made.put({name: STATE[name] for name in "bc"})
    made.seal(digests | made.put({"a": STATE["a"]}))
    return tmp_path


def read(folder: Path, limit: int = ROOM):
    shards = shard_digests(folder)
    return read_shards(folder, shards, limit, digest_of(shards))


def test_the_parts_are_the_whole_and_any_reader_takes_them(folder: Path) -> None:
    found = read(folder).state
    assert {*found} == {*STATE, "tied"}
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert found["tied"] is found["b"]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == ROOM
    for file, names in FILES.items():
        assert {*load_file(folder / file)} == {*names}
        assert {n for n, f in index["weight_map"].items() if f == file} == {*names}


def test_the_limit_is_for_all_files_together(folder: Path) -> None:
    with pytest.raises(StorageError, match="bytes"):
        read(folder, ROOM - 1)


def test_a_list_that_was_changed_and_a_name_that_leads_elsewhere(folder: Path) -> None:
    shards = shard_digests(folder)
    with pytest.raises(StorageError, match="list of its files does not match"):
        read_shards(folder, dict(list(shards.items())[:1]), ROOM, digest_of(shards))
    for name in ("../one.safetensors", "/etc/passwd", ".hidden"):
        other = {name: shards["one.safetensors"]}
        with pytest.raises(StorageError, match="no name of a file"):
            read_shards(folder, other, ROOM, digest_of(other))
    swapped = dict(zip(shards, reversed(shards.values()), strict=True))
    with pytest.raises(StorageError, match="another file"):
        read_shards(folder, swapped, ROOM, digest_of(swapped))


def test_a_tensor_in_two_files_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "three.safetensors").write_bytes((folder / "two.safetensors").read_bytes())
    shards = shard_digests(folder)
    twice = shards | {"three.safetensors": shards["two.safetensors"]}
    with pytest.raises(StorageError, match="'b' lies in two"):
        read_shards(folder, twice, 2 * ROOM, digest_of(twice))


def test_killed_between_two_headers_it_is_sealed_again(folder: Path, tmp_path: Path) -> None:
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    made = GradualShards(folder, FILES, SPECS | {"tied": SPECS["b"]}, SAME)
    digests = made.put(STATE)
    (folder / "two.safetensors").write_bytes(b"\0" * 8 + whole["two.safetensors"][8:])
    (folder / "model.safetensors.index.json").unlink()
    made.seal(digests)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
