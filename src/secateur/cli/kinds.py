"""Flags of `secateur prune` that go with one kind of network are refused with the other."""

from __future__ import annotations

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
    for name, why in (IMAGES if language else LANGUAGE).items():
        source = context.get_parameter_source(name)
        if source is None or source.name == "DEFAULT":
            continue
        flag = "--" + name.replace("_", "-")
        raise PlanError(f"{flag} is for {other}; this is {kind}: {why}")
