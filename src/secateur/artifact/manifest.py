"""`pruning.json`: what an artifact holds, how it is built, and where it comes from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from ..core.component import Plain
from ..core.edits import Edits, Kept
from ..core.errors import SecateurError, StorageError
from ..core.origin import Architecture
from .plain import MOST_BYTES, read_json

NAME, WEIGHTS, MASKS, CARD = "pruning.json", "model.safetensors", "masks.safetensors", "README.md"
CONSTANTS = "constants.safetensors"
KIND, SCHEMA = "secateur artifact", 1

Digest = str


class Provenance(Plain):
    """Where an artifact comes from; nothing of it decides what is loaded.

    Attributes:
        source: digest of the weights before anything was pruned.
        record: recipe, seed, points and whatever else the record of the run holds.
        versions: package -> version it was saved with.
    """

    source: str = ""
    record: Mapping[str, JsonValue] = {}
    versions: Mapping[str, str] = {}


class Manifest(Plain):
    """The content of `pruning.json`.

    Attributes:
        architecture: what builds the stock network; None: `load` must be given one.
        made: class of the network that was saved, for messages.
        stock: the architecture alone builds the network; `edits` only tell what was done.
        edits: removals to carry out on the stock network, in order.
        added: parameters that the stock network has at None, and their shapes.
        weights: digest of `model.safetensors`, which covers every byte of it; or of `shards`, `covered`.
        shards: the files that take the place of `model.safetensors`, and the digest of each.
        covered: weight files that were not written by `save_sparse`, and the SHA-256 of each.
        zeros: parameters whose zeros are masks, where the weights are stored whole.
        masks: digest of `masks.safetensors`, where the weights are stored whole.
        constants: digest of `constants.safetensors`, where modules hold tensors that no state dict has.
        example: the input that the network was traced on, shapes and dtypes without values.
        files: every file of the folder.
    """

    architecture: Architecture | None = None
    made: str = ""
    stock: bool = False
    edits: tuple[Edits, ...] = ()
    added: Mapping[str, tuple[int, ...]] = {}
    weights: Digest = Field(pattern="^[0-9a-f]{64}$")
    shards: Mapping[str, Digest] = {}
    covered: Mapping[str, Digest] = {}
    zeros: tuple[str, ...] = ()
    masks: Digest | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    constants: Digest | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    example: JsonValue = None
    files: tuple[str, ...] = ()
    provenance: Provenance = Provenance()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `pruning.json` with a digest of its own content."""
    body = manifest.model_dump(mode="json")
    edits, numbers = _shared(body.pop("edits"))
    content = {"kind": KIND, "schema": SCHEMA, **body, "edits": edits}
    stated = {"digest": _digest({**content, "kept": numbers}), **content}
    readable = json.dumps(stated, indent=1, allow_nan=False).removesuffix("\n}")
    text = f'{readable},\n "kept": {json.dumps(numbers, separators=(",", ":"))}\n}}\n'
    if len(text) > MOST_BYTES:
        raise StorageError(f"{NAME} would take more than {MOST_BYTES:,} bytes; prune fewer units")
    (folder / NAME).write_text(text, encoding="ascii")


def read_manifest(folder: str | os.PathLike[str]) -> Manifest:
    """The content of an artifact's `pruning.json`, every field checked; else a `StorageError`."""
    path = Path(folder) / NAME
    if not path.exists():
        raise StorageError(_missing(Path(folder)))
    content = read_json(path)
    try:
        return _checked(content)
    except (SecateurError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise StorageError(f"'{path}' is damaged: {error}") from error


def _missing(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no folder '{folder}'; check the path"
    if (folder / "config.json").exists():
        return f"'{folder}' holds no {NAME}; it is no artifact, load it with from_pretrained"
    return f"'{folder}' holds no {NAME}; it is no artifact that secateur saved"


def _checked(content: Any) -> Manifest:
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise StorageError(f"it does not describe itself as a '{KIND}'")
    if type(content.get("schema")) is not int or content["schema"] < 1:
        raise StorageError(f"schema version {content.get('schema')!r} is not a version")
    if content["schema"] > SCHEMA:
        raise StorageError(
            f"schema version {content['schema']} is newer than the {SCHEMA} this version reads; "
            "update secateur to load the artifact"
        )
    stated = content.pop("digest", None)
    if stated != _digest(content):
        raise StorageError("its content does not match its digest")
    fields = {k: v for k, v in content.items() if k not in ("kind", "schema", "kept")}
    numbers = [Kept(**row).model_dump() for row in content["kept"]]
    return Manifest(**fields | {"edits": [_spelt_out(row, numbers) for row in content["edits"]]})


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _shared(edits: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Edits that say which of a list of kept numbers they mean: coupled tensors keep the same ones."""
    numbers: list[dict[str, Any]] = []
    places: dict[str, int] = {}

    def place(kept: dict[str, Any]) -> int:
        key = json.dumps(kept)
        if key not in places:
            places[key] = len(numbers)
            numbers.append(kept)
        return places[key]

    return [_with_kept(edit, place) for edit in edits], numbers


def _spelt_out(edit: dict[str, Any], numbers: list[dict[str, Any]]) -> dict[str, Any]:
    def number(place: Any) -> dict[str, Any]:
        if type(place) is not int or not 0 <= place < len(numbers):
            raise StorageError(f"there are no kept numbers {place!r}")
        return numbers[place]

    return _with_kept(edit, number)


def _with_kept(edit: dict[str, Any], change: Any) -> dict[str, Any]:
    """The edit with `change` of every description of kept numbers in it."""
    tensors = {
        name: {dim: change(kept) for dim, kept in cuts.items()}
        for name, cuts in edit["tensors"].items()
    }
    retrace = edit["retrace"]
    if retrace is not None:
        units = {axis: change(kept) for axis, kept in retrace["units"].items()}
        retrace = {**retrace, "units": units}
    return {**edit, "tensors": tensors, "retrace": retrace}


def versions() -> dict[str, str]:
    """What takes part in saving and loading, with its version."""
    import importlib.metadata

    found = {}
    for package in ("secateur", "torch", "safetensors", "transformers"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed
            found[package] = "none"
    return found
