"""One process per run: a lock that the system releases however the process ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..artifact import storage_error


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock; yields False where another process holds it.

    The folder is created. The lock is the system's own (`flock`), so a killed process leaves no
    stale lock behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise storage_error(error, folder, "use") from error
    try:
        yield _take(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def awaited(folder: Path, poll: float = 0.5) -> Iterator[None]:
    """Hold the folder's lock, as soon as every other process has let go of it."""
    while True:
        with held(folder) as mine:
            if mine:
                yield
                return
        time.sleep(poll)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
