"""What every test has in common."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def nothing_is_looked_at_twice() -> None:
    """What is there before a file's tests is garbage now or never: collecting looks at what they make alone.

    Modules of torch and transformers are a million objects, which every collection would go through: half a
    second, wherever the product itself collects.
    """
    gc.collect()
    gc.freeze()
