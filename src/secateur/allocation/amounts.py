"""Budgets in words: `50%`, `1.2G`, `3.5MB`, `12ms`."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from ..core.errors import PlanError, unknown

What = Literal["macs", "parameters", "megabytes", "latency"]

COUNT = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
UNITS: dict[str, dict[str, float]] = {
    "macs": COUNT,
    "parameters": COUNT,
    "megabytes": {"": 1.0, "b": 1e-6, "kb": 1e-3, "mb": 1.0, "gb": 1e3},
    "latency": {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3},
}
"""What -> unit -> how much it is: of MACs and parameters, 10^6 bytes, milliseconds."""

EXAMPLES = {"macs": "1.2G", "parameters": "3M", "megabytes": "3.5MB", "latency": "12ms"}


def amount(what: str, value: Any) -> tuple[float, bool]:
    """(limit, whether it is a fraction of the dense network) of a budget in words or numbers.

    A percentage and a number below 1 are fractions; every other number is an amount, in multiply-
    accumulates, parameters, megabytes (10^6 bytes) or milliseconds unless it names its unit.

    >>> amount("macs", "50%"), amount("macs", 0.5), amount("macs", "1.2G"), amount("latency", "900us")
    ((0.5, True), (0.5, True), (1200000000.0, False), (0.9, False))
    """
    if what not in UNITS:
        raise unknown("budget", what, get_args(What))
    text = str(value).strip()
    found = re.fullmatch(r"(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)\s*([a-z%]*)", text.lower())
    if isinstance(value, bool) or found is None or found[2] not in (*UNITS[what], "%"):
        raise PlanError(
            f"a budget of {what} is a share of the dense network such as '50%' or 0.5, or an amount "
            f"such as '{EXAMPLES[what]}', not {value!r}"
        )
    number = float(found[1])
    relative = found[2] == "%" or (not found[2] and number <= 1)
    limit = number / 100 if found[2] == "%" else number * UNITS[what].get(found[2], 1)
    if limit <= 0 or (relative and limit >= 1):
        raise PlanError(
            f"a budget of {value} {what} is outside 0 to 100 % of the dense network; it is what stays"
        )
    return limit, relative
