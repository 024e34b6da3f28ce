"""Where data lie on this machine, and where decoded copies are kept."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.errors import StorageError


def data_root() -> Path | None:
    """The folder of data sets: `SECATEUR_DATA`, else `../shared/data` if that exists, else None."""
    named = os.environ.get("SECATEUR_DATA")
    if named:
        root = Path(named).expanduser()
        if not root.is_dir():
            raise StorageError(
                f"SECATEUR_DATA names '{named}', which is no folder; correct it or unset it"
            )
        return root
    beside = Path("..", "shared", "data")
    return beside.resolve() if beside.is_dir() else None


def cache_dir() -> Path:
    """The folder of decoded copies: `SECATEUR_CACHE`, else the user's cache folder."""
    named = os.environ.get("SECATEUR_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "secateur" / "data"
