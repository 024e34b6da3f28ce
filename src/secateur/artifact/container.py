"""Tensors and one JSON text in a safetensors file whose every byte is covered by a digest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.errors import StorageError
from .atomic import storage_error

KEY, DIGEST_KEY = "secateur", "secateur.digest"
MAX_HEADER = 100_000_000  # the limit of the safetensors format itself
OWN_HEADER = 32 << 20  # of files written here: room for 100,000 tensors
_ZEROS = "0" * 64

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU, without a copy."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def digest(*tensors: Tensor) -> str:
    """SHA-256 of the bytes of contiguous tensors, one after the other."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(raw(tensor))
    return total.hexdigest()


def write_container(file: BinaryIO, tensors: Mapping[str, Tensor], text: str) -> None:
    """Write a safetensors file with `text` and a digest of the header in its metadata.

    The tensors are written one by one from where they are: nothing is copied. The header digest is
    SHA-256 over the 8 length bytes and the header, with 64 zeros in its own place; `text` has to
    hold digests of the tensors if they are to be covered.
    """
    specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    head, places = sealed_header(specs, text)
    file.write(head)
    for name in places:
        file.write(raw(tensors[name]))


Spec = tuple[torch.dtype, tuple[int, ...]]


def sealed_header(specs: Mapping[str, Spec], text: str) -> tuple[bytes, dict[str, int]]:
    """What such a file begins with, and the byte at which each tensor starts, in the file's order."""
    sizes = {n: prod(shape) * dtype.itemsize for n, (dtype, shape) in specs.items()}
    order = sorted(specs, key=lambda name: (-specs[name][0].itemsize, name))  # alignment
    metadata = {DIGEST_KEY: _ZEROS, KEY: text, "format": "pt"}  # what transformers asks for
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for name in order:
        dtype, shape = specs[name]
        end = offset + sizes[name]
        header[name] = {
            "dtype": CODES[dtype], "shape": list(shape), "data_offsets": [offset, end],
        }  # fmt: skip
        offset = end
    head = _sealed(header)
    starts = accumulate((sizes[name] for name in order), initial=len(head))
    return head, dict(zip(order, starts, strict=False))


class Container:
    """A file of `write_container`, opened: its text, its names and its tensors, one at a time.

    >>> import io, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> with path.open("wb") as file:
    ...     write_container(file, {"a": torch.ones(2)}, "hello")
    >>> with Container(path) as container:
    ...     container.text, container.tensor("a", "F32", (2,)).tolist()
    ('hello', [1.0, 1.0])
    """

    def __init__(self, path: Path, expected: str | None = None) -> None:
        """Open a file whose header, and with it every byte, has the digest `expected` (None: any)."""
        self.path = path
        self.digest = _checked_header(path, _read_header(path))  # before a parser sees it
        if expected is not None and expected != self.digest:
            raise StorageError(f"'{path}' is another file than the artifact was saved with")
        try:
            self._file = safe_open(str(path), framework="pt")
        except (SafetensorError, OSError) as error:
            raise StorageError(f"'{path}' is no sound safetensors file: {error}") from error
        self.names: tuple[str, ...] = tuple(self._file.keys())
        metadata = self._file.metadata() or {}
        if KEY not in metadata:
            raise StorageError(f"'{path}' was not written by Secateur: its metadata lack '{KEY}'")
        self.text: str = metadata[KEY]

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__(None, None, None)

    def tensor(self, name: str, dtype: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """One tensor of this dtype code and shape (None: any one-dimensional), in its own memory."""
        try:
            found = self._file.get_slice(name)
            size, code = tuple(found.get_shape()), found.get_dtype()
            if code != dtype or (size != shape if shape is not None else len(size) != 1):
                raise StorageError(f"{name!r} is stored as {code} {size}, not as {dtype} {shape}")
            return self._file.get_tensor(name).clone(memory_format=torch.contiguous_format)
        except (SafetensorError, RuntimeError, TypeError) as error:
            raise StorageError(f"'{self.path}' has no readable tensor {name!r}: {error}") from error


def _sealed(header: Mapping[str, object]) -> bytes:
    """Length and JSON header, padded to 8 bytes, with the header's own digest filled in."""
    body = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    body += b" " * (-len(body) % 8)
    if len(body) > OWN_HEADER:
        raise StorageError(f"a header of {len(body)} bytes exceeds {OWN_HEADER}")
    full = len(body).to_bytes(8, "little") + body
    own = hashlib.sha256(full).hexdigest()
    return full.replace(_field(_ZEROS), _field(own), 1)  # the metadata come first in the header


def _field(value: str) -> bytes:
    return f'"{DIGEST_KEY}":"{value}"'.encode()


def _checked_header(path: Path, header: bytes) -> str:
    """The header's digest; raises unless the header is, byte for byte, one that `_sealed` made."""
    found = re.findall(_field("([0-9a-f]{64})"), header)
    if not found:
        raise StorageError(f"'{path}' was not written by Secateur, or its header is damaged")
    stated = found[0].decode()
    own = hashlib.sha256(header.replace(_field(stated), _field(_ZEROS), 1)).hexdigest()
    if own != stated:
        raise StorageError(f"'{path}' is damaged: its header does not match its digest")
    return own


def open_regular(path: str, flags: int) -> int:
    """Open a file, but nothing that could block or never end (a pipe, a device)."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"cannot read '{path}': it is no ordinary file")
    return descriptor


def header_digest(path: Path) -> str:
    """`Container.digest` of a file that is just written; its tensors are not looked at."""
    return _checked_header(path, _read_header(path))


def _read_header(path: Path) -> bytes:
    """Length and header as they stand in the file, after checks that need no parser."""
    try:
        with open(path, "rb", opener=open_regular) as file:
            available = file.seek(0, 2)
            file.seek(0)
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(OWN_HEADER, available - 8):
                raise StorageError(
                    f"'{path}' is cut off or no safetensors file: its header would be {length} "
                    f"bytes long, the file is {available}"
                )
            return start + file.read(length)
    except OSError as error:
        raise storage_error(error, path, "read") from error
