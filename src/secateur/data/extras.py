"""Libraries that only some data sets need."""

from __future__ import annotations

import importlib
from typing import Any

from ..core.errors import PlanError


def need(module: str) -> Any:
    """Import a library of the `image` extra, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise PlanError(
            f"this needs '{error.name}', which is not installed; pip install 'secateur[image]'"
        ) from None
