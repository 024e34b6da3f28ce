"""Decoded data sets on disk, so that pictures are decoded once in their life."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..artifact.atomic import atomic_write, storage_error
from ..core.errors import StorageError
from .root import cache_dir

_FORMAT = 1
"""Part of every key: raise it when decoding changes."""

Split = tuple[Tensor, Tensor]
"""(images uint8 [n, c, h, w], labels int64 [n])."""


@dataclass(frozen=True)
class Decoded:
    """The splits as they were found, and the names of the classes."""

    splits: dict[str, Split]
    classes: tuple[str, ...] = ()


def digest(files: Iterable[Path], base: Path, **options: object) -> str:
    """A key that changes when a file is added, removed, renamed, resized or written anew.

    Args:
        files: what the data set is read from.
        base: names count relative to it, so that a moved folder keeps its key.
        options: how the files are read.
    """
    rows = []
    for file in sorted(files):
        stat = file.stat()
        rows.append([file.relative_to(base).as_posix(), stat.st_size, stat.st_mtime_ns])
    text = json.dumps([_FORMAT, rows, sorted((k, repr(v)) for k, v in options.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load(key: str) -> Decoded | None:
    """The decoded data set of `key`, or None where there is none yet."""
    from safetensors import SafetensorError, safe_open

    path = _path(key)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["secateur"])
            splits = {
                name: (file.get_tensor(f"{name}.images"), file.get_tensor(f"{name}.labels"))
                for name in meta["splits"]
            }
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"the decoded copy '{path}' is damaged ({error}); delete that file and run again"
        ) from error
    return Decoded(splits, tuple(meta["classes"]))


def save(key: str, decoded: Decoded) -> None:
    """Keep a decoded data set; the file appears whole or not at all."""
    from safetensors.torch import save as serialise

    path = _path(key)
    tensors = {f"{n}.images": images for n, (images, _) in decoded.splits.items()}
    tensors |= {f"{n}.labels": labels for n, (_, labels) in decoded.splits.items()}
    meta = {"splits": list(decoded.splits), "classes": list(decoded.classes)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{storage_error(error, path.parent, 'create')} (SECATEUR_CACHE names the folder)"
        ) from error
    data = serialise(tensors, {"secateur": json.dumps(meta)})
    atomic_write(path, lambda file: file.write(data))


def _path(key: str) -> Path:
    return cache_dir() / f"{key}.safetensors"
