"""Shrink a component's times: the same study on a smaller machine."""

from __future__ import annotations

from typing import Any, TypeVar

from .component import Component
from .time import Time

C = TypeVar("C", bound=Component)


def scale_times(component: C, factor: float) -> C:
    """A copy in which every epoch and iteration count is `factor` times as long, at least one.

    Percentages follow the training anyway and stay; so does zero.

    >>> from secateur.recover import FineTune
    >>> str(scale_times(FineTune(length="100ep"), 0.02).length)
    '2ep'
    """
    fields = type(component).model_fields
    return component.model_copy(
        update={name: _scaled(getattr(component, name), factor) for name in fields}
    )


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, Component):
        return scale_times(value, factor)
    if isinstance(value, Time) and value.unit != "%" and value.value:
        return Time(max(1.0, float(round(value.value * factor))), value.unit)
    return value
