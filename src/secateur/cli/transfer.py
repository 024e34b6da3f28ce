"""`secateur transfer`: the masks of a pruned network on another one, for another task or of another depth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from ..core.errors import PlanError
from ..saving import save
from ..structure.elastic import Order
from ..transferring import transfer as move
from .networks import ImagesOf, Inputs, NetworkOptions, Shapes, Trusted, network_at
from .words import numbers

ORDERS = ("interpolated", "appended")


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("transfer")(transfer)


def transfer(
    ticket: Annotated[
        Path, typer.Argument(help="folder that secateur saved, or a run's model.safetensors")
    ],
    network: Annotated[
        str, typer.Argument(help="built-in name, package.module:function, or a folder")
    ],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    data: ImagesOf = None,
    inputs: Shapes = None,
    start: Annotated[
        Path | None,
        typer.Option(help="the same, for values to begin with; of a run: step-0.safetensors"),
    ] = None,
    order: Annotated[
        str, typer.Option(help="of blocks repeated or left out: interpolated or appended")
    ] = "interpolated",
    blocks: Annotated[
        list[str] | None,
        typer.Option(help="which of the ticket's blocks stands for each: layer1=0,1,1,2,2"),
    ] = None,
    dense: Annotated[
        list[str] | None, typer.Option(help="name or pattern of parameters that stay dense")
    ] = None,
    network_option: NetworkOptions = None,
    trust: Trusted = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace an artifact at --out")
    ] = False,
) -> None:
    """Put the masks of a pruned network on another, for another task or of another depth.

    `secateur prune OUT --method transferred-ticket` then trains it, and the masks hold.
    """
    if order not in ORDERS:
        raise PlanError(f"--order '{order}' is unknown; choose {' or '.join(ORDERS)}")
    taken = Inputs(data, inputs or [], 2)
    moved = move(
        ticket,
        network_at(network, taken, network_option or [], trust or []),
        start=start,
        order=cast(Order, order),
        blocks=dict(_pair(words) for words in blocks or []),
        dense=dense or (),
        trust=trust or (),
    )
    save(moved.model, out, overwrite=overwrite)
    print(
        f"{len(moved.masks)} masks moved, {100 * moved.sparsity:.2f} % of their weights are zero; "
        f"{len(moved.begun)} tensors have the values of --start; saved in {out}"
    )


def _pair(words: str) -> tuple[str, tuple[int, ...]]:
    path, equals, text = words.partition("=")
    if not equals:
        raise PlanError(f"--blocks '{words}' names no blocks; write layer1=0,1,1,2")
    return path, tuple(numbers(text, f"--blocks {path}:"))
