"""The examples in the docstrings run, all of them."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import secateur

PACKAGE = Path(secateur.__file__).parent
MODULES = sorted(
    ".".join(("secateur", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
