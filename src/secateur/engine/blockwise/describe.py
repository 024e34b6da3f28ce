"""The model card of a pruned folder, from its record alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...artifact.card import task_rows
from ...artifact.machine import in_words
from ...artifact.manifest import NAME
from ...core.density import describe
from .called import uncalled


def card(record: dict[str, Any]) -> str:
    """Markdown: what was done, the figures, a row for each block, how to load it."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: dict[str, Any]) -> Iterator[str]:
    method = record["recipe"].get("method", "custom")
    yield f"# Pruned with {method}"
    yield ""
    yield (
        f"`{record.get('source', 'a model')}`, pruned by Secateur "
        f"block by block: {describe(record['kept'] / max(1, record['units']))} of "
        f"{record['units']:,} weights in the blocks. Names, shapes and dtypes are those of the "
        "original, so that it loads in the same way; what was removed is zero."
    )
    yield ""
    if told := reordered(record["layers"]):
        yield f"Before that {told}."
        yield ""
    yield from _figures(record)
    yield from _blocks(record["layers"])
    if told := uncalled(record["layers"]):
        yield f"{told[0].upper()}{told[1:]}."
        yield ""
    yield from _health(record["layers"])
    yield f"Pruned on {in_words(record['machine'])}."
    yield f"The whole record, with the recipe and every layer, is in `{NAME}`."


def _figures(record: dict[str, Any]) -> Iterator[str]:
    found = record.get("perplexity")
    if found:
        where = "held-out texts" if found["held_out"] else "the calibration texts themselves"
        dense, pruned = found["dense"], found["pruned"]
        yield f"| on {where} | dense | pruned |"
        yield "|---|---|---|"
        for label, key in (("perplexity", "perplexity"), ("bits per byte", "bits_per_byte")):
            yield f"| {label} | {dense[key]:.4f} | {pruned[key]:.4f} |"
        words = f"tokens (context up to {dense['length']})"
        yield f"| {words} | {dense['tokens']:,} | {pruned['tokens']:,} |"
        yield ""
    rows = task_rows(record)
    if rows:
        yield "| task | dense | pruned |"
        yield "|---|---|---|"
        yield from (f"| {' | '.join(row)} |" for row in rows)
        yield ""
    data = record.get("calibration")
    if data:
        kind = "packed" if data["packed"] else "padded"
        yield (
            f"Calibrated on {data['samples']} {kind} samples of up to {data['length']} tokens of "
            f"`{data['data']}` (seed {data['seed']}, {data['tokens']:,} tokens, digest "
            f"`{data['digest']}`)."
        )
        yield ""


def _blocks(layers: list[dict[str, Any]]) -> Iterator[str]:
    yield "| block | weights | kept |"
    yield "|---|---|---|"
    for block in dict.fromkeys(row["block"] for row in layers):
        mine = [row for row in layers if row["block"] == block]
        units, kept = sum(r["units"] for r in mine), sum(r["kept"] for r in mine)
        yield f"| {block} | {units:,} | {100 * kept / units:.2f} % |"
    yield ""


def reordered(layers: list[dict[str, Any]]) -> str:
    """What was done to the order of inputs, and how it was proved; empty where nothing was."""
    rows = [row for row in layers if "reordered" in row]
    if not rows:
        return ""
    kept = [row["retained"] for row in rows if "retained" in row]
    gain = (
        f", where {100 * (sum(kept) / len(kept) - 1):.2f} % more of the scores stay" if kept else ""
    )
    return (
        f"inputs of {len(rows)} weights were put in another order{gain}; dense blocks gave what they had "
        f"given (relative difference at most {max(row['reordered'] for row in rows):.1e})"
    )


def _health(layers: list[dict[str, Any]]) -> Iterator[str]:
    """Only layers with something to say: more damping than asked, dead inputs, too few samples."""
    rows = [row for row in layers if unwell(row, layers)]
    if not rows:
        return
    yield "| layer to look at | damping | dead inputs | samples | inputs | silent experts |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        cells = (row.get(key, "") for key in ("damping", "dead", "samples", "inputs", "silent"))
        yield f"| {row['target']} | {' | '.join(str(cell) for cell in cells)} |"
    yield ""


def unwell(row: dict[str, Any], layers: list[dict[str, Any]]) -> bool:
    """Whether a layer's statistics were too poor to trust without a look."""
    least = min((r["damping"] for r in layers if "damping" in r), default=0)
    return bool(
        row.get("damping", least) > least
        or row.get("dead", 0)
        or row.get("silent", 0)
        or row.get("samples", 1) < row.get("inputs", 1)
    )
