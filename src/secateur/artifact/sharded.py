"""Weights of `save_sparse` in one file, or in several with the index that transformers reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from torch import BoolTensor, Tensor

from ..core.errors import StorageError
from .atomic import write_bytes
from .container import Spec, header_digest
from .covered import INDEX, SINGLE, digest_of, is_name
from .file import read_sparse
from .gradual import GradualFile
from .state import SparseState


class GradualShards:
    """Files of `save_sparse` that together hold one state, put together a few tensors at a time.

    Each is a `GradualFile`; an index beside them says which holds what, where they are several.

    Args:
        folder: where they lie; what is there is gone on with.
        files: file -> the tensors it holds, every tensor of `specs` but those of `same` in one.
        specs: name -> dtype and shape, in the order of the state.
        same: further name -> the name in `specs` of the tensor it is; it goes into that one's file.

    >>> import tempfile, torch
    >>> folder, two = Path(tempfile.mkdtemp()), (torch.float32, (2,))
    >>> made = GradualShards(folder, {"x.safetensors": ["a"], "y.safetensors": ["b"]}, {"a": two, "b": two})
    >>> made.seal(made.put({"a": torch.ones(2), "b": torch.zeros(2)}))
    >>> sorted(path.name for path in folder.iterdir())
    ['model.safetensors.index.json', 'x.safetensors', 'y.safetensors']
    """

    def __init__(
        self,
        folder: Path,
        files: Mapping[str, Sequence[str]],
        specs: Mapping[str, Spec],
        same: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self._specs, same = folder, dict(specs), dict(same or {})
        self._file = {name: file for file, names in files.items() for name in names}
        homes = {name: self._file[same.get(name, name)] for name in specs}
        self._parts = {
            file: GradualFile(
                folder / file,
                {name: spec for name, spec in specs.items() if homes[name] == file},
                {name: first for name, first in same.items() if homes[name] == file},
            )
            for file in files
        }

    @property
    def names(self) -> list[str]:
        """The tensors that have to be put."""
        return [name for name in self._specs if name in self._file]

    def put(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """Write some tensors to their places, safely on the disk when it returns; their digests."""
        digests: dict[str, str] = {}
        for file, part in self._parts.items():
            mine = {name: t for name, t in tensors.items() if self._file[name] == file}
            digests |= part.put(mine) if mine else {}
        return digests

    def seal(self, digests: Mapping[str, str]) -> None:
        """Write the headers and the index: from now on it is a model like any other."""
        for part in self._parts.values():
            part.seal(digests)
        if list(self._parts) != [SINGLE]:
            specs = [self._specs[name] for name in self._file]
            size = sum(prod(shape) * dtype.itemsize for dtype, shape in specs)
            index = {"metadata": {"total_size": size}, "weight_map": self._file}
            text = json.dumps(index, indent=2, sort_keys=True) + "\n"
            write_bytes(self.folder / INDEX, text.encode())


def shard_digests(folder: Path) -> dict[str, str]:
    """File -> digest of its header, of the shards that are just written; empty where it is one file."""
    if not (folder / INDEX).exists():
        return {}
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    return {
        file: header_digest(folder / file) for file in sorted(set(index["weight_map"].values()))
    }


def read_shards(folder: Path, shards: Mapping[str, str], limit: int, expected: str) -> SparseState:
    """The state and the masks of all shards together, every byte checked.

    Args:
        folder: where they lie.
        shards: file -> digest of its header; empty: one file.
        limit: the most bytes the loaded tensors may take.
        expected: the digest of the one file's header, or of `shards`.
    """
    if not shards:
        return read_sparse(folder / SINGLE, limit=limit, expected=expected)
    if digest_of(shards) != expected:
        raise StorageError("the list of its files does not match its digest")
    state, masks = dict[str, Tensor](), dict[str, BoolTensor]()
    for file, digest in shards.items():
        if not is_name(file):
            raise StorageError(f"{file!r} is no name of a file of weights")
        found = read_sparse(folder / file, limit=limit, expected=digest)
        if twice := state.keys() & found.state.keys():
            raise StorageError(f"{sorted(twice)[0]!r} lies in two of its files")
        limit -= sum(t.nbytes for t in {id(t): t for t in found.state.values()}.values())
        limit -= sum(mask.nbytes for mask in found.masks.values())
        state, masks = state | found.state, masks | found.masks
    return SparseState(state, masks)
