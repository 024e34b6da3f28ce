"""From rows with encoded pictures to one uint8 tensor."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import DataError
from ..core.extras import need

_GREY = {"1", "L", "LA"}
_COLOUR = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
_ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""


def decode(
    rows: Iterable[Mapping[str, Any]], image: str, label: str, size: int | None, what: str
) -> tuple[Tensor, Tensor]:
    """All rows as (images uint8 [n, c, h, w], labels int64 [n]).

    Grey pictures stay of one channel unless any other one is in colour; transparency is dropped.

    Args:
        rows: mappings in which `image` is {bytes, path} and `label` a whole number.
        image, label: the columns.
        size: resize every picture to size x size; None demands that all have one size.
        what: the split, as errors call it.
    """
    pictures: list[np.ndarray[Any, Any]] = []
    labels: list[int] = []
    for number, row in enumerate(rows):
        where = f"image {number} of {what}"
        pixels = _pixels(row[image], size, where)  # [h, w] or [h, w, 3]
        if pictures and pixels.shape[:2] != pictures[0].shape[:2]:
            raise DataError(
                f"{where} has {_by(pixels)} pixels, the first one {_by(pictures[0])}; "
                "pass size=… to resize all of them (--data-option size=… with `secateur prune`)"
            )
        if row[label] is None:
            raise DataError(f"{where} has no label in column '{label}'; remove it or label it")
        pictures.append(pixels)
        labels.append(row[label])
    if not pictures:
        raise DataError(f"{what} is empty; give at least one image")
    return _stack(pictures), torch.tensor(labels, dtype=torch.int64)


def _stack(pictures: list[np.ndarray[Any, Any]]) -> Tensor:
    """[n, c, h, w] of pictures [h, w] and [h, w, 3]; grey ones among coloured become grey RGB."""
    if any(p.ndim == 3 for p in pictures):
        pictures = [p if p.ndim == 3 else np.repeat(p[:, :, None], 3, axis=2) for p in pictures]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return torch.from_numpy(np.stack(pictures)).unsqueeze(1)


def _pixels(cell: Any, size: int | None, where: str) -> np.ndarray[Any, Any]:
    """One picture as uint8 [h, w] or [h, w, 3]."""
    pil = need("PIL.Image")
    if not isinstance(cell, Mapping) or (cell.get("bytes") is None and not cell.get("path")):
        raise DataError(f"{where} is missing; remove its row")
    try:
        source = io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"]
        with pil.open(source) as opened:
            picture = _upright(opened).convert(_mode(opened.mode, where))
    except (OSError, ValueError, pil.DecompressionBombError) as error:
        reason = str(error).partition(" <")[0].replace("\n", " ")  # without the object's address
        raise DataError(f"{where} cannot be decoded ({reason}); replace or remove it") from error
    if size is not None:
        picture = picture.resize((size, size), pil.Resampling.BILINEAR)
    return np.asarray(picture)


def _upright(picture: Any) -> Any:
    """Turn a photograph the way its EXIF data say."""
    if picture.getexif().get(_ORIENTATION) is None:
        return picture
    return need("PIL.ImageOps").exif_transpose(picture)


def _mode(mode: str, where: str) -> str:
    """`L` for grey, `RGB` for colour; more than eight bits a channel would lose what they mean."""
    if mode in _GREY or mode in _COLOUR:
        return "L" if mode in _GREY else "RGB"
    raise DataError(f"{where} has mode '{mode}', not 8 bits a channel; convert it to 8-bit first")


def _by(pixels: np.ndarray[Any, Any]) -> str:
    return f"{pixels.shape[0]}x{pixels.shape[1]}"
