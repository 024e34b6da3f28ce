"""Checked number types that schedules share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from ..core.density import as_density


def _density(value: float) -> float:
    return as_density(density=value)


Density = Annotated[float, AfterValidator(_density)]
"""A fraction kept, in (0, 1]."""
