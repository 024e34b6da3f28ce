"""Checked number types that schedules share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from ..core.density import as_density


def _density(value: float) -> float:
    return as_density(density=value)


Density = Annotated[float, AfterValidator(_density)]
"""A fraction kept, in (0, 1]."""

Share = Annotated[float, Field(gt=0, lt=1)]
"""A part of something, strictly between none and all."""

Rounds = Annotated[int, Field(ge=1)]
"""How often; at least once."""
