"""Artifacts whose weights lie in files that other programs wrote: each file under a digest of its own."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from ..core.errors import StorageError
from ..core.origin import Architecture
from .architecture import bounded, model_class, without_code
from .atomic import storage_error
from .container import open_regular
from .huggingface import quiet

INDEX, SINGLE, GENERATION = (
    "model.safetensors.index.json",
    "model.safetensors",
    "generation_config.json",
)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_PIECE = 1 << 22


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; links to devices and pipes are refused."""
    total = hashlib.sha256()
    try:
        with open(path, "rb", opener=open_regular) as file:
            while piece := file.read(_PIECE):
                total.update(piece)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    return total.hexdigest()


def cover(folder: Path, weights: Iterable[str]) -> dict[str, str]:
    """File -> digest, of the weight files and what stands beside them for loading."""
    names = {*weights, *(n for n in (INDEX, GENERATION) if (folder / n).is_file())}
    return {name: file_digest(folder / name) for name in sorted(names)}


def digest_of(covered: Mapping[str, str]) -> str:
    """One digest for all of the files."""
    return hashlib.sha256(json.dumps(dict(sorted(covered.items()))).encode()).hexdigest()


def is_name(name: str) -> bool:
    """Whether it can be the name of a file in the folder itself."""
    return _NAME.fullmatch(name) is not None


def load_covered(
    folder: Path, covered: Mapping[str, str], architecture: Architecture | None, allowed: int
) -> nn.Module:
    """The model of the files, by its class in transformers; every file is checked first.

    The class reads from a folder in which nothing lies but links to these files and the
    configuration as the manifest has it, so that nothing else of the artifact is looked at.
    """
    if architecture is None or architecture.config is None:
        raise StorageError("files of transformers need a configuration, and the artifact has none")
    _check(folder, covered, allowed)
    package, _, name = architecture.constructor.partition(":")
    if package != "transformers":
        raise StorageError(f"files of transformers are not read by '{architecture.constructor}'")
    kind = model_class(name)
    weights = [name for name in covered if name.endswith(".safetensors")]
    tensors = sum(_count(folder / name) for name in weights)
    with tempfile.TemporaryDirectory() as place:
        for name in covered:
            Path(place, name).symlink_to((folder / name).resolve())
        plain = json.dumps(without_code(architecture.config))
        Path(place, "config.json").write_text(plain, encoding="utf-8")
        made = _read(kind, place, tensors, allowed)
    made.config._name_or_path = made.name_or_path = str(folder)
    return made


def _check(folder: Path, covered: Mapping[str, str], allowed: int) -> None:
    """Names that stay in the folder, sizes that are allowed, bytes that are the ones saved."""
    size = 0
    for name, wanted in covered.items():
        if not is_name(name) or name == "config.json":
            raise StorageError(f"{name!r} is no name of a file of weights")
        path = folder / name
        size += path.stat().st_size if path.is_file() else 0
        if size > allowed:
            raise StorageError(f"its files hold {size:,} bytes or more, {allowed:,} are allowed")
        if file_digest(path) != wanted:
            raise StorageError(f"'{path}' is another file than the artifact was saved with")


def _count(path: Path) -> int:
    try:
        with safe_open(str(path), framework="pt") as file:
            return len(file.keys())
    except (SafetensorError, OSError) as error:
        raise StorageError(f"'{path}' is no sound safetensors file: {error}") from error


def _read(kind: Any, place: str, tensors: int, allowed: int) -> Any:
    """Read the model; a tensor that is missing, too many or of another shape is an error."""
    try:
        with quiet(), bounded(1000 + 32 * tensors, allowed):
            made, told = kind.from_pretrained(
                place, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except StorageError:
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), "")
        raise StorageError(f"{kind.__name__} cannot read it: {first:.200}") from error
    wrong = {k: sorted(map(str, told[k])) for k in ("missing_keys", "unexpected_keys") if told[k]}
    if wrong or told.get("mismatched_keys"):
        raise StorageError(f"its files do not fit {kind.__name__}: {wrong or 'other shapes'}")
    return made
