"""`secateur advise`: which method, for a goal, under constraints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..advice import Need, advise
from ..core.recipe import Recipe
from .language import is_language_model


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("advise")(find)


def find(
    network: Annotated[
        str | None, typer.Argument(help="the network, as `secateur prune` takes it")
    ] = None,
    goal: Annotated[
        str,
        typer.Option(help="speed (and memory at run time), a smaller file, or a sparse network"),
    ] = "speed",
    data: Annotated[
        str, typer.Option(help="what there is of it: nothing, inputs, labels (texts: inputs)")
    ] = "labels",
    training: Annotated[bool, typer.Option("--training", help="it may be trained")] = False,
    untrained: Annotated[bool, typer.Option("--untrained", help="it comes untrained")] = False,
    language: Annotated[
        bool, typer.Option("--language-model", help="it is one; a folder is looked into")
    ] = False,
    hardware: Annotated[
        str, typer.Option(help="plain, or 2:4 where such matrices multiply faster")
    ] = "plain",
    share: Annotated[float, typer.Option(help="of the weights or the work that is to go")] = 0.5,
    most: Annotated[int, typer.Option(min=1, help="methods to show in full")] = 3,
) -> None:
    """Say which methods meet a goal with what there is, the best measured first."""
    speaks = language or (network is not None and is_language_model(network))
    need = Need(
        goal=goal,  # type: ignore[arg-type]  # checked by Need, in one line
        network="language-model" if speaks else "network",
        data=data,  # type: ignore[arg-type]
        trained=not untrained,
        training=training,
        hardware=hardware,  # type: ignore[arg-type]
        share=share,
    )
    folder = Path(network) if speaks and network is not None else None
    unfit = _unfit(folder) if folder is not None and folder.is_dir() else None
    print(advise(need, at=network or "MODEL", unfit=unfit).text(most))


def _unfit(folder: Path) -> Callable[[Recipe], str]:
    """Why a recipe does not do for a language model's folder on this machine: for want of memory."""
    from ..language import short_of_memory

    return lambda recipe: short_of_memory(folder, recipe)
