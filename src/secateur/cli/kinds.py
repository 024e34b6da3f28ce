"""Flags of `secateur prune` that go with one kind of network are refused with the other."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from ..core.errors import PlanError

IMAGES = {
    "weights": "its weights are those of its folder",
    "trained": "it comes trained",
    "train": "--recover trains it after the pruning",
    "preset": "--training says how a recovery trains",
    "network_option": "its config.json says what it is built of",
    "data_option": "--samples, --length and --padded say how its texts are read",
    "trust": "its class is one of transformers",
}
"""Flag -> why a language model has no use for it."""

LANGUAGE = {
    "samples": "scores see 1,024 of the training images",
    "length": "images have the size of the data",
    "permute": "orders are found block by block",
    "padded": "images have the size of the data",
    "activations": "the whole network lies in memory",
    "compare": "its accuracy is always measured",
    "recover": "a method's own options say it elsewhere",
    "tasks": "it answers no questions",
    "task_folder": "it answers no questions",
    "task_limit": "it answers no questions",
}
"""Flag -> why a network of images has no use for it."""


def refuse(context: typer.Context, language: bool) -> None:
    """Refuse the first flag given that the network has no use for; nothing is passed over.

    Args:
        context: knows which flags stood on the command line.
        language: whether the network is a language model.
    """
    kind, other = "a language model", "networks of images"
    if not language:
        kind, other = "a network of images", "language models"
    reasons = IMAGES if language else LANGUAGE
    for flag, name in stood(context, reasons).items():
        raise PlanError(f"{flag} is for {other}; this is {kind}: {reasons[name]}")


def stood(context: typer.Context, names: Iterable[str]) -> dict[str, str]:
    """Flag -> name, of those of the names that stood on the command line, as `--data-option`."""
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source and source.name != "DEFAULT"]
    return {"--" + name.replace("_", "-"): name for name in given}
