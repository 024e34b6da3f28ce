"""An exported file is written beside its place, tried out there, and only then gets its name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import StorageError


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the network.

    Attributes:
        path: the file.
        format: `pt2`, `onnx`, `gguf` or `state-dict`.
        bytes: its size, with what belongs to it.
        difference: of the outputs on the example, relative to the largest, read back from the
            file; None where nothing was run.
        free_batch: whether it takes any batch size; None where that has no meaning.
        notes: what was changed to fit the format.
    """

    path: Path
    format: str
    bytes: int
    difference: float | None = None
    free_batch: bool | None = None
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        parts = [f"{self.path}: {self.format}, {self.bytes:,} bytes"]
        if self.difference is not None:
            parts.append(f"outputs differ by {self.difference:.1e} of the largest")
        if self.free_batch is not None:
            parts.append("any batch size" if self.free_batch else "the example's batch size only")
        return "; ".join([*parts, *self.notes])


def tried_out(path: Path, overwrite: bool, make: Callable[[Path], float | None]) -> float | None:
    """Let `make` write and check a file of that name in a hidden folder; then move what is there.

    Returns what `make` does. Whatever fails leaves what was there.
    """
    final = Path(os.path.realpath(path))
    if final.is_dir():
        raise StorageError(f"'{path}' is a folder; name a file")
    if final.exists() and not overwrite:
        raise StorageError(f"'{path}' exists; name another file or pass overwrite=True")
    if not final.parent.is_dir():
        raise StorageError(f"the folder '{final.parent}' does not exist; create it first")
    try:
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".secateur-") as hidden:
            difference = make(Path(hidden, final.name))
            beside = sorted(Path(hidden).iterdir(), key=lambda file: file.name == final.name)
            for file in beside:  # the file itself last: it is of no use without the others
                _sync(file)
                os.replace(file, final.parent / file.name)
    except OSError as error:
        raise StorageError(
            f"cannot write '{path}': {error.strerror or error}; free some space or choose another "
            "folder"
        ) from error
    return difference


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def written_bytes(path: Path) -> int:
    """Bytes of a file and of the data beside it that carries its name."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
