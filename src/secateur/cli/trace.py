"""`secateur trace`: what of a network can go together, and what cannot, with the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from ..core.errors import PlanError
from ..data import load
from ..engine.blockwise.skeleton import read_config
from ..models import build_seeded
from ..structural import trace as find
from ..structure.graph.capture import SECONDS
from .inputs import example_of, usual
from .words import settings


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("trace")(trace)


def trace(
    network: Annotated[
        str, typer.Argument(help="built-in name, package.module:function, or a model's folder")
    ],
    data: Annotated[str, typer.Option(help="the data set whose image shape it takes")] = "digits",
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="an input's shape instead: 2x3x32x32, input_ids=2x16:int64"),
    ] = None,
    output: Annotated[
        list[str] | None, typer.Option(help="an output that keeps its size (default: all results)")
    ] = None,
    seconds: Annotated[float, typer.Option(help="the longest the capture may take")] = SECONDS,
    network_option: Annotated[
        list[str] | None, typer.Option(help="argument of the network's constructor, name=value")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="every tensor of each structure, every frozen dimension")
    ] = False,
) -> None:
    """List the coupled structures of a network: name, kind, units, cost of a unit, what is frozen.

    Of a folder with a config.json only the configuration is read: no weights are loaded.
    """
    example: Any
    if Path(network).is_dir():
        model, example = described(Path(network), inputs or [])
    else:
        model, example = network_of(network, data, network_option or [])
        example = example_of(inputs) if inputs else example
    for line in find(model, example, outputs=output, seconds=seconds).lines(everything):
        print(line)


def network_of(
    network: str, data: str, options: list[str], batch: int = 2
) -> tuple[nn.Module, torch.Tensor]:
    """An untrained network for a data set, and zeros of the shape of its images."""
    found = load(data)
    model = build_seeded(
        network, 0, num_classes=found.num_classes, in_channels=found.in_channels,
        image_size=found.image_size, **settings(options),
    )  # fmt: skip
    return model.eval(), torch.zeros(batch, *found.train.shape)


def described(folder: Path, inputs: list[str]) -> tuple[nn.Module, Any]:
    """The network of a folder's config.json without weights, and an input for it."""
    import transformers

    config = read_config(folder)
    name = (config.architectures or ["AutoModelForCausalLM"])[0]
    made = getattr(transformers, name, None)
    if made is None:
        raise PlanError(f"'{folder}' is a {name}, which this transformers does not know")
    build = made.from_config if name.startswith("Auto") else made._from_config
    with torch.device("meta"):
        model = build(config).eval()
    return model, example_of(inputs or usual(config, model.main_input_name), "meta")
