"""Safetensors files as a set of named byte ranges: read one tensor, or write one in its place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...artifact import storage_error
from ...artifact.container import DTYPES, MAX_HEADER, Spec, raw
from ...core.errors import StorageError
from ...core.extras import need

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies: its file, dtype, shape and bytes `start` to `stop` of the file."""

    file: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class Shards:
    """The weights of a model folder, one file or several with an index.

    Nothing is mapped into memory: a tensor is read into memory of its own when it is asked for, so
    that a process needs no more than the tensors it holds.

    Args:
        folder: a folder in the layout of Hugging Face.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: tuple[str, ...] = _files(folder)
        self.entries: dict[str, Entry] = {}
        for file in self.files:
            self.entries.update(_entries(folder / file))

    @property
    def bytes(self) -> int:
        """Size of all weight files together."""
        return sum((self.folder / file).stat().st_size for file in self.files)

    @property
    def largest(self) -> int | None:
        """Bytes of the tensors in the largest of several files; None where there is one."""
        sizes = dict.fromkeys(self.files, 0)
        for entry in self.entries.values():
            sizes[entry.file] += entry.stop - entry.start
        return max(sizes.values()) if len(sizes) > 1 else None

    def read(self, name: str) -> Tensor:
        """One tensor, in memory of its own."""
        entry = self.entries[name]
        out = torch.empty(entry.shape, dtype=entry.dtype)
        room = raw(out)
        path = self.folder / entry.file
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(entry.start)
                _fill(file, room, path, name)
        except OSError as error:
            raise storage_error(error, path, "read") from error
        return out

    def at(self, folder: Path) -> Shards:
        """The same files as copied to another folder."""
        other = object.__new__(Shards)
        other.folder, other.files, other.entries = folder, self.files, self.entries
        return other

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Put new values in the place of old ones, of the same shape, in the dtype of the file."""
        for file, names in _by_file(self.entries, tensors):
            path = self.folder / file
            try:
                with path.open("r+b", buffering=0) as out:
                    for name in names:
                        self._put(out.fileno(), name, tensors[name])
                    os.fsync(out.fileno())
            except OSError as error:
                raise storage_error(error, path, "write") from error

    def _put(self, descriptor: int, name: str, tensor: Tensor) -> None:
        entry = self.entries[name]
        if tuple(tensor.shape) != entry.shape:
            raise StorageError(
                f"'{name}' has shape {tuple(tensor.shape)} now, the file holds {entry.shape}"
            )
        value = tensor.detach().to("cpu", entry.dtype).contiguous()
        data, at = raw(value), entry.start
        while len(data):
            done = os.pwrite(descriptor, data, at)
            data, at = data[done:], at + done


def split(specs: Mapping[str, Spec], most: int | None) -> dict[str, list[str]]:
    """File -> names of its tensors, in order, as transformers would divide and name them.

    Args:
        specs: name -> dtype and shape.
        most: bytes that a file may hold, a single larger tensor aside; None: one file.
    """
    if most is None:
        return {SINGLE: list(specs)}
    hub = need("huggingface_hub", "weights in several files")
    tensors = {name: torch.empty(s, dtype=d, device="meta") for name, (d, s) in specs.items()}
    found = hub.split_torch_state_dict_into_shards(tensors, max_shard_size=most)
    return dict(found.filename_to_tensors)


def _fill(file: object, room: memoryview, path: Path, name: str) -> None:
    """Read until `room` is full; the system may hand over less at a time."""
    while len(room):
        got = file.readinto(room)  # type: ignore[attr-defined]
        if not got:
            raise StorageError(f"'{path}' ends inside '{name}'; the file is cut off, copy it anew")
        room = room[got:]


def _by_file(
    entries: Mapping[str, Entry], tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, list[str]]]:
    files: dict[str, list[str]] = {}
    for name in tensors:
        files.setdefault(entries[name].file, []).append(name)
    yield from files.items()


def _files(folder: Path) -> tuple[str, ...]:
    """Names of the weight files; a folder without weights or with a shard missing is an error."""
    if not folder.is_dir():
        raise StorageError(f"'{folder}' is no folder; name one that holds config.json and weights")
    if (folder / INDEX).is_file():
        return _indexed(folder)
    if (folder / SINGLE).is_file():
        return (SINGLE,)
    other = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".gguf"))
    hint = f"; {other[0]} is of another kind, save the model with safetensors" if other else ""
    raise StorageError(f"'{folder}' holds no weights: neither {SINGLE} nor {INDEX}{hint}")


def _indexed(folder: Path) -> tuple[str, ...]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        files = tuple(sorted(set(index["weight_map"].values())))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise StorageError(f"'{folder / INDEX}' is no sound index: {error}") from error
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise StorageError(
            f"'{folder}' lacks {len(missing)} of {len(files)} shards, first '{missing[0]}'; "
            "download or copy them again"
        )
    return files


def _entries(path: Path) -> dict[str, Entry]:
    """Every tensor of one file, from its header; sizes are checked against the file's."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= MAX_HEADER:
                raise StorageError(f"'{path}' is no safetensors file, or cut off; copy it anew")
            header = json.loads(file.read(length))
            size = file.seek(0, 2)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except ValueError:
        raise StorageError(f"'{path}' has a damaged header; copy it anew") from None
    found = {n: _entry(path, n, e, 8 + length) for n, e in header.items() if n != "__metadata__"}
    end = max((entry.stop for entry in found.values()), default=8 + length)
    if end != size:
        raise StorageError(
            f"'{path}' should be {end:,} bytes long and has {size:,}; the file is cut off, copy it anew"
        )
    return found


def _entry(path: Path, name: str, raw: Mapping[str, object], base: int) -> Entry:
    try:
        dtype = DTYPES[str(raw["dtype"])]
        shape = tuple(int(n) for n in raw["shape"])  # type: ignore[attr-defined]
        start, stop = (base + int(n) for n in raw["data_offsets"])  # type: ignore[attr-defined]
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"'{path}' describes '{name}' in a way unknown here: {error}") from None
    elements = 1
    for n in shape:
        elements *= n
    if stop - start != elements * dtype.itemsize:
        raise StorageError(f"'{path}' gives '{name}' {stop - start} bytes for shape {shape}")
    return Entry(path.name, dtype, shape, start, stop)
