"""How numbers are written: one way for each kind, the same in every table and figure."""

from __future__ import annotations

import math

from ..experiments.statistics import Summary
from .words import Words

NONE = "–"
MINUS = "−"


def percent(share: float | None, digits: int = 2) -> str:
    """A fraction as a percentage without its sign.

    >>> percent(0.9487), percent(None)
    ('94.87', '–')
    """
    return NONE if share is None else signed(100 * share, digits)


def signed(value: float, digits: int = 2, plus: bool = False) -> str:
    """A number with a true minus sign; nan and infinities in words."""
    if not math.isfinite(value):
        return {"inf": "∞", "-inf": f"{MINUS}∞"}.get(str(value), "NaN")
    text = f"{value:+.{digits}f}" if plus else f"{value:.{digits}f}"
    if not float(text):
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def sparsity(share: float) -> str:
    """A sparsity in percent, with more digits the nearer it is to 100.

    >>> sparsity(0.8926), sparsity(0.999)
    ('89.3', '99.90')
    """
    left = 1 - share
    digits = 1 if left >= 0.0095 else math.ceil(round(-math.log10(max(left, 1e-7)), 9)) - 1
    return percent(share, digits)


def density(share: float) -> str:
    """A density in percent, three digits that count.

    >>> density(0.1074), density(0.001), density(1.0), density(0.0)
    ('10.7', '0.100', '100', '0')
    """
    if share in (0, 1):
        return f"{100 * share:.0f}"
    return three(100 * share)


def three(value: float) -> str:
    """Three significant digits, but never fewer digits than the whole part has."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else signed(value)
    rounded = float(f"{value:.2e}")  # 0.009999 counts as 0.0100
    return signed(value, max(0, 2 - math.floor(math.log10(abs(rounded)))))


def millions(count: float | None) -> str:
    """A count in millions.

    >>> millions(11173962), millions(272474), millions(4321)
    ('11.17', '0.272', '0.00432')
    """
    if count is None:
        return NONE
    return f"{count / 1e6:.2f}" if count >= 1e6 else three(count / 1e6)


def accuracy(summary: Summary) -> str:
    """Mean in percent, with the half-width of its interval where there is one.

    >>> accuracy(Summary((0.9, 0.9, 0.93)))
    '91.00 ± 4.30'
    """
    if summary.half is None:
        return percent(summary.mean)
    return f"{percent(summary.mean)} ± {percent(summary.half)}"


def change(summary: Summary | None) -> str:
    """A difference in percentage points, with its sign and interval."""
    if summary is None:
        return NONE
    mean = signed(100 * summary.mean, plus=True)
    return mean if summary.half is None else f"{mean} ± {percent(summary.half)}"


def count(number: int) -> str:
    """A whole number with its thousands apart: `11,173,962`."""
    return f"{number:,}"


def duration(seconds: float, words: Words) -> str:
    """A time in the two largest units that matter.

    >>> duration(3725, Words("en")), duration(64.2, Words("ko"))
    ('1 h 02 min', '1분 04초')
    """
    if seconds < 60:
        return words("unit.seconds", s=f"{seconds:.1f}")
    whole = round(seconds)
    if whole < 3600:
        return words("unit.minutes", m=whole // 60, s=f"{whole % 60:02d}")
    minutes = round(seconds / 60)
    return words("unit.hours", h=minutes // 60, m=f"{minutes % 60:02d}")


def moment(iso: str) -> str:
    """A time in ISO format, to the minute.

    >>> moment("2025-01-02T08:05:59+00:00")
    '2025-01-02 08:05 UTC'
    """
    day, _, time = iso.partition("T")
    zone = " UTC" if time.endswith(("+00:00", "Z")) else ""
    return f"{day} {time[:5]}{zone}".strip()
