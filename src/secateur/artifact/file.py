"""A pruned state dict in one safetensors file: kept values, coded masks, digests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..core.errors import StorageError
from .atomic import atomic_write
from .container import Container, write_container
from .entries import from_text, to_text
from .state import SparseState, decode_state, encode_state


def save_sparse(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    masks: Mapping[str, Tensor] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write `state` so that every tensor with a mask takes only its kept values and the mask.

    A tensor with a mask is stored as its kept values in row-major order plus the mask, coded in
    whichever way is smallest; one without is stored as it is. A tensor whose kept values are few (at
    most 255, as weight sharing leaves them) is stored as a codebook with Huffman-coded indices and
    distances, where that is smaller; see `shared.share`. Two names for one tensor (tied
    weights) are stored once. The file is an ordinary safetensors file with a JSON description and
    SHA-256 digests in its metadata, and it appears in one step: a failure leaves what was there.

    Args:
        path: the file; an existing one is replaced only if `save_sparse` wrote it.
        state: name → tensor on any device; values are kept bit for bit, except that a pruned −0
            comes back as +0.
        masks: name → boolean tensor of the same shape, True = keep; all pruned values must be zero.
            None: every tensor is stored as it is, so that any reader of safetensors has it.
        overwrite: replace a file of any origin.

    >>> import tempfile, torch
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> weight = torch.tensor([0.0, 2.0, 0.0, -1.0])
    >>> save_sparse(path, {"weight": weight}, {"weight": weight != 0})
    >>> load_sparse(path)["weight"].tolist()
    [0.0, 2.0, 0.0, -1.0]
    """
    entries, stored = encode_state(state, masks)
    atomic_write(
        path,
        lambda file: write_container(file, stored, to_text(entries)),
        overwrite=overwrite or is_sparse_file(path),
    )


def load_sparse(path: str | os.PathLike[str], *, limit: int | None = None) -> dict[str, Tensor]:
    """The state dict of a file of `save_sparse`, bit for bit; see `read_sparse`."""
    return read_sparse(path, limit=limit).state


def read_sparse(
    path: str | os.PathLike[str], *, limit: int | None = None, expected: str | None = None
) -> SparseState:
    """The state dict and the masks of a file of `save_sparse`, every byte checked.

    A file that is cut, changed, hostile or of a newer version ends in a `StorageError`. Names for
    one tensor share it again. Nothing from the file is executed.

    Args:
        path: the file.
        limit: the most bytes the loaded tensors may take; the machine's memory by default.
        expected: the digest of the header (`Container.digest`) that the file must have.
    """
    allowed = memory() if limit is None else limit
    with Container(Path(path), expected) as container:
        try:
            return decode_state(from_text(container.text), container, allowed)
        except StorageError as error:
            raise StorageError(f"cannot load '{os.fspath(path)}': {error}") from error


def memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_sparse_file(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is an existing file of `save_sparse` with a sound header."""
    try:
        with Container(Path(path)) as container:
            from_text(container.text)
    except StorageError:
        return False
    return True
