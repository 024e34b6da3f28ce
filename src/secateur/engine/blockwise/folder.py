"""Prune the model of a folder block by block into another folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ...artifact.container import digest as digest_of
from ...artifact.covered import cover
from ...artifact.covered import digest_of as digest_of_files
from ...artifact.machine import machine
from ...artifact.manifest import NAME, Manifest, Provenance, versions, write_manifest
from ...artifact.plain import as_plain
from ...core.device import pick_device, placed
from ...core.errors import DataError, PlanError
from ...core.recipe import Recipe
from ...core.types import Update
from ..chosen import targets_of
from ..program import Prune, build
from .called import UNCALLED
from .conductor import Batch
from .job import Job
from .memory import return_freed_tensors
from .output import FolderShelf, Output
from .shards import Shards
from .skeleton import Skeleton
from .timing import Progress
from .walk import compares, walk


@dataclass(frozen=True)
class Done:
    """What `prune_folder` leaves.

    Attributes:
        folder: the pruned model, loadable as any other.
        record: recipe, seed, digests, and a row of facts for every pruned tensor.
        seconds: time of this process by part: load, calibrate, solve, store, forward.
    """

    folder: Path
    record: dict[str, Any]
    seconds: dict[str, float]


def prune_folder(
    source: str | Path,
    recipe: Recipe,
    out: str | Path,
    *,
    batches: Sequence[Batch] = (),
    seed: int = 0,
    activations: Literal["memory", "disk"] = "memory",
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
    facts: dict[str, Any] | None = None,
    before_naming: Callable[[Path, dict[str, Any]], None] | None = None,
) -> Done:
    """Prune a Hugging Face folder block by block; what is written has the same names and shapes.

    Memory holds one block with its statistics, the embedding, and what flows between blocks unless
    that is kept on disk; with a GPU as `device` the first two lie there, so that a model larger than
    its memory is pruned on it. Killed at any moment, the same call goes on where it was and ends with the
    same bytes. The source is only read.

    Args:
        source: folder with `config.json` and safetensors weights, in one file or in shards.
        recipe: one with `walk="blocks"`.
        out: folder to be; new or empty.
        batches: calibration data, each the keywords of one call (`input_ids`, `attention_mask`).
        seed: all randomness.
        activations: where what flows between blocks is kept: the machine's memory, or files.
        device: where a block lies while it is at hand, with its statistics; `auto`, `cpu`, `cuda`, …
        progress: called with a small dict after every block.
        facts: plain data that the record is to hold, too (where the calibration data come from).
        before_naming: called with the finished folder and record before it gets its name.
    """
    return_freed_tensors()
    shards, out = Shards(Path(source)), Path(out)
    update = one_update(recipe)
    skeleton = Skeleton(shards, pick_device(device))
    targets = targets_of(recipe, skeleton.model)
    if recipe.required() and not batches:
        raise DataError(f"method '{recipe.method}' rests on activations; give calibration data")
    calls = batches if batches else [_any_call(skeleton)]
    digest = request_digest(shards, recipe, seed, batches)
    output = Output(out, shards, digest, activations, room(skeleton, calls, compares(recipe)))
    job = Job(recipe, update, targets, placed(calls, skeleton.device), seed)
    with output.working():
        walked = walk(skeleton.model, job, FolderShelf(skeleton, output), progress)
        record = {"schema": 1, "recipe": recipe.to_dict(), "digest": recipe.digest, "seed": seed}
        record |= {"request": digest, "machine": machine(skeleton.device)}
        record |= {**(facts or {}), **summary(walked.rows)}
        if before_naming is not None:
            before_naming(output.partial, record)
        dense = {row["target"] for row in walked.rows if row.get(UNCALLED)}
        cut = (target for target in targets if target.name not in dense)
        zeros = tuple(dict.fromkeys(m.param for target in cut for m in target.members))
        output.finish(lambda folder: _describe(folder, skeleton, zeros, record))
    return Done(out, record, walked.seconds)


def _describe(
    folder: Path, skeleton: Skeleton, zeros: tuple[str, ...], record: dict[str, Any]
) -> None:
    """pruning.json: what loads the folder, the digests of its files, and the record."""
    covered = cover(folder, skeleton.shards.files)
    made = type(skeleton.model)
    manifest = Manifest(
        architecture=skeleton.architecture,
        made=f"{made.__module__}:{made.__qualname__}",
        stock=True,
        weights=digest_of_files(covered),
        covered=covered,
        zeros=zeros,
        files=tuple(sorted({p.name for p in folder.iterdir() if p.name[0] != "."} | {NAME})),
        provenance=Provenance(
            source=skeleton.source(), record=as_plain(record), versions=versions()
        ),
    )
    write_manifest(folder, manifest)


def one_update(recipe: Recipe) -> Update:
    """The single update of a recipe that can be carried out on a folder."""
    if recipe.walk != "blocks":
        raise PlanError(
            f"method '{recipe.method}' walks the whole model; load it and use prune, or give the "
            "method walk='blocks'"
        )
    if recipe.precision is not None:
        raise PlanError(
            f"precision '{recipe.precision.name}' needs the whole model when its pruning is done, but walk "
            "'blocks' has one block of it; give the method walk='whole' (--option walk=whole)"
        )
    updates = [op.update for op in build(recipe, 0, 0, trained=True) if isinstance(op, Prune)]
    if len(updates) != 1 or recipe.recovery is not None:
        raise PlanError(
            f"method '{recipe.method}' prunes {len(updates)} times or trains; a folder is pruned "
            "once, block by block. Use schedule 'one-shot' without recovery"
        )
    return updates[0]


def request_digest(shards: Shards, recipe: Recipe, seed: int, batches: Sequence[Batch]) -> str:
    """Names the whole request: the source's files, the recipe, the seed and the samples."""
    files = [[f, (shards.folder / f).stat().st_size] for f in shards.files]
    stamps = [(shards.folder / f).stat().st_mtime_ns for f in shards.files]
    words = [recipe.dumps(), seed, files, stamps, batches_digest(batches)]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def batches_digest(batches: Sequence[Batch]) -> str:
    """SHA-256 over the calibration samples as the model sees them."""
    total = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            value = batch[name].contiguous()
            total.update(f"{name} {tuple(value.shape)} {value.dtype} {digest_of(value)}".encode())
    return total.hexdigest()


def room(skeleton: Skeleton, batches: Sequence[Batch], beside: bool = False) -> int:
    """Bytes that activations on disk need: two generations of hidden states of every token.

    `beside`: those of the dense network are kept, too.
    """
    tokens = sum(batch[sorted(batch)[0]].numel() for batch in batches)
    return (4 if beside else 2) * tokens * skeleton.width * skeleton.model.dtype.itemsize


def _any_call(skeleton: Skeleton) -> Batch:
    """One token, to find out in which order blocks run where nothing is to be calibrated."""
    token = torch.zeros(1, 1, dtype=torch.long)
    decoder = getattr(skeleton.model.config, "is_encoder_decoder", False)
    return {"input_ids": token} | ({"decoder_input_ids": token} if decoder else {})


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Totals over all targets, and the rows themselves."""
    units, kept = sum(r["units"] for r in rows), sum(r["kept"] for r in rows)
    return {"units": units, "kept": kept, "sparsity": 1 - kept / max(1, units), "layers": rows}
