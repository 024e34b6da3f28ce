"""`secateur trace`: what of a network can go together, and what cannot, with the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from ..artifact.manifest import NAME, read_manifest
from ..core.errors import PlanError
from ..core.extras import need
from ..engine.blockwise.skeleton import read_config
from ..structural import trace as find
from ..structure.graph.capture import SECONDS
from .inputs import example_of, usual
from .networks import ImagesOf, Inputs, NetworkOptions, Shapes, Trusted, network_at

BATCH = 2


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("trace")(trace)


def trace(
    network: Annotated[
        str, typer.Argument(help="built-in name, package.module:function, or a model's folder")
    ],
    data: ImagesOf = None,
    inputs: Shapes = None,
    output: Annotated[
        list[str] | None, typer.Option(help="an output that keeps its size (default: all results)")
    ] = None,
    seconds: Annotated[float, typer.Option(help="the longest the capture may take")] = SECONDS,
    network_option: NetworkOptions = None,
    trust: Trusted = None,
    everything: Annotated[
        bool, typer.Option("--all", help="every tensor of each structure, every frozen dimension")
    ] = False,
) -> None:
    """List the coupled structures of a network: name, kind, units, cost of a unit, what is frozen.

    Of a folder of transformers only the configuration is read: no weights are loaded.
    """
    taken = Inputs(data, inputs or [], BATCH)
    model: nn.Module
    example: Any
    if is_described(Path(network)):
        model, example = described(Path(network), inputs or [])
    else:
        model = network_at(network, taken, network_option or [], trust or [])
        example = taken.of(model)
    for line in find(model, example, outputs=output, seconds=seconds).lines(everything):
        print(line)


def is_described(folder: Path) -> bool:
    """Whether a folder's config.json tells all sizes of its network."""
    if (folder / NAME).exists():
        return (folder / "config.json").exists() and read_manifest(folder).stock
    return folder.is_dir()


def described(folder: Path, inputs: list[str]) -> tuple[nn.Module, Any]:
    """The network of a folder's config.json without weights, and an input for it."""
    transformers = need("transformers", f"the network in '{folder}'")
    config = read_config(folder)
    name = (config.architectures or ["AutoModelForCausalLM"])[0]
    made = getattr(transformers, name, None)
    if made is None:
        raise PlanError(f"'{folder}' is a {name}, which this transformers does not know")
    build = made.from_config if name.startswith("Auto") else made._from_config
    with torch.device("meta"):
        model = build(config).eval()
    return model, example_of(inputs or usual(config, model.main_input_name), "meta")
