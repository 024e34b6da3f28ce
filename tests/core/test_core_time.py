"""Typed times: read, written and turned into steps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import PlanError
from secateur.core.time import UNITS, Time


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [("160ep", 160, "ep"), (" 2000 it ", 2000, "it"), ("75%", 75, "%"), ("0.5ep", 0.5, "ep")],
)
def test_reading(text: str, value: float, unit: str) -> None:
    assert Time.parse(text) == Time(value, unit)


@pytest.mark.parametrize(
    "text", ["160", 160, 1.5, "ep", "-3it", "3 epochs", "", None, True, "nan%"]
)
def test_what_has_no_unit_is_refused(text: object) -> None:
    with pytest.raises(PlanError, match="160ep"):
        Time.parse(text)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_senseless_values_are_refused(value: float) -> None:
    with pytest.raises(PlanError):
        Time(value, "it")


@given(st.floats(0, 1e18), st.sampled_from(sorted(UNITS)))
def test_writing_and_reading_back(value: float, unit: str) -> None:
    """Every digit survives: a million iterations are not 1e+06 and not another number."""
    time = Time(value, unit)
    assert Time.parse(str(time)) == time


@pytest.mark.parametrize(
    ("text", "written"),
    [("1000000it", "1000000it"), ("62560it", "62560it"), ("2.5ep", "2.5ep"), ("100%", "100%")],
)
def test_writing_is_readable(text: str, written: str) -> None:
    assert str(Time.parse(text)) == written


@pytest.mark.parametrize(
    ("text", "steps"), [("2ep", 782), ("0.5ep", 196), ("37it", 37), ("75%", 46920), ("0%", 0)]
)
def test_steps(text: str, steps: int) -> None:
    assert Time.parse(text).steps(steps_per_epoch=391, total=62560) == steps
