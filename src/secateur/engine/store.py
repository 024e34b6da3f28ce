"""Where a run keeps its state: in memory, or in a folder that survives a killed process.

Every file is written whole or not at all and carries digests; a damaged checkpoint is noticed and
the one before it is used.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from ..artifact import read_sparse, save_sparse, storage_error
from ..core.errors import StorageError

log = logging.getLogger(__name__)
_META = "#meta"
KEPT_CHECKPOINTS = 2


@dataclass
class Saved:
    """Tensors by name, the masks they were stored with, and plain data beside them."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    masks: dict[str, Tensor] = field(default_factory=dict)


class Store(Protocol):
    """Named states and a sequence of checkpoints.

    Attributes:
        lasting: whether what is put here outlives the run, for analyses that come after it.
    """

    lasting: ClassVar[bool]

    def put(self, name: str, saved: Saved) -> None:
        """Keep a state under `name`."""

    def get(self, name: str) -> Saved | None:
        """The state under `name`, or None."""

    def checkpoint(self, saved: Saved) -> None:
        """Keep the newest state of the run."""

    def latest(self) -> Saved | None:
        """The newest sound checkpoint, or None."""


class MemoryStore:
    """States that live as long as the process."""

    lasting: ClassVar[bool] = False

    def __init__(self) -> None:
        self._states: dict[str, Saved] = {}

    def put(self, name: str, saved: Saved) -> None:
        """Keep copies on the CPU: the caller's tensors go on changing."""
        tensors = {key: value.detach().cpu().clone() for key, value in saved.tensors.items()}
        self._states[name] = Saved(tensors, saved.meta, dict(saved.masks))

    def get(self, name: str) -> Saved | None:
        """The state under `name`, or None."""
        return self._states.get(name)

    def checkpoint(self, saved: Saved) -> None:
        """Nothing to do: what is in memory cannot outlive the process."""

    def latest(self) -> Saved | None:
        """None: a run in memory always starts at the beginning."""
        return None


class FolderStore:
    """States as safetensors files in `folder`, checkpoints numbered below `folder/checkpoint`.

    Args:
        folder: created if it is not there.
    """

    lasting: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checkpoints = folder / "checkpoint"
        try:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self._checkpoints, "create") from error

    def put(self, name: str, saved: Saved) -> None:
        """Write `name`.safetensors in one step."""
        _write(self.folder / f"{name}.safetensors", saved)

    def get(self, name: str) -> Saved | None:
        """Read `name`.safetensors, checked; None where there is no such file."""
        path = self.folder / f"{name}.safetensors"
        return _read(path) if path.exists() else None

    def checkpoint(self, saved: Saved) -> None:
        """Write the next checkpoint, then let go of all but the newest two."""
        numbers = self._numbers()
        _write(self._path((numbers[-1] if numbers else 0) + 1), saved)
        for number in self._numbers()[:-KEPT_CHECKPOINTS]:
            self._path(number).unlink(missing_ok=True)

    def latest(self) -> Saved | None:
        """The newest checkpoint that is sound; a damaged one is reported and passed."""
        for number in reversed(self._numbers()):
            try:
                return _read(self._path(number))
            except StorageError as error:
                log.warning("checkpoint %d is damaged, using the one before: %s", number, error)
        return None

    def clear(self) -> None:
        """Remove the checkpoints of a finished run."""
        for number in self._numbers():
            self._path(number).unlink(missing_ok=True)

    def _numbers(self) -> list[int]:
        found = (path.stem for path in self._checkpoints.glob("*.safetensors"))
        return sorted(int(stem) for stem in found if stem.isdigit())

    def _path(self, number: int) -> Path:
        return self._checkpoints / f"{number:06d}.safetensors"


def _write(path: Path, saved: Saved) -> None:
    text = json.dumps(saved.meta).encode()
    meta = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    tensors: Mapping[str, Tensor] = {**saved.tensors, _META: meta}
    save_sparse(path, tensors, saved.masks, overwrite=False)


def _read(path: Path) -> Saved:
    found = read_sparse(path)
    if _META not in found.state:
        raise StorageError(f"'{path}' holds no run state; it was written by something else")
    meta = json.loads(bytes(found.state.pop(_META).numpy()))
    return Saved(found.state, meta, dict(found.masks))
