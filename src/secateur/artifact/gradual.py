"""A file of `save_sparse` that is written tensor by tensor, by one process or by several in turn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..core.errors import StorageError
from .atomic import storage_error
from .container import CODES, Spec, digest, raw, sealed_header
from .entries import Entry, to_text

_UNKNOWN = "0" * 64


class GradualFile:
    """The file that `save_sparse` would write of a state, put together a few tensors at a time.

    Sizes and places are known from the beginning; the header, which holds the digest of every
    tensor, comes last, so that an unfinished file can be read by nobody.

    Args:
        path: the file; what is there is gone on with.
        specs: name -> dtype and shape, in the order of the state.
        same: further name -> the name in `specs` of the tensor it is.

    >>> import tempfile, torch
    >>> from secateur.artifact.file import load_sparse
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> made = GradualFile(path, {"a": (torch.float32, (2,)), "b": (torch.int64, (1,))})
    >>> digests = made.put({"b": torch.tensor([7])}) | made.put({"a": torch.ones(2)})
    >>> made.seal(digests)
    >>> {name: tensor.tolist() for name, tensor in load_sparse(path).items()}
    {'a': [1.0, 1.0], 'b': [7]}
    """

    def __init__(
        self, path: Path, specs: Mapping[str, Spec], same: Mapping[str, str] | None = None
    ) -> None:
        self.path, self.specs, self.same = path, dict(specs), dict(same or {})
        self._stored = {name: spec for name, spec in self.specs.items() if name not in self.same}
        _, self._places = sealed_header(self._stored, self._text({}))

    @property
    def names(self) -> list[str]:
        """The tensors that have to be put."""
        return list(self._stored)

    def put(self, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        """Write some tensors to their places, safely on the disk when it returns; their digests."""
        digests = {}
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                for name, tensor in tensors.items():
                    digests[name] = self._put(descriptor, name, tensor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise storage_error(error, self.path, "write") from error
        return digests

    def _put(self, descriptor: int, name: str, tensor: Tensor) -> str:
        dtype, shape = self._stored[name]
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise StorageError(
                f"'{name}' is {tensor.dtype} {list(tensor.shape)}, there is room for {dtype} "
                f"{list(shape)}"
            )
        value = tensor.detach().cpu().contiguous()
        _write(descriptor, raw(value), self._places[name])
        return digest(value)

    def seal(self, digests: Mapping[str, str]) -> None:
        """Write the header: from now on it is a file like any other."""
        head, _ = sealed_header(self._stored, self._text(digests))
        try:
            with self.path.open("r+b", buffering=0) as file:
                _write(file.fileno(), memoryview(head), 0)
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self.path, "write") from error

    def _text(self, digests: Mapping[str, str]) -> str:
        entries = {
            name: Entry("same", same_as=self.same[name])
            if name in self.same
            else Entry("dense", CODES[dtype], shape, digest=digests.get(name, _UNKNOWN))
            for name, (dtype, shape) in self.specs.items()
        }
        return to_text(entries)


def _write(descriptor: int, data: memoryview, at: int) -> None:
    """All of `data` at a place; the system may take less at a time."""
    while len(data):
        done = os.pwrite(descriptor, data, at)
        data, at = data[done:], at + done
