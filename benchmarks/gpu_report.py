"""docs/results/gpu.md from gpu.json: nothing typed by hand but the words around the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START, END = "<!-- made by benchmarks/gpu_report.py -->", "<!-- end -->"


def write(folder: Path) -> None:
    """The tables of gpu.json, into the place that gpu.md has for them."""
    found = json.loads((folder / "gpu.json").read_text())
    page = folder / "gpu.md"
    text = page.read_text() if page.exists() else f"{START}\n{END}\n"
    before, _, rest = text.partition(START)
    page.write_text(f"{before}{START}\n{chr(10).join(lines(found))}\n{END}{rest.partition(END)[2]}")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Everything, table by table."""
    parts, machine = found["parts"], found["machine"]
    rows = [row for part in parts.values() if isinstance(part, list) for row in part]
    yield (
        f"On an {machine['card']} with torch {machine['torch']}, CUDA {machine['cuda']} and Python "
        f"{machine['python']}. {found.get('note', '')}"
    ).rstrip()
    yield from _ceilings(parts["ceilings"])
    yield from _solves([part for name, part in parts.items() if name.startswith("solve")], parts)
    yield from _blocks([row for row in rows if "hidden" in row])
    yield from _sparse(parts)
    yield from _smaller([row for row in rows if "network" in row])
    yield from _beyond(parts.get("beyond", []))


def _table(*heads: str) -> Iterator[str]:
    yield from ("", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}")


def _ceilings(found: dict[str, float]) -> Iterator[str]:
    yield from ("", "## What the card can do")
    yield from _table("product of 8192 in", "TFLOP/s")
    for name in ("float32", "tf32", "bfloat16", "float64"):
        yield f"| {name} | {found[name] / 1e12:.1f} |"
    yield from ("", f"A copy on the card moves {found['copy'] / 1e12:.2f} TB/s, read and written.")


def _solves(found: list[dict[str, Any]], parts: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## SparseGPT's solve of one Llama block, in memory")
    yield from _table(
        "hidden", "seconds", "kernels", "the GPU computes", "share of float32 products"
    )
    for row in found:
        share = row["operations"] / row["seconds"] / parts["ceilings"]["float32"]
        busy = f"{1e3 * row['busy']:.0f} ms: {row['busy'] / row['seconds']:.0%}"
        yield (
            f"| {row['hidden']:,} | {row['seconds']:.3f} | {row['kernels']:,} | {busy} | {share:.2%} |"
        )
    for row in found:
        named = ", ".join(f"`{name[:60]}` {1e3 * s:.1f} ms" for name, s in row["most"][:3])
        yield from ("", f"At hidden {row['hidden']} most of that is {named}.")


def _blocks(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", "## One Llama block from disk, 64 x 512 tokens, float32")
    yield from _table(
        "hidden", "method", "calibrate", "solve", "forward", "load, store", "peak on the GPU"
    )
    for key in dict.fromkeys((row["hidden"], row["method"]) for row in rows):
        takes = [row for row in rows if (row["hidden"], row["method"]) == key]
        least = {
            part: min(t["seconds"].get(part, 0.0) for t in takes) for part in takes[0]["seconds"]
        }
        disk = least["load"] + least["store"]
        yield (
            f"| {key[0]} | `{key[1]}` | {least['calibrate']:.3f} s | {least['solve']:.3f} s | "
            f"{least['forward']:.3f} s | {disk:.3f} s | {max(t['peak'] for t in takes) / 1e9:.2f} GB |"
        )


def _sparse(parts: dict[str, Any]) -> Iterator[str]:
    named = {name: part for name, part in parts.items() if name.startswith("2:4")}
    if not named:
        return
    yield from (
        "",
        "## 2:4 weights in torch's semi-structured storage against dense ones, one layer",
    )
    yield from _table("layer", "dtype", "time of", "tokens", "dense", "2:4", "faster by")
    for name, rows in named.items():
        way = name.rpartition(" ")[2]
        way = way if way in ("launched", "replayed") else "launched"
        for row in rows:
            times = [f"{1e6 * row[key]:.0f} µs" for key in ("dense", "sparse")]
            yield (
                f"| {row['layer']} | {row['dtype']} | {way} | {row['tokens']:,} | {times[0]} | {times[1]} "
                f"| {row['dense'] / row['sparse']:.2f} |"
            )


def _smaller(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", "## Networks of half the MACs against the dense ones")
    yield from _table(
        "network", "widths", "dtype", "batch", "MACs", "dense", "smaller", "faster by", "replayed"
    )
    for row in rows:
        low, ratio, high = row["speedup"]
        widths = f"multiples of {row['multiple']}" if row.get("multiple", 1) > 1 else "any"
        again = row.get("replayed")
        yield (
            f"| {row['network']} | {widths} | {row.get('dtype', 'float16')} | {row['batch']} | "
            f"{row['macs'][1] / row['macs'][0]:.3f} | {1e3 * row['dense']:.2f} ms | "
            f"{1e3 * row['small']:.2f} ms | {ratio:.2f} ({low:.2f} to {high:.2f}) | "
            f"{f'{again[0] / again[1]:.2f}' if again else '–'} |"
        )


def _beyond(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", "## A model larger than the GPU may hold")
    yield from _table("method", "file", "limit", "peak on the GPU", "seconds", "whole")
    for row in rows:
        sizes = [f"{row[key] / 1e9:.2f} GB" for key in ("file", "limit", "peak")]
        whole = "fits" if row["whole"] else "out of memory"
        yield f"| `{row['method']}` | {' | '.join(sizes)} | {row['seconds']:.1f} | {whole} |"
