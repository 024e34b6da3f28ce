"""Masks alone in a file, for weights that are stored whole so that others can read them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.errors import StorageError
from .atomic import atomic_write
from .codec import CodedMask, decode_mask, encode_mask
from .container import Container, digest, write_container
from .entries import is_shape, is_size
from .plain import parse

KIND = "masks"


def save_masks(path: str | os.PathLike[str], masks: Mapping[str, Tensor]) -> None:
    """Write masks (True = keep), each coded in the fewest bytes.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "masks.safetensors"
    >>> save_masks(path, {"w": torch.tensor([True, False])})
    >>> load_masks(path)
    {'w': tensor([ True, False])}
    """
    rows, stored = {}, {}
    for name, mask in masks.items():
        coded = encode_mask(mask)
        stored[name] = torch.from_numpy(coded.payload)
        shape = list(coded.shape)
        rows[name] = {"coding": coded.coding, "shape": shape, "kept": coded.kept}
        rows[name]["digest"] = digest(stored[name])
    text = json.dumps({"kind": KIND, "masks": rows}, separators=(",", ":"))
    atomic_write(path, lambda file: write_container(file, stored, text))


def load_masks(
    path: str | os.PathLike[str], *, limit: int | None = None, expected: str | None = None
) -> dict[str, Tensor]:
    """The masks of a file of `save_masks`, every byte checked; arguments as in `read_sparse`."""
    with Container(Path(path), expected) as container:
        content = parse(container.text.encode())
        rows = content.get("masks") if isinstance(content, dict) else None
        if not isinstance(rows, dict) or content.get("kind") != KIND:
            raise StorageError(f"'{path}' holds no masks")
        if sorted(rows) != sorted(container.names):
            raise StorageError(f"'{path}' holds other masks than it describes")
        checked = {name: _row(name, row) for name, row in rows.items()}
        if limit is not None and sum(prod(row["shape"]) for row in checked.values()) > limit:
            raise StorageError(f"the masks of '{path}' take more than the {limit} bytes allowed")
        return {name: _mask(name, row, container) for name, row in checked.items()}


def _row(name: str, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict) or set(row) != {"coding", "shape", "kept", "digest"}:
        raise StorageError(f"the description of the mask of {name!r} has other fields")
    if not is_shape(row["shape"]) or not is_size(row["kept"]):
        raise StorageError(f"the mask of {name!r} has a shape that is none")
    return row


def _mask(name: str, row: Mapping[str, Any], container: Container) -> Tensor:
    payload = container.tensor(name, "U8")
    if digest(payload) != row["digest"]:
        raise StorageError(f"the mask of {name!r} is damaged: its bytes do not match their digest")
    shape = tuple(row["shape"])
    return decode_mask(CodedMask(str(row["coding"]), shape, row["kept"], payload.numpy()))
