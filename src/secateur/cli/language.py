"""`secateur prune` where the network is a language model: a folder, or a name on the hub."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..api import recipe
from ..artifact.card import task_rows
from ..core.errors import PlanError
from ..core.recipe import Recipe
from ..engine.blockwise.called import uncalled
from ..engine.blockwise.describe import reordered
from ..engine.plan import nothing_of
from ..engine.train import Training, preset
from ..experiments.pretrained import takes_images
from ..models.registry import BUILT_IN
from .progress import decided
from .words import settings

if TYPE_CHECKING:
    from ..language import Tasks

HUB = re.compile(r"\w[\w.-]*/[\w.-]+")
EVERY = 10
"""Of so many generations of a search one is told."""


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
    recover: str | None = None
    training: tuple[str, ...] = ()
    tasks: str | None = None
    task_folder: Path | None = None
    task_limit: int | None = None
    device: str = "auto"

    @property
    def where(self) -> Literal["memory", "disk"]:
        """Where activations are kept."""
        if self.activations not in ("memory", "disk"):
            raise PlanError(f"activations are kept in memory or on disk, not '{self.activations}'")
        return cast(Literal["memory", "disk"], self.activations)

    def recipe(self, options: dict[str, Any]) -> Recipe:
        """The method with its options, and the recovery asked for beside them."""
        made = recipe(self.method, **options)
        return made if self.recover is None else with_recovery(made, self.recover)

    def trained(self) -> Training | None:
        """How a recovery trains, where anything is said of it."""
        given = settings(self.training)
        return Training(**{**preset("language").model_dump(), **given}) if given else None

    def asked_tasks(self) -> Tasks | None:
        """The lm-eval tasks; without any, what would go with them is refused."""
        from ..language import Tasks

        names = [name.strip() for name in (self.tasks or "").split(",") if name.strip()]
        if names:
            return Tasks(names, self.task_folder, self.task_limit)
        if self.task_folder is not None or self.task_limit is not None:
            raise PlanError("--task-folder and --task-limit go with --tasks, which names none")
        return None

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


def with_recovery(made: Recipe, words: str) -> Recipe:
    """A recipe with the recovery of words like `lora=2ep` or `fine-tune=1ep`."""
    name, equals, length = words.partition("=")
    if not equals or name not in ("lora", "fine-tune"):
        raise PlanError(f"recovery '{words}' is not known; write lora=2ep or fine-tune=1ep")
    plain = {**made.to_dict(), "recovery": {"name": name, "length": length}}
    return Recipe.from_plain(plain)


def is_language_model(network: str) -> bool:
    """Whether a network's name is a language model's folder, or looks like a name on the hub."""
    folder = Path(network)
    if network in BUILT_IN:
        return False
    return not takes_images(folder) if folder.is_dir() else bool(HUB.fullmatch(network))


def show(asked: Asked, options: dict[str, Any]) -> None:
    """Print the plan with the size and memory it takes."""
    from ..language import plan_folder

    print(
        plan_folder(
            asked.model,
            asked.recipe(options),
            sampling=asked.sampling(),
            activations=asked.where,
        )
    )


def carry_out(asked: Asked, options: dict[str, Any]) -> None:
    """Prune the model; say what was done and where it lies."""
    from ..language import plan_folder, prune_folder

    sampling, recipe, tasks = asked.sampling(), asked.recipe(options), asked.asked_tasks()
    plan = plan_folder(asked.model, recipe, sampling=sampling, activations=asked.where)
    print(plan)
    with Blocks(plan.blocks) as bar:
        done = prune_folder(
            asked.model,
            recipe,
            asked.out,
            data=asked.data,
            sampling=sampling,
            compare=asked.compare,
            seed=asked.seed,
            activations=asked.where,
            device=asked.device,
            training=asked.trained(),
            tasks=tasks,
            progress=bar,
        )
    for line in summary(done.record):
        print(line)
    print(f"model:  {done.folder}\nrecord: {done.folder / 'pruning.json'}")


def summary(record: dict[str, Any]) -> list[str]:
    """The figures in a few lines."""
    lines = [*_removed(record), *searched(record.get("pruning") or record)]
    found = record.get("perplexity")
    if found:
        where = "held-out texts" if found["held_out"] else "the calibration texts"
        before, after = found["dense"]["perplexity"], found["pruned"]["perplexity"]
        lines.append(f"perplexity on {where}: {before:.3f} dense, {after:.3f} pruned")
    lines += [
        f"{what}: {dense} dense, {pruned} pruned" for what, dense, pruned in task_rows(record)
    ]
    rows = record["layers"] if "sparsity" in record else []
    few = [r for r in rows if r.get("samples", 1) < r.get("inputs", 1)]
    if few:
        lines.append(
            f"{len(few)} layers saw fewer tokens than they have inputs; give more calibration data"
        )
    return lines


def searched(record: dict[str, Any]) -> Iterator[str]:
    """What a search for densities took and gained."""
    if found := record.get("search"):
        what = "KL from the dense network" if "by" not in found else f"{found['by']} of predictions"
        yield (
            f"searched: {found['candidates']:,} candidates on {found['samples']:,} samples, {what} "
            f"{found['start']:.4f} with equal shares, {found['end']:.4f} at the end"
        )


def _removed(record: dict[str, Any]) -> Iterator[str]:
    """What went, how it was proved, and what loads the rest."""
    if "sparsity" in record:
        if told := reordered(record["layers"]):
            yield told
        yield f"removed {record['sparsity']:.2%} of {record['units']:,} weights"
        if told := uncalled(record["layers"]):
            yield told
        return
    before, after = record["parameters"]
    point = (record.get("pruning") or record)["points"][-1]
    yield decided(point) or (
        f"removed {1 - point['density']:.2%} of the units: {before:,} parameters before, {after:,} after "
        f"({after / before - 1:+.2%})"
    )
    if absent := (record.get("pruning") or record).get("absent"):
        yield nothing_of(absent)
    if "proof" in record:
        yield (
            f"proved: masked and smaller network differ by {record['proof']['error']:.1e}, relative"
        )
    if record["loadable"] == "stock":
        yield "loads with from_pretrained"
    else:
        yield f"loads with secateur.load: {record['why']}"


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
        """One block is done; other events of a run in memory are no progress of this kind."""
        if event["kind"] != "block":
            self._told(event)
            return
        self._bar.update(self._task, completed=event["done"])
        if not self._console.is_terminal:
            self._console.print(
                f"block {event['done']}/{event['blocks']} {event['name']}, "
                f"{event['left']:.0f} s left",
                highlight=False,
            )

    def _told(self, event: dict[str, Any]) -> None:
        """An epoch of a recovery, some generations of a search."""
        if event["kind"] == "epoch":
            self._console.print(f"{event['stage']}: loss {event['loss']:.4f}", highlight=False)
        if event["kind"] == "searched" and event["generation"] % EVERY == 0:
            name, value = next((k, event[k]) for k in ("divergence", "error") if k in event)
            self._console.print(
                f"generation {event['generation']}/{event['of']}: {name} {value:.4f}",
                highlight=False,
            )
