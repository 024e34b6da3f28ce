"""`secateur measure`: what a network costs, alone or against another."""

from __future__ import annotations

from typing import Annotated

import typer

from ..measure.report import Comparison, Measured
from ..structural import measure as find
from .trace import network_of


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("measure")(measure)


def measure(
    network: Annotated[str, typer.Argument(help="built-in name or package.module:function")],
    against: Annotated[
        str | None, typer.Argument(help="the reference network, to be compared with")
    ] = None,
    data: Annotated[str, typer.Option(help="the data set whose image shape they take")] = "digits",
    batch: Annotated[int, typer.Option(min=1, help="images at a time")] = 16,
    pairs: Annotated[int, typer.Option(min=5, help="timed pairs of a comparison")] = 30,
    network_option: Annotated[
        list[str] | None, typer.Option(help="argument of the networks' constructor, name=value")
    ] = None,
) -> None:
    """Count parameters, MACs, bytes and memory; against another network time both in turn too."""
    model, example = network_of(network, data, network_option or [], batch)
    if against is None:
        print(_alone(find(model, example)))
        return
    other, _ = network_of(against, data, network_option or [], batch)
    print(find(model, example, against=other, pairs=pairs, names=(against, network)))


def _alone(measured: Measured | Comparison) -> str:
    """One line per count."""
    assert isinstance(measured, Measured)
    counts = measured.counts()
    width = max(map(len, counts))
    return "\n".join(f"{what:{width}}  {number:>16,}" for what, number in counts.items())
