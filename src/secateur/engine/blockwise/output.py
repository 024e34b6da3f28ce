"""The folder a walk writes to: a copy that is pruned in place, and shows itself when it is whole."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ...artifact import storage_error, write_bytes
from ...artifact.manifest import CARD
from ...artifact.manifest import NAME as MANIFEST
from ...core.errors import StorageError
from ...structure.free_order import Moves
from .activations import Activations, InMemory, OnDisk
from .blocks import Block
from .shards import INDEX, Shards
from .skeleton import Skeleton

_JOURNAL, _LOCK, _ACTIVATIONS, SCORES = ".journal.json", ".lock", ".activations", ".scores"
_DENSE = "dense"
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5", ".msgpack", ".ckpt"}
_SPARE = 32 << 20  # bytes that are to stay free: journal, record, card


class Output:
    """A model folder in the making, next to where it is to stand.

    The work lies in `.NAME.partial`: copies of the weight files, in which each block's tensors are
    replaced in place, and a journal. When all is done the folder is renamed. A process that finds
    the work of a killed one, with the same digest, goes on there.

    Args:
        out: the folder to be; it must not exist, or be empty.
        source: the weights to copy.
        digest: names the whole request; work of another request is refused.
        activations: where what flows between blocks is kept.
        room: bytes those activations need at most.
        copies: whether the weight files are copied; else their place is left for another file.
    """

    def __init__(
        self,
        out: Path,
        source: Shards,
        digest: str,
        activations: Literal["memory", "disk"] = "memory",
        room: int = 0,
        copies: bool = True,
    ) -> None:
        self.out, self.source, self.digest = out, source, digest
        self.partial = out.with_name(f".{out.name}.partial")
        self.activations: Literal["memory", "disk"] = activations
        self._room = room if activations == "disk" else 0
        self._copies = copies
        self.journal: dict[str, Any] = {}

    @contextmanager
    def working(self) -> Iterator[Output]:
        """Checks first, then the copies; inside, this process alone works here."""
        check_free(self.out, self.source.folder)
        self._check_disk()
        try:
            self.partial.mkdir(parents=True, exist_ok=True)
            lock = (self.partial / _LOCK).open("w")
        except OSError as error:
            raise storage_error(error, self.partial, "create") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StorageError(
                    f"another process works on '{self.out}'; wait for it or choose another folder"
                ) from None
            try:
                self._begin()
                yield self
            finally:
                begun = self.journal.get("blocks") or self.journal.get("scored")
                if not begun and self.partial.exists():
                    shutil.rmtree(self.partial)  # nothing worth going on with

    def _check_disk(self) -> None:
        present = sum(p.stat().st_size for p in self.partial.rglob("*") if p.is_file())
        check_disk(self.out, self.source.bytes + self._room - present)

    def _begin(self) -> None:
        """Go on with the work that lies here, or begin it."""
        path = self.partial / _JOURNAL
        if path.exists():
            self.journal = json.loads(path.read_text(encoding="utf-8"))
            if self.journal["digest"] != self.digest:
                raise StorageError(
                    f"'{self.partial}' holds unfinished work of another request; delete it, or "
                    "repeat that request"
                )
        else:
            self.journal = {"digest": self.digest, "blocks": {}, "outputs": [], "source": {}}
            self.note()
        self._copy()

    def _copy(self) -> None:
        """Weight files and all that is no weight; whole files only."""
        names = [p.name for p in self.source.folder.iterdir() if _belongs(p)]
        names = [*names, *self.source.files] if self._copies else [n for n in names if n != INDEX]
        for name in names:
            final = self.partial / name
            if final.exists():
                continue
            temporary = self.partial / ".copy"
            try:
                shutil.copyfile(self.source.folder / name, temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(final)
            except OSError as error:
                raise storage_error(error, final, "write") from error

    def note(self) -> None:
        """Write the journal, in one step."""
        write_bytes(self.partial / _JOURNAL, json.dumps(self.journal).encode())

    def finish(self, describe: Callable[[Path], None]) -> None:
        """Let `describe` add what it has to say to the finished folder, and give that its name."""
        describe(self.partial)
        for name in (_ACTIVATIONS, SCORES):
            shutil.rmtree(self.partial / name, ignore_errors=True)
        for path in self.partial.glob(".*"):  # journal, lock, and what killed writers left
            path.unlink()
        try:
            if self.out.exists():
                self.out.rmdir()
            self.partial.replace(self.out)
        except OSError as error:
            raise storage_error(error, self.out, "create") from error


class FolderShelf:
    """Blocks come from the source folder and go to the copy.

    Args:
        skeleton: the model and its names in the files.
        output: the folder in the making.
    """

    keeps_masks = False

    def __init__(self, skeleton: Skeleton, output: Output) -> None:
        self.skeleton, self.output = skeleton, output
        self.copy = skeleton.shards.at(output.partial)
        skeleton.digests |= output.journal["source"]

    def load(self, block: Block, dense: bool = False) -> None:
        """Read the block: as it was, or as it was pruned."""
        done = block.name in self.output.journal["blocks"] and not dense
        self.skeleton.load(block.name, self.copy if done else None)

    def rows(self, block: Block) -> list[dict[str, Any]] | None:
        """The journal's rows of the block."""
        return self.output.journal["blocks"].get(block.name)

    def store(self, block: Block, rows: list[dict[str, Any]]) -> None:
        """Write the block's tensors, then note that it is done."""
        self.copy.write(self.skeleton.stored(block.name))
        self.release(block)
        self.output.journal["blocks"][block.name] = rows
        self.note()

    def note(self) -> None:
        """Write the journal, with the digests of all that was read so far."""
        self.output.journal["source"] = dict(self.skeleton.digests)
        self.output.note()

    def kept(self) -> list[str]:
        """Blocks whose activations were kept on disk (those of the last one are still there)."""
        return list(self.output.journal["outputs"]) if self.output.activations == "disk" else []

    def room(self, block: str, dense: bool = False) -> Activations:
        """Memory, or a folder of the block's own."""
        if self.output.activations == "memory":
            return InMemory(self.skeleton.device)
        place = self.output.partial / _ACTIVATIONS
        return OnDisk((place / _DENSE if dense else place) / block, self.skeleton.device)

    def finished(self, block: Block) -> None:
        """Note that the activations are whole."""
        if self.output.activations == "disk":
            self.output.journal["outputs"].append(block.name)
            self.note()

    def release(self, block: Block) -> None:
        """Back to the meta device."""
        self.skeleton.release(block.name)

    def rearrange(self, model: nn.Module, moves: Moves) -> None:
        """Blocks when they are read; what lies outside of them is written now."""
        self.skeleton.moves = moves
        if "moved" in self.output.journal:
            return
        for name in self.skeleton.outside(moves):
            self.copy.write(self.skeleton.filed(name))
            self.skeleton.let_go(name)
        self.output.journal["moved"] = True
        self.note()

    def survey(self) -> dict[str, list[float]] | None:
        """The journal's."""
        return self.output.journal.get("survey")

    def surveyed(self, found: dict[str, list[float]]) -> None:
        """Into the journal."""
        self.output.journal["survey"] = found
        self.output.note()


def check_free(out: Path, source: Path) -> None:
    """The output must be a new or an empty folder, and not the source or a part of it."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"'{out}' is not empty; name a new folder, nothing is overwritten")
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        raise StorageError(f"'{out}' lies inside the source model; name a folder elsewhere")


def _belongs(path: Path) -> bool:
    """Whether a file of the source goes to the output as it is: no weights, no card of its own."""
    plain = path.is_file() and not path.name.startswith(".")
    return plain and path.suffix not in _WEIGHTS and path.name not in (CARD, MANIFEST)


def check_disk(out: Path, needed: int) -> None:
    """There must be so many bytes to be had where the output is to lie, and some to spare."""
    parent = next(p for p in (out.absolute(), *out.absolute().parents) if p.is_dir())
    needed, free = needed + _SPARE, shutil.disk_usage(parent).free
    if needed > free:
        raise StorageError(
            f"'{parent}' has {free / 1e9:.2f} GB free, the result needs {needed / 1e9:.2f} GB; "
            "free some space or choose another folder"
        )
