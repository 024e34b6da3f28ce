"""Typed training time: `160ep`, `2000it` or `75%`, never a bare number that could be any of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from .errors import PlanError

UNITS = {"ep": "epochs", "it": "iterations", "%": "percent of the training length"}
_FORM = re.compile(r"^\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(ep|it|%)\s*$")


@dataclass(frozen=True)
class Time:
    """A point or a length of training: `value` in `unit`.

    >>> Time.parse("160ep").steps(steps_per_epoch=391, total=0)
    62560
    >>> Time.parse("50%").steps(steps_per_epoch=10, total=300), str(Time.parse("2000it"))
    (150, '2000it')
    """

    value: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in UNITS or not 0 <= self.value < math.inf:
            raise PlanError(
                f"time {self.value}{self.unit} is not a time; write e.g. 160ep, 2000it or 75%"
            )

    @classmethod
    def parse(cls, text: Any) -> Time:
        """Read `160ep`, `2000it` or `75%`; a bare number is refused because it could be either."""
        if isinstance(text, Time):
            return text
        found = _FORM.match(str(text))
        if not found:
            raise PlanError(
                f"time '{text}' has no unit; write e.g. 160ep (epochs), 2000it (iterations) or 75%"
            )
        return cls(float(found[1]), found[2])

    def steps(self, steps_per_epoch: int, total: int) -> int:
        """This time in optimiser steps; `total` is the training length that `%` refers to."""
        scale = {"ep": steps_per_epoch, "it": 1, "%": total / 100}[self.unit]
        return round(self.value * scale)

    def __str__(self) -> str:
        value = int(self.value) if self.value == int(self.value) else self.value
        return f"{value}{self.unit}"


START = Time(0, "it")
END = Time(100, "%")

TimeField = Annotated[Time, BeforeValidator(Time.parse), PlainSerializer(str)]
