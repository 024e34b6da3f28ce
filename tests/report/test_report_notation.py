"""How numbers are written."""

from __future__ import annotations

import pytest

from secateur.experiments.statistics import Summary
from secateur.report import notation as say
from secateur.report.words import Words


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0"),
        (0.5, "50.0"),
        (0.98, "98.0"),
        (0.995, "99.50"),
        (0.999, "99.90"),
        (0.9999, "99.990"),
    ],
)
def test_sparsity_has_digits_where_they_matter(share, text):
    assert say.sparsity(share) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1.0, "100"), (0.0, "0"), (0.512, "51.2"), (0.08, "8.00"), (0.0012345, "0.123")],
)
def test_density_has_three_digits(share, text):
    assert say.density(share) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(11173962, "11.17"), (44695848, "44.70"), (9999, "0.0100"), (0, "0"), (None, "–")],
)
def test_millions(count, text):
    assert say.millions(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1.5, "−1.50"),
        (2.0, "+2.00"),
        (-0.001, "0.00"),
        (float("nan"), "NaN"),
        (float("-inf"), "−∞"),
    ],
)
def test_signed_numbers_have_a_true_minus(value, text):
    assert say.signed(value, plus=True) == text


def test_an_interval_only_where_there_is_one():
    assert say.accuracy(Summary((0.9487,))) == "94.87"
    assert say.accuracy(Summary((0.90, 0.92))) == "91.00 ± 12.71"
    assert say.change(Summary((-0.01, -0.01, -0.01))) == "−1.00 ± 0.00"
    assert say.change(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_durations(seconds, text):
    assert say.duration(seconds, Words("en")) == text
