"""Analyses over finished runs, or of a network by itself; each returns plain data for the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...core.errors import PlanError, unknown
from . import collapse, connectivity, overlap, sensitivity, transfer

if TYPE_CHECKING:
    from ..runner import Runner

Analysis = Callable[..., dict[str, Any]]

ANALYSES: dict[str, Analysis] = {
    "collapse": collapse.collapse,
    "connectivity": connectivity.connectivity,
    "overlap": overlap.overlap,
    "sensitivity": sensitivity.sensitivity,
    "transfer": transfer.transfer,
}


def analyse(name: str, options: dict[str, Any], runner: Runner) -> dict[str, Any]:
    """Do the analysis `name` with `options` over the runs of a study."""
    if name not in ANALYSES:
        raise unknown("analysis", name, ANALYSES)
    try:
        return ANALYSES[name](runner, **options)
    except TypeError as error:
        if "argument" not in str(error) or name not in str(error):
            raise
        raise PlanError(f"analysis '{name}' cannot take {sorted(options)}: {error}") from error
