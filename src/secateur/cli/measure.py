"""`secateur measure`: what a network costs, alone or against another."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ..core.errors import PlanError, unknown
from ..folding import fold_batch_norms
from ..measure.latency import processor_clock
from ..measure.report import Comparison, Measured
from ..measure.runtimes import RUNTIMES
from ..structural import measure as find
from .kinds import stood
from .networks import ImagesOf, Inputs, Shapes, Trusted, network_at

FEWEST_PAIRS = 5

OF_A_COMPARISON = ("threads", "runtime", "pairs", "processor_time")
"""Flags that say how two networks are timed; one alone is counted."""


def add(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("measure")(measure)


def measure(
    context: typer.Context,
    network: Annotated[
        str, typer.Argument(help="built-in name, package.module:function, or a model's folder")
    ],
    against: Annotated[
        str | None, typer.Argument(help="the reference network, to be compared with")
    ] = None,
    data: ImagesOf = None,
    inputs: Shapes = None,
    batch: Annotated[str, typer.Option(help="inputs at a time; several are timed: 1,16")] = "16",
    threads: Annotated[
        str | None, typer.Option(help="of the CPU in a comparison, e.g. 1,2; else as torch has it")
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="of a comparison: eager, compile, onnxruntime, or several")
    ] = "eager",
    pairs: Annotated[int, typer.Option(min=FEWEST_PAIRS, help="timed pairs of a comparison")] = 30,
    network_option: Annotated[
        list[str] | None, typer.Option(help="argument of the networks' constructor, name=value")
    ] = None,
    trust: Trusted = None,
    fold: Annotated[
        bool, typer.Option("--fold", help="fold batch norms into the layers before them, on both")
    ] = False,
    processor_time: Annotated[
        bool,
        typer.Option(
            "--processor-time",
            help="seconds of the processor: steadier on a busy machine; 1 thread",
        ),
    ] = False,
    plain: Annotated[bool, typer.Option("--json", help="print the measurement as JSON")] = False,
) -> None:
    """Count parameters, MACs, bytes and memory; against another network time both in turn too.

    MACs and memory are those of the first batch size, or of --input as it is. A folder is one that
    secateur saved, or a model of transformers with its weights.
    """
    if against is None and (given := stood(context, OF_A_COMPARISON)):
        raise PlanError(
            f"{next(iter(given))} is of a comparison; name a second network after '{network}'"
        )
    sizes = _numbers("--batch", batch)
    counts = _numbers("--threads", threads) if threads else []
    if processor_time and counts != [1]:
        raise PlanError("seconds of the processor add up over threads: give --threads 1 with them")
    taken = Inputs(data, inputs or [], sizes[0])
    asked = [where for where in (network, against) if where is not None]
    trusted = [*(trust or ()), *(where.partition(":")[0] for where in asked if ":" in where)]
    model, *others = [network_at(where, taken, network_option or [], trusted) for where in asked]
    example = taken.of(model)
    if fold:
        model, *others = [fold_batch_norms(net, example) for net in (model, *others)]
    if against is None:
        found = find(model, example)
    else:
        found = find(
            model, example, against=others[0], names=(against, network), pairs=pairs,
            batch_sizes=sizes,
            threads=counts,
            runtimes=_runtimes(runtime),
            timer=processor_clock if processor_time else None,
        )  # fmt: skip
    print(json.dumps(_plain(found), indent=2) if plain else _lines(found))


def _numbers(option: str, words: str) -> list[int]:
    """`1,2` as numbers of 1 or more."""
    parts = [part.strip() for part in words.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise PlanError(f"{option} takes numbers from 1 on, e.g. 1,16; not '{words}'")
    return list(dict.fromkeys(map(int, parts)))


def _runtimes(words: str) -> list[str]:
    """`eager,compile` as names that there are."""
    names = [name.strip() for name in words.split(",")]
    for name in names:
        if name not in RUNTIMES:
            raise unknown("runtime", name, RUNTIMES)
    return list(dict.fromkeys(names))


def _plain(found: Measured | Comparison) -> dict[str, Any]:
    """What was measured, as plain data."""
    if isinstance(found, Measured):
        work = found.run_time
        return {"counts": found.counts()} | ({"run_time": work.plain()} if work is not None else {})
    second, first = found.names[1], found.names[0]
    return {
        "network": {"name": second, "counts": found.b.counts()},
        "reference": {"name": first, "counts": found.a.counts()},
        "latency": [
            {
                **asdict(row.setting),
                "reference_seconds": row.a,
                "network_seconds": row.b,
                "speedup": {**asdict(row.speedup), "verdict": row.speedup.verdict},
                "pairs": row.pairs,
            }
            for row in found.latency
        ],
        "verdict": found.verdict,
        "sentence": found.sentence,
        "mac_ratio": found.mac_ratio,
        "reasons": found.reasons,
    }


def _lines(found: Measured | Comparison) -> str:
    """A comparison as it prints itself; of one network a line per count."""
    if isinstance(found, Comparison):
        return str(found)
    counts = found.counts()
    width = max(map(len, counts))
    lines = [f"{what:{width}}  {number:>16,}" for what, number in counts.items()]
    return "\n".join(lines + (found.run_time.lines() if found.run_time is not None else []))
