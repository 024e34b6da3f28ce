"""`secateur prune` where the network is a language model: a folder, or a name on the hub."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..core.errors import PlanError

HUB = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Asked:
    """What the command line asks of a language model."""

    model: str
    method: str
    out: Path
    data: str | None
    samples: int
    length: int | None
    padded: bool
    seed: int
    activations: str
    compare: bool

    @property
    def where(self) -> Literal["memory", "disk"]:
        """Where activations are kept."""
        if self.activations not in ("memory", "disk"):
            raise PlanError(f"activations are kept in memory or on disk, not '{self.activations}'")
        return cast(Literal["memory", "disk"], self.activations)

    def sampling(self) -> Any:
        """The sampling, within the model's context where no length is given."""
        from dataclasses import replace

        from ..language import fitting, local
        from ..text.calibration import Sampling

        source = local(self.model)
        default = fitting(source, None, self.seed)
        chosen = replace(default, samples=self.samples, packed=not self.padded)
        if self.length is None:
            return chosen
        return fitting(
            source, Sampling(self.samples, self.length, packed=not self.padded), self.seed
        )


def is_language_model(network: str) -> bool:
    """Whether a network's name is a folder, or looks like a model's name on the hub."""
    return Path(network).is_dir() or bool(HUB.fullmatch(network))


def show(asked: Asked, options: dict[str, Any]) -> None:
    """Print the plan with the size and memory it takes."""
    from ..language import plan_folder

    print(
        plan_folder(
            asked.model, asked.method, sampling=asked.sampling(), activations=asked.where, **options
        )
    )


def carry_out(asked: Asked, options: dict[str, Any]) -> None:
    """Prune the model; say what was done and where it lies."""
    from ..language import plan_folder, prune_folder

    sampling = asked.sampling()
    plan = plan_folder(
        asked.model, asked.method, sampling=sampling, activations=asked.where, **options
    )
    print(plan)
    with Blocks(plan.blocks) as bar:
        done = prune_folder(
            asked.model,
            asked.method,
            asked.out,
            data=asked.data,
            sampling=sampling,
            compare=asked.compare,
            seed=asked.seed,
            activations=asked.where,
            progress=bar,
            **options,
        )
    for line in summary(done.record):
        print(line)
    print(f"model:  {done.folder}\nrecord: {done.folder / 'secateur.json'}")


def summary(record: dict[str, Any]) -> list[str]:
    """The figures in a few lines."""
    lines = [f"removed {record['sparsity']:.2%} of {record['units']:,} weights"]
    found = record.get("perplexity")
    if found:
        where = "held-out texts" if found["held_out"] else "the calibration texts"
        before, after = found["dense"]["perplexity"], found["pruned"]["perplexity"]
        lines.append(f"perplexity on {where}: {before:.3f} dense, {after:.3f} pruned")
    few = [r for r in record["layers"] if r.get("samples", 1) < r.get("inputs", 1)]
    if few:
        lines.append(
            f"{len(few)} layers saw fewer tokens than they have inputs; give more calibration data"
        )
    return lines


class Blocks:
    """A bar over the blocks with the time left; a line each on a plain stream."""

    def __init__(self, blocks: int) -> None:
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("blocks"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("blocks", total=blocks)

    def __enter__(self) -> Blocks:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """One block is done."""
        self._bar.update(self._task, completed=event["done"])
        if not self._console.is_terminal:
            self._console.print(
                f"block {event['done']}/{event['blocks']} {event['name']}, "
                f"{event['left']:.0f} s left",
                highlight=False,
            )
