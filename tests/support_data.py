"""The marker of tests that need the real data, and where those lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from secateur.data import data_root

ROOT = data_root()
_SKIP = pytest.mark.skipif(
    ROOT is None, reason="no data: set SECATEUR_DATA to the folder with cifar10 and others"
)


def needs_data(test: Callable[..., object]) -> Callable[..., object]:
    """Decorator: skip the test, saying so, where the real data are absent."""
    return pytest.mark.needs_data(_SKIP(test))


def weights(name: str) -> Path:
    """A file of trained weights beside the data folder."""
    assert ROOT is not None
    return ROOT.parent / "models" / name
