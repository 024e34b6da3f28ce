"""The current folder as a place to import from, for as long as something is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def current_folder(first: bool) -> Iterator[None]:
    """The current folder on the import path; an installed command does not have it there.

    Args:
        first: before everything, as `python -m` has it, for code that the user names. Else last: a
            file that came along with an artifact takes no installed package's place.
    """
    here = str(Path.cwd())
    sys.path.insert(0 if first else len(sys.path), here)
    try:
        yield
    finally:
        if first:
            sys.path.remove(here)
        else:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(here)]
