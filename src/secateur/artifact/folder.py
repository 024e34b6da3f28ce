"""A folder is either what it was or what it becomes, as `atomic` has it for a file."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from ..core.errors import StorageError
from .atomic import storage_error


def atomic_folder(
    path: str | os.PathLike[str],
    fill: Callable[[Path], object],
    may_replace: Callable[[Path], bool] | None = None,
) -> None:
    """Let `fill` write the files of a new folder that takes the place of `path` at once.

    The files go to a hidden folder beside `path`, are synced to the disk, and the folder is then
    renamed. Whatever fails on the way leaves what was there. A link at `path` itself is followed;
    links inside are never.

    Args:
        path: the folder; missing or empty unless `may_replace` agrees to what it holds.
        fill: gets the hidden folder; an `OSError` becomes a `StorageError`.
        may_replace: whether a folder that holds something may go.
    """
    final = Path(os.path.realpath(path))
    hidden = final.with_name(f".secateur-{secrets.token_hex(6)}.tmp")
    try:
        _refuse(final, may_replace)
        hidden.mkdir()
        try:
            fill(hidden)
            _sync(hidden)
            _refuse(final, may_replace)
            _put(hidden, final)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        _sync_one(final.parent)
    except OSError as error:
        raise storage_error(error, path, "write") from error


def _refuse(final: Path, may_replace: Callable[[Path], bool] | None) -> None:
    if not final.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not final.exists():
        return
    if not final.is_dir():
        raise StorageError(f"'{final}' is a file; name a folder")
    if any(final.iterdir()) and (may_replace is None or not may_replace(final)):
        raise StorageError(
            f"the folder '{final}' is not empty; name a new one, or pass overwrite=True where it "
            "is an older artifact and nothing else"
        )


def _put(hidden: Path, final: Path) -> None:
    """Rename; an older folder steps aside first and comes back where that fails."""
    if not final.exists() or not any(final.iterdir()):
        os.replace(hidden, final)
        return
    aside = hidden.with_suffix(".old")
    os.replace(final, aside)
    try:
        os.replace(hidden, final)
    except BaseException:
        os.replace(aside, final)
        raise
    shutil.rmtree(aside)


def _sync(folder: Path) -> None:
    """Bring every file below `folder`, and the names, to the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            _sync_one(Path(place, name))
        _sync_one(Path(place))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that syncs no folders
            raise
    finally:
        os.close(descriptor)
