"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "secateur.experiments.statistics",
    "secateur.report.about",
    "secateur.report.notation",
    "secateur.report.style",
    "secateur.report.svg.canvas",
    "secateur.report.svg.scale",
    "secateur.report.words",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
