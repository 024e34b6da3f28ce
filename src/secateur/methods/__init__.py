"""The catalogue: published methods as functions that return a `Recipe`."""

from . import (
    at_init,
    basic,
    channels,
    depth,
    filters,
    heads,
    llm_depth,
    llm_structured,
    llm_weights,
    shared,
    slimming,
    smart_farm,
    structured,
    tickets,
    while_training,
)

__all__ = [
    "at_init",
    "basic",
    "channels",
    "depth",
    "filters",
    "heads",
    "llm_depth",
    "llm_structured",
    "llm_weights",
    "shared",
    "slimming",
    "smart_farm",
    "structured",
    "tickets",
    "while_training",
]
