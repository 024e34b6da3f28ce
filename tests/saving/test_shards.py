"""Artifacts in shards: every byte of every shard counts, and nothing beside them is read."""

from __future__ import annotations

import random
import shutil

import pytest
import torch

pytest.importorskip("transformers")
from saving.test_hostile import refused, rewrite

import secateur as sc
from secateur.artifact.container import header_digest
from secateur.artifact.covered import digest_of
from secateur.artifact.file import save_sparse
from secateur.artifact.manifest import read_manifest
from secateur.artifact.sharded import read_shards
from secateur.core.errors import StorageError
from tests.engine.blockwise import tiny

IDS = torch.arange(3, 15).view(2, 6)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A Llama whose layers have widths of their own, in several shards."""
    place = tmp_path_factory.mktemp("shards")
    source = tiny.folder(place / "source")
    options = {"importance": "magnitude", "density": 0.7, "compare": False}
    return sc.prune_folder(source, "smart-farm", place / "out", **options).folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "a")


def test_cut_missing_swapped_and_changed_shards(folder):
    names, rng = [*read_manifest(folder).shards], random.Random(0)
    assert len(names) > 1
    for name in names:
        whole = (folder / name).read_bytes()
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1
        other = (folder / names[names.index(name) - 1]).read_bytes()
        for damaged in (whole[: len(whole) // 2], whole[:-2], whole + b"\0", bytes(flipped), other):
            (folder / name).write_bytes(damaged)
            refused(folder)
        (folder / name).unlink()
        refused(folder)
        (folder / name).write_bytes(whole)
    sc.load(folder)


def test_the_plan_names_files_of_the_folder_and_all_of_them(folder):
    first = next(iter(read_manifest(folder).shards))

    def lead_away(content):
        content["shards"] = {f"../a/{first}": content["shards"][first]}

    whole = (folder / "pruning.json").read_bytes()
    for change in (
        lead_away,
        lambda content: content["shards"].pop(first),
        lambda content: content.update(shards={}),
        lambda content: content.update(shards=[first]),
    ):
        rewrite(folder, change)
        refused(folder)
        (folder / "pruning.json").write_bytes(whole)
    sc.load(folder)


def test_what_stands_beside_is_not_looked_at_and_it_is_saved_again_as_one(folder, tmp_path):
    wanted = sc.load(folder)(IDS).logits
    (folder / "model.safetensors").write_bytes(b"other weights that a loader might prefer")
    (folder / "model.safetensors.index.json").write_text("{}")
    assert torch.equal(sc.load(folder)(IDS).logits, wanted)
    again = sc.save(sc.load(folder), tmp_path / "again")
    assert not read_manifest(again).shards
    assert torch.equal(sc.load(again)(IDS).logits, wanted)


def shards_of(folder, *states):
    """Files with these states, and the digest of each."""
    names = [f"model-{i}.safetensors" for i in range(len(states))]
    for name, state in zip(names, states, strict=True):
        save_sparse(folder / name, state)
    return {name: header_digest(folder / name) for name in names}


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    shards = shards_of(tmp_path, {"a": torch.ones(4)}, {"a": torch.zeros(4)})
    with pytest.raises(StorageError, match="'a' lies in two of its files"):
        read_shards(tmp_path, shards, 1000, digest_of(shards))


def test_the_bound_on_memory_is_for_all_shards_together(tmp_path):
    shards = shards_of(tmp_path, {"a": torch.ones(100)}, {"b": torch.zeros(100)})
    assert set(read_shards(tmp_path, shards, 800, digest_of(shards)).state) == {"a", "b"}
    with pytest.raises(StorageError):
        read_shards(tmp_path, shards, 799, digest_of(shards))
