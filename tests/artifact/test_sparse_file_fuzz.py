"""Damaged and hostile files end in a StorageError, never in a wrong model."""

from __future__ import annotations

import io
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from secateur.artifact import load_sparse, save_sparse
from secateur.artifact.container import Container, _sealed, digest, write_container
from secateur.core.errors import StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def sound(path: Path) -> bytes:
    """A small sound file with every coding in it."""
    sparse, rows = torch.zeros(64, dtype=torch.bool), torch.zeros(8, 8, dtype=torch.bool)
    sparse[[5, 40]], rows[2:4] = True, True
    mixed = torch.arange(30) % 3 == 0
    masks = {"gaps": sparse, "runs": rows, "bits": mixed}
    state = {name: torch.ones(mask.shape) * mask for name, mask in masks.items()}
    state |= {"dense": torch.arange(3), "tied": state["bits"]}
    few = torch.arange(1200) % 7 % 3 == 1
    masks["few"], state["few"] = few, few * (1.0 + torch.arange(1200) % 2)
    state["all"] = 1.0 + torch.arange(160) % 2
    save_sparse(path, state, masks)
    with Container(path) as container:
        codings = {row["coding"] for row in json.loads(container.text)["tensors"].values()}
    assert codings == {"gaps", "runs", "bits", "dense", "same", "huffman", "shared"}
    return path.read_bytes()


def refused(path: Path, content: bytes, words: str | None = None) -> None:
    path.write_bytes(content)
    with pytest.raises(StorageError, match=words) as caught:
        load_sparse(path)
    assert "\n" not in str(caught.value)


def test_every_changed_byte_is_noticed(path: Path, sound: bytes) -> None:
    generator = random.Random(0)
    for place in range(len(sound)):
        other = generator.choice([value for value in range(256) if value != sound[place]])
        refused(path, sound[:place] + bytes([other]) + sound[place + 1 :])


def test_every_cut_is_noticed(path: Path, sound: bytes) -> None:
    for length in range(0, len(sound), 3):
        refused(path, sound[:length])


def test_swapped_repeated_and_appended_pieces_are_noticed(path: Path, sound: bytes) -> None:
    generator = random.Random(1)
    refused(path, sound + b"\0")
    refused(path, sound + sound)
    for _ in range(150):
        start, end = sorted(generator.sample(range(len(sound)), 2))
        changed = sound[:start] + generator.randbytes(end - start) + sound[end:]
        refused(path, changed)
        shifted = sound[start:] + sound[:start]
        if start:
            refused(path, shifted)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 100_000_001, 10_000, 0, 1])
def test_absurd_header_lengths_are_refused(path: Path, sound: bytes, length: int) -> None:
    refused(path, length.to_bytes(8, "little") + sound[8:])


def test_a_header_beyond_the_limit_is_refused_unread(path: Path) -> None:
    with path.open("wb") as file:
        file.write((100_000_001).to_bytes(8, "little"))
        file.truncate(200_000_000)
    with pytest.raises(StorageError, match="its header would be 100000001 bytes long"):
        load_sparse(path)


def test_other_files_are_refused(path: Path) -> None:
    torch.save({"a": torch.ones(1)}, buffer := io.BytesIO())
    for foreign in (b"", b"short", buffer.getvalue(), pickle.dumps([1]), b"\x7fELF" + bytes(100)):
        refused(path, foreign)
    refused(path, save({"a": torch.ones(1)}), "was not written by Secateur")
    refused(
        path, save({"a": torch.ones(1)}, metadata={"secateur": "{}"}), "not written by Secateur"
    )


def test_a_header_of_a_million_entries_is_refused(path: Path) -> None:
    rows = ",".join(
        f'"{n:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}' for n in range(1_000_000)
    )
    body = f"{{{rows}}}".encode()
    refused(path, len(body).to_bytes(8, "little") + body)


def test_a_deeply_nested_header_is_refused(path: Path) -> None:
    body = b'{"a":' * 50_000
    refused(path, len(body).to_bytes(8, "little") + body)


def test_a_missing_file_and_a_folder_are_refused(path: Path, tmp_path: Path) -> None:
    for place in (path, tmp_path):
        with pytest.raises(StorageError, match="cannot read"):
            load_sparse(place)


# From here on the digests are right: somebody meant it.

Change = Callable[[dict[str, Any]], Any]


def forge(path: Path, change: Change, text: str | None = None) -> None:
    """A file with one gap-coded tensor `w` `[100]`, kept at 5, 40 and 41, whose row was changed."""
    values, mask = torch.ones(3), torch.tensor([5, 34, 0], dtype=torch.uint8)
    content = {
        "kind": "sparse state",
        "schema": 1,
        "tensors": {
            "w": {
                "coding": "gaps", "dtype": "F32", "shape": [100], "kept": 3,
                "digest": digest(values, mask),
            }
        },
    }  # fmt: skip
    content = change(content) or content
    with path.open("wb") as file:
        stored = {"w::values": values, "w::mask": mask}
        write_container(file, stored, json.dumps(content) if text is None else text)


def in_row(**changes: Any) -> Change:
    return lambda content: content["tensors"]["w"].update(changes)


def test_the_forged_file_is_sound_before_it_is_changed(path: Path) -> None:
    forge(path, lambda content: None)
    assert load_sparse(path)["w"].nonzero().flatten().tolist() == [5, 40, 41]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (in_row(shape=[41]), "index beyond its end"),
        (in_row(shape=[2]), "keeps 3 of 2 elements"),
        (in_row(shape=[-1]), "shape that is none"),
        (in_row(shape=[1.0]), "shape that is none"),
        (in_row(shape=[True]), "shape that is none"),
        (in_row(shape="100"), "shape that is none"),
        (in_row(shape=[1] * 65), "shape that is none"),
        (in_row(shape=[2**40, 2**40]), "shape that is none"),
        (in_row(shape=[0, 2**50, 2**50], kept=0), "shape that is none"),
        (in_row(shape=[2**50]), "more than the"),
        (in_row(shape=[2**30, 2**20]), "more than the"),
        (in_row(kept=2), "stored as F32"),
        (in_row(kept=4), "stored as F32"),
        (in_row(kept="3"), "keeps '3' of"),
        (in_row(kept=-3), "keeps -3 of"),
        (in_row(dtype="I32"), "stored as F32"),
        (in_row(dtype="F128"), "unknown dtype"),
        (in_row(dtype=["F32"]), "unknown dtype"),
        (in_row(coding="bits"), "3 bytes cannot be a bit mask"),
        (in_row(coding="runs"), "do not add up"),
        (in_row(coding="dense"), "not what is described"),
        (in_row(coding="pickle"), "unknown coding"),
        (in_row(coding=None), "unknown coding"),
        (in_row(coding="same"), "unknown coding"),
        (in_row(coding="same", same_as="w"), "which is not stored"),
        (in_row(coding="same", same_as="v"), "which is not stored"),
        (in_row(digest="0" * 64), "do not match their digest"),
        (in_row(digest="zz"), "no digest"),
        (in_row(digest=None), "no digest"),
        (in_row(__class__="os.system"), "unknown fields"),
        (lambda content: content["tensors"].update(w=[1]), "unknown fields"),
        (lambda content: content["tensors"].update(v=content["tensors"]["w"]), "not what is desc"),
        (lambda content: content.update(tensors={}), "not what is described"),
        (lambda content: content.update(tensors=[]), "no table of tensors"),
        (lambda content: content.update(schema=3), "newer than the 2 this version reads; update"),
        (lambda content: content.update(schema=0), "not a version"),
        (lambda content: content.update(schema=True), "not a version"),
        (lambda content: content.update(schema="1"), "not a version"),
        (lambda content: content.update(kind="plan"), "does not describe itself"),
        (lambda content: [content], "does not describe itself"),
    ],
)
def test_hostile_descriptions_are_refused(path: Path, change: Change, words: str) -> None:
    forge(path, change)
    with pytest.raises(StorageError, match=words) as caught:
        load_sparse(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "NaN",
        '{"kind": 1e999}',
        "\udcff".encode("utf-8", "surrogatepass").hex(),
    ],
)
def test_a_description_that_is_no_json_is_refused(path: Path, text: str) -> None:
    forge(path, lambda content: None, text)
    with pytest.raises(StorageError):
        load_sparse(path)


def test_stored_dtypes_and_ranks_are_checked(path: Path) -> None:
    values, mask = torch.ones(3), torch.tensor([[5, 34, 0]], dtype=torch.uint8)
    row = {
        "coding": "gaps", "dtype": "F32", "shape": [100], "kept": 3, "digest": digest(values, mask)
    }  # fmt: skip
    text = json.dumps({"kind": "sparse state", "schema": 1, "tensors": {"w": row}})
    with path.open("wb") as file:
        write_container(file, {"w::values": values, "w::mask": mask}, text)
    with pytest.raises(StorageError, match=r"stored as U8 \(1, 3\)"):
        load_sparse(path)


@pytest.mark.parametrize(
    "change",
    [
        {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [3], "data_offsets": [12, 0]}},
        {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 2**62]}},
        {"w": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 12]}},
        {"w": {"dtype": "F32", "shape": [-3], "data_offsets": [0, 12]}},
        {"w": {"dtype": "F4", "shape": [24], "data_offsets": [0, 12]}},
        {"w": {"dtype": "U8", "shape": [12], "data_offsets": [0, 12]}},
        {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}, "v": None},
        {"v": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}},
        {f"{n:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(50_000)},
    ],
)
def test_hostile_containers_with_a_right_digest_are_refused(path: Path, change: dict) -> None:
    row = {"coding": "dense", "dtype": "F32", "shape": [3], "digest": digest(torch.zeros(3))}
    text = json.dumps({"kind": "sparse state", "schema": 1, "tensors": {"w": row}})
    header = {"__metadata__": {"secateur.digest": "0" * 64, "secateur": text}}
    good = {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}
    path.write_bytes(_sealed(header | good) + bytes(12))
    assert load_sparse(path)["w"].tolist() == [0, 0, 0]
    refused(path, _sealed(header | change) + bytes(12))
    refused(path, _sealed({"__metadata__": {"secateur.digest": "0" * 64}} | good) + bytes(12))
