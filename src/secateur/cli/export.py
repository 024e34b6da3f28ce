"""`secateur export`: an artifact in a form that other programs run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..experiments.finished import network_of, run_folder
from ..exporting import export as write


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("export")(export)


def export(
    artifact: Annotated[Path, typer.Argument(help="folder that secateur saved, or of a run")],
    out: Annotated[Path, typer.Option(help="the file to write")],
    to: Annotated[
        str | None,
        typer.Option(help="pt2, onnx, gguf, state-dict or torchao; else what the suffix says"),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="of GGUF: f32, f16, q8_0 or q4_0; of torchao: int8 or int4"),
    ] = None,
    equal_widths: Annotated[
        bool, typer.Option("--equal-widths", help="of GGUF: zeros up to the widest layer")
    ] = False,
    trust: Annotated[
        list[str] | None, typer.Option(help="package whose code may build the network")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the file")] = False,
) -> None:
    """Write an artifact or what a run left as .pt2, ONNX, GGUF, state dict or torchao's integers, checked."""
    run = run_folder(artifact)
    what, example = (artifact, None) if run is None else network_of(run)
    print(
        write(
            what, out, to=to, example=example, kind=kind, equal_widths=equal_widths,
            trust=tuple(trust or ()), overwrite=overwrite,
        )
    )  # fmt: skip
