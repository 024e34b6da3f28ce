"""The model card: what was done to the network, in figures that the record holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .machine import in_words
from .manifest import NAME, Manifest

BUILT_UNASKED = (__name__.partition(".")[0], "transformers")


def card(manifest: Manifest, title: str, base: str = "", tags: Iterable[str] = ()) -> str:
    """The text of README.md, with the header that model hubs read.

    Args:
        manifest: what the artifact says of itself.
        title: the first line.
        base: the hub name of the network that was pruned, where there is one.
        tags: words to find it by.
    """
    record = manifest.provenance.record
    pruning = record.get("pruning")
    run = pruning if isinstance(pruning, Mapping) else record
    parts = [
        _header(base, tags, hugging_face=_is_hf(manifest)),
        f"# {title}",
        f"Pruned with Secateur; every figure on this page is from the record in `{NAME}`.",
        _how_to_load(manifest),
        _method(run),
        _table("Size", ("", "before", "after"), _sizes(record)),
        _table("Perplexity", ("", "before", "after"), _perplexities(record)),
        _table("Tasks", ("", "before", "after"), task_rows(record)),
        _table("Recovery", ("", "before", "after"), _recovered(run)),
        _calibration(record),
        _proof(record),
        _table("Measured", ("density", "what", "value"), _points(run)),
        _source(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _is_hf(manifest: Manifest) -> bool:
    return manifest.architecture is not None and manifest.architecture.config is not None


def _header(base: str, tags: Iterable[str], hugging_face: bool) -> str:
    lines = ["---", "tags:", *(f"- {tag}" for tag in ("pruned", "secateur", *tags))]
    lines += [f"base_model: {base}"] if base else []
    lines += ["library_name: transformers"] if hugging_face else []
    return "\n".join([*lines, "---"])


def _how_to_load(manifest: Manifest) -> str:
    lines = ["## Load", "", "```python"]
    if _is_hf(manifest) and manifest.stock and manifest.architecture:
        kind = manifest.architecture.constructor.partition(":")[2]
        lines += [f"from transformers import {kind}", "", f'model = {kind}.from_pretrained("…")']
    else:
        lines += ["import secateur as sc", "", f'model = sc.load("…"{_given(manifest)})']
    return "\n".join([*lines, "```"])


def _given(manifest: Manifest) -> str:
    """What `load` needs beside the folder: whose code builds the network, or the network itself."""
    if manifest.architecture is None:
        return ", model=fresh"
    package = manifest.architecture.constructor.partition(":")[0].partition(".")[0]
    return "" if package in BUILT_UNASKED else f', trust=("{_safe(package)}",)'


def _method(record: Mapping[str, Any]) -> str:
    recipe = record.get("recipe")
    if not isinstance(recipe, Mapping):
        return ""
    lines = [f"## Method: {_safe(recipe.get('method', 'custom'))}", ""]
    seed = record.get("seed")
    lines += [f"- seed: {_safe(seed)}"] if seed is not None else []
    lines += [f"- pruned on: {_safe(where)}"] if (where := in_words(record.get("machine"))) else []
    if isinstance(absent := record.get("absent"), list):
        lines.append(f"- none in this network to choose from: {_safe(', '.join(map(str, absent)))}")
    return "\n".join([*lines, f"- digest of the recipe: `{_safe(record.get('digest', ''))}`"])


def _sizes(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for key, name in (("parameters", "parameters"), ("macs", "MACs of the example")):
        pair = record.get(key)
        if isinstance(pair, list) and len(pair) == 2 and all(type(n) is int for n in pair):
            rows.append((name, *(f"{n:,}" for n in pair)))
    return rows


def _perplexities(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of a language model, on the texts that were left for it."""
    found = record.get("perplexity")
    if not isinstance(found, Mapping) or not {"dense", "pruned"} <= found.keys():
        return []
    where = "held-out texts" if found.get("held_out") else "the calibration texts themselves"
    pairs = (
        ("perplexity", f"on {where}"),
        ("bits_per_byte", "bits per byte"),
        ("tokens", "tokens"),
    )
    both = [found["dense"], found["pruned"]]
    return [(words, *(_number(side.get(key)) for side in both)) for key, words in pairs]


def task_rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(task and metric, before, after) of the tasks a language model was asked, with standard errors."""
    found = record.get("tasks")
    if not isinstance(found, Mapping) or not {"dense", "pruned"} <= found.keys():
        return []
    return [
        (
            f"{_safe(task)}: {_safe(metric)}",
            *(_scored(found[side], task, metric) for side in _SIDES),
        )
        for task, result in found["dense"].items()
        for metric in result["scores"]
    ]


_SIDES = ("dense", "pruned")


def _scored(side: Mapping[str, Any], task: str, metric: str) -> str:
    score = side.get(task, {}).get("scores", {}).get(metric, {})
    error = score.get("error")
    return _number(score.get("value")) + (f" ± {error:.2g}" if isinstance(error, float) else "")


def _recovered(run: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What each recovery gained, and what it cost in its last rows."""
    rows: list[tuple[str, ...]] = []
    for done in run.get("recovery") or []:
        before, after = done.get("before") or {}, done.get("after") or {}
        rows += [(_safe(n), _number(before[n]), _number(after.get(n))) for n in before if n != "n"]
        rows.append(("parameters trained", "", f"{done['parameters']:,}"))
        rows.append(("seconds it took", "", f"{done['seconds']:.0f}"))
    return rows


def _calibration(record: Mapping[str, Any]) -> str:
    data = record.get("calibration")
    if not isinstance(data, Mapping):
        return ""
    kind = "packed" if data.get("packed") else "padded"
    said = {
        k: _safe(data.get(k)) for k in ("samples", "length", "data", "seed", "tokens", "digest")
    }
    return (
        f"Calibrated on {said['samples']} {kind} samples of up to {said['length']} tokens of "
        f"`{said['data']}` (seed {said['seed']}, {said['tokens']} tokens, digest `{said['digest']}`)."
    )


def _proof(record: Mapping[str, Any]) -> str:
    """How the smaller network was seen to compute what the masked one does."""
    proof = record.get("proof")
    if not isinstance(proof, Mapping):
        return ""
    return (
        f"The smaller network was proved to compute what the masked one does: relative to the output "
        f"they differ by {_number(proof.get('error'))} in the proof, and by "
        f"{_number(record.get('difference'))} on the example as delivered."
    )


def _points(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row per figure of every measured point."""
    rows: list[tuple[str, ...]] = []
    for point in record.get("points") or []:
        figures = {name: point.get(name) for name in ("params", "nonzero", "bytes_stored")}
        for split in ("val", "test"):
            figures |= {f"{split} {name}": v for name, v in (point.get(split) or {}).items()}
        density = f"{float(point['density']):.4g}"
        rows += [(density, _safe(n), _number(v)) for n, v in figures.items() if v is not None]
    return rows


def _number(value: Any) -> str:
    if type(value) is int:
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else _safe(value)


def _source(manifest: Manifest) -> str:
    of = manifest.provenance
    lines = ["## Provenance", "", f"- digest of the weights: `{manifest.weights}`"]
    lines += [f"- digest of the weights before: `{of.source}`"] if of.source else []
    return "\n".join([*lines, *(f"- {name} {number}" for name, number in of.versions.items())])


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    lines = [head, tuple("---" for _ in head), *rows]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _safe(value: Any) -> str:
    """Text that stays within its cell."""
    return " ".join(str(value).replace("|", "/").split())[:200]
