"""`secateur trace`: what of a network can go together, and what cannot, with the reasons."""

from __future__ import annotations

from typing import Annotated

import torch
import typer

from ..data import load
from ..models import build_seeded
from ..structural import trace as find
from .words import settings


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("trace")(trace)


def trace(
    network: Annotated[str, typer.Argument(help="built-in name or package.module:function")],
    data: Annotated[str, typer.Option(help="the data set whose image shape it takes")] = "digits",
    network_option: Annotated[
        list[str] | None, typer.Option(help="argument of the network's constructor, name=value")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="every tensor of each structure, every frozen dimension")
    ] = False,
) -> None:
    """List the coupled structures of a network: name, kind, units, cost of a unit, what is frozen."""
    model, example = network_of(network, data, network_option or [])
    for line in find(model, example).lines(everything):
        print(line)


def network_of(
    network: str, data: str, options: list[str], batch: int = 2
) -> tuple[torch.nn.Module, torch.Tensor]:
    """An untrained network for a data set, and zeros of the shape of its images."""
    found = load(data)
    model = build_seeded(
        network, 0, num_classes=found.num_classes, in_channels=found.in_channels,
        image_size=found.image_size, **settings(options),
    )  # fmt: skip
    return model.eval(), torch.zeros(batch, *found.train.shape)
