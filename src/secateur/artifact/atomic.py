"""A file is either what it was or what it becomes, never half of each."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..core.errors import StorageError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file would be larger than this system allows",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission is denied; choose another folder or change its permissions",
    errno.EPERM: "the operation is not permitted; choose another folder or change its permissions",
    errno.ENOENT: "there is no such file or folder; check the path or create the folder first",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EEXIST: "it exists already and would be overwritten; ask for overwrite or name another",
    errno.EIO: "the disk reported an error",
}


def storage_error(error: OSError, path: str | os.PathLike[str], action: str) -> StorageError:
    """A `StorageError` that says in one sentence why `action` on `path` failed and what to do.

    >>> str(storage_error(OSError(errno.ENOSPC, ""), "a.bin", "write"))
    "cannot write 'a.bin': the disk is full; free some space or choose another folder"
    """
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"cannot {action} '{os.fspath(path)}': {reason}")


def atomic_write(
    path: str | os.PathLike[str], writer: Callable[[BinaryIO], object], *, overwrite: bool = True
) -> None:
    """Let `writer` fill a new file that takes the place of `path` in one step.

    The bytes go to a temporary file in the same folder, are synced to the disk, and the file is
    then renamed over `path` and the folder synced. Whatever fails on the way, a full disk, a dying
    process, an exception of `writer`, leaves the previous file as it was. A symbolic link is
    followed, and an existing file keeps its permissions.

    Args:
        path: the file to write; its folder must exist.
        writer: gets a binary file open for writing; its own exceptions pass through, but an
            `OSError` becomes a `StorageError`.
        overwrite: False refuses, without a race, when `path` exists.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> atomic_write(folder / "a.bin", lambda file: file.write(b"new"))
    >>> (folder / "a.bin").read_bytes()
    b'new'
    """
    final = Path(os.path.realpath(path))
    temporary = final.with_name(f"{_prefix(final)}{secrets.token_hex(4)}.tmp")
    try:
        _refuse(final, overwrite)
        try:
            _fill(temporary, writer, final)
            _put(temporary, final, overwrite)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path, "write") from error
    _sync_folder(final)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """`atomic_write` of bytes that are already there."""
    atomic_write(path, lambda file: file.write(data), overwrite=overwrite)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The whole file, or a `StorageError` that says why it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise storage_error(error, path, "read") from error


def sweep(path: str | os.PathLike[str]) -> int:
    """Delete what killed processes left behind while writing `path`; call it with no writer active.

    Returns how many temporary files there were.
    """
    final = Path(os.path.realpath(path))
    try:
        leftovers = list(final.parent.glob(f"{_prefix(final)}*.tmp"))
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path, "clean up after") from error
    return len(leftovers)


def _prefix(final: Path) -> str:
    """A hidden name bound to the target, short even where the target's own name is at the limit."""
    return f".secateur-{hashlib.sha256(os.fsencode(final.name)).hexdigest()[:12]}-"


def _refuse(final: Path, overwrite: bool) -> None:
    if final.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not overwrite and final.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _fill(temporary: Path, writer: Callable[[BinaryIO], object], final: Path) -> None:
    """Write, flush and sync the temporary file, with the permissions the final one should have."""
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(descriptor, "wb") as file:
        if final.exists():
            os.fchmod(descriptor, final.stat().st_mode & 0o777)
        writer(file)
        file.flush()
        os.fsync(descriptor)


def _put(temporary: Path, final: Path, overwrite: bool) -> None:
    """Give the temporary file its final name."""
    if overwrite:
        os.replace(temporary, final)
        return
    try:
        os.link(temporary, final)  # unlike a rename, fails where somebody was quicker
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        _refuse(final, overwrite)  # a file system without hard links: the check just before is all
        os.replace(temporary, final)


def _sync_folder(final: Path) -> None:
    """Make the new name survive a power cut, where the file system can sync folders at all."""
    try:
        descriptor = os.open(final.parent, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        unsupported = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF)
        if error.errno not in unsupported:
            action = "be sure of the new name (its content is complete) of"
            raise storage_error(error, final, action) from error
