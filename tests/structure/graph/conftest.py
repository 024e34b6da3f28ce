"""One thread, and quiet libraries."""

from __future__ import annotations

import warnings

import pytest


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
