"""What a sparse file says of each tensor, and whether that can be true."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, TypeGuard

from ..core.errors import StorageError
from .codec import CODINGS
from .container import DTYPES

SCHEMA = 2
"""2 has `SHARED` codings; a file without any says 1, as it did before there were such."""

SHARED = ("huffman", "shared")  # few values under a mask, or in all places
KIND = "sparse state"
_HUGE = 1 << 56
VALUES, MASK = "::values", "::mask"  # appended to a name; no stored name may contain "::"
_DECODING = 24  # bytes for each entry: index, span and place
CODEBOOK, INDICES, SPANS = "::codebook", "::indices", "::spans"


@dataclass(frozen=True)
class Entry:
    """One tensor: how it is coded, what it is, how much it keeps, and the digest of its bytes.

    `coding` is `dense` (the tensor itself under its name), one of `codec.CODINGS` (kept values and
    coded mask under two names), one of `SHARED` (`shared.Shared` under two names or three), or `same`
    (another name, in `same_as`, for the same tensor). `values`, `entries` and `width` are of `SHARED`.
    """

    coding: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    kept: int = 0
    digest: str = ""
    same_as: str = ""
    values: int = 0
    entries: int = 0
    width: int = 0

    def stored(self, name: str) -> tuple[str, ...]:
        """The names in the container that make up this tensor."""
        if self.coding == "same":
            return ()
        if self.coding in SHARED:
            parts = (CODEBOOK, INDICES, SPANS) if self.coding == "huffman" else (CODEBOOK, INDICES)
            return tuple(name + part for part in parts)
        return (name,) if self.coding == "dense" else (name + VALUES, name + MASK)

    def loaded_bytes(self) -> int:
        """The memory that the tensor, and its mask where it has one, takes once loaded.

        Codes of `SHARED` may say much in no bytes at all: what decoding them takes counts, too.
        """
        if self.coding == "same":
            return 0
        masked = self.coding not in ("dense", "shared")
        return prod(self.shape) * (DTYPES[self.dtype].itemsize + masked) + _DECODING * self.entries


def to_text(entries: Mapping[str, Entry]) -> str:
    """The JSON text of the metadata."""
    rows = {
        name: {key: value for key, value in asdict(entry).items() if value or key == "shape"}
        for name, entry in entries.items()
    }
    schema = SCHEMA if any(entry.coding in SHARED for entry in entries.values()) else 1
    return json.dumps({"kind": KIND, "schema": schema, "tensors": rows}, separators=(",", ":"))


def from_text(text: str) -> dict[str, Entry]:
    """The entries of a metadata text, each checked for types and ranges; else `StorageError`."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"the description is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise StorageError(f"the file does not describe itself as a '{KIND}'")
    _check_schema(content.get("schema"))
    rows = content.get("tensors")
    if not isinstance(rows, dict):
        raise StorageError("the description has no table of tensors")
    entries = {name: _entry(name, row) for name, row in rows.items()}
    for name, entry in entries.items():
        if entry.coding == "same" and entries.get(entry.same_as, entry).coding == "same":
            raise StorageError(f"{name!r} is said to be {entry.same_as!r}, which is not stored")
    return entries


def _check_schema(schema: object) -> None:
    if type(schema) is not int or schema < 1:
        raise StorageError(f"schema version {schema!r} is not a version")
    if schema > SCHEMA:
        raise StorageError(
            f"schema version {schema} is newer than the {SCHEMA} this version reads; "
            "update secateur to load the file"
        )


def _entry(name: str, row: Any) -> Entry:
    if not isinstance(row, dict) or not set(row) <= set(Entry.__dataclass_fields__):
        raise StorageError(f"the description of {name!r} has unknown fields")
    coding = row.get("coding")
    if coding == "same" and isinstance(row.get("same_as"), str):
        return Entry("same", same_as=row["same_as"])
    if coding not in ("dense", *CODINGS, *SHARED):
        raise StorageError(f"{name!r} has the unknown coding {coding!r}")
    if row.get("dtype") not in list(DTYPES):
        raise StorageError(f"{name!r} has the unknown dtype {row.get('dtype')!r}")
    shape, kept, digest = row.get("shape"), row.get("kept", 0), row.get("digest")
    if not is_shape(shape):
        raise StorageError(f"{name!r} has a shape that is none")
    if not is_size(kept) or kept > prod(shape):
        raise StorageError(f"{name!r} keeps {kept!r} of {prod(shape)} elements")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise StorageError(f"{name!r} has no digest")
    more = {key: row.get(key, 0) for key in ("values", "entries", "width")}
    if not all(map(is_size, more.values())) or more["entries"] > prod(shape):
        raise StorageError(f"{name!r} has {more} of {prod(shape)} elements, which cannot be")
    return Entry(coding, row["dtype"], tuple(shape), kept, digest, **more)


def is_size(value: object) -> TypeGuard[int]:
    """A whole number that can be a size."""
    return type(value) is int and 0 <= value < _HUGE


def is_shape(value: object) -> TypeGuard[list[int]]:
    """A list of sizes that no arithmetic on strides can overflow, empty tensors included."""
    if not isinstance(value, list) or len(value) > 64 or not all(map(is_size, value)):
        return False
    return prod(max(size, 1) for size in value) < _HUGE
