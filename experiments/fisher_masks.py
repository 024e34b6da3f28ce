"""The vision transformer of `heads.py` within a budget, without training after it.

    python experiments/fisher_masks.py OUT

Each row prunes the trained network on 256 images of the seed's, in batches of 64, and takes the units out.
Writes OUT/fisher-masks.json after every row, which is not made again, and its tables into
OUT/fisher-masks.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from heads import SCORING, TESTED, WORK, Pair, drawn, normalised
from heads_network import pictures, trained
from structured import accuracy, macs
from torch import nn

import secateur as sc
from secateur.core.recipe import Recipe

BOTH = {"kinds": ("heads", "neurons")}
ROWS: dict[str, dict[str, Any]] = {
    "random": {"method": "random-channels", **BOTH},
    "fisher-channels": {"method": "fisher-channels", **BOTH},
    "search": {"method": "fisher-masks", "rearrange": False, "tune": False},
    "search, rearranged": {"method": "fisher-masks", "tune": False},
    "search, tuned": {"method": "fisher-masks", "rearrange": False},
    "all": {"method": "fisher-masks"},
}
SHARES, SEEDS = ("70%", "50%"), (0, 1, 2)
START, STOP = "<!-- made by experiments/fisher_masks.py -->\n", "<!-- end -->"


def recipe(label: str, share: str) -> Recipe:
    """The recipe of a row at a share of the MACs."""
    options = dict(ROWS[label])
    return sc.recipe(options.pop("method"), budget={"macs": share}, **options)


def measured(net: nn.Module, made: Recipe, few: Pair, test: Pair, seed: int) -> dict[str, Any]:
    """Everything measured of one row at one seed."""
    example = few[0][:2]
    batches = list(zip(few[0].split(64), few[1].split(64), strict=True))
    result = sc.prune(net, made, data=batches, example=example, trained=True, seed=seed)
    shrunk = sc.shrink(result, example)
    kept = [
        sum(int(result.units[t.name].sum()) for t in result.targets if t.kind == kind)
        for kind in BOTH["kinds"]
    ]
    counts = [macs(one, few) for one in (net, shrunk.model)]
    return {
        "accuracy": accuracy(shrunk.model, test), "macs": counts[1] / counts[0], "kept": kept,
        "parameters": list(shrunk.record["parameters"]), "difference": shrunk.record["difference"],
    }  # fmt: skip


def table(done: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The tables of the page."""
    lines = []
    for share, rows in done.items():
        lines += [f"## {share.replace('%', ' %')} of the MACs", ""]
        lines += [
            "| method | heads | neurons | parameters | accuracy | seeds |",
            "|---|---|---|---|---|---|",
        ]
        for label, seeds in rows.items():
            found = list(seeds.values())
            of = [100 * one["accuracy"] for one in found]
            spread = f" ± {stdev(of):.1f}" if len(of) > 1 else ""
            heads, neurons = (_range([one["kept"][i] for one in found]) for i in (0, 1))
            share_left = _range(
                [round(one["parameters"][1] / one["parameters"][0], 2) for one in found]
            )
            cells = [
                f"`{label}`",
                heads,
                neurons,
                share_left,
                f"{mean(of):.1f}{spread} %",
                str(len(of)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _range(values: list[Any]) -> str:
    return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def each(path: Path, make: Callable[[str, str, int], dict[str, Any]]) -> None:
    """Make the rows that are missing, and write the page after each."""
    for share in SHARES:
        for seed in SEEDS:
            for label in ROWS:
                done = json.loads(path.read_text()) if path.exists() else {}
                seeds = done.setdefault(share, {}).setdefault(label, {})
                if str(seed) not in seeds:
                    seeds[str(seed)] = make(share, label, seed)
                    path.write_text(json.dumps(done, indent=1) + "\n")
                    print(share, label, seed, seeds[str(seed)], flush=True)
                write(done, path.with_suffix(".md"))


def write(done: dict[str, Any], page: Path) -> None:
    """Put the tables in their place on the page."""
    head, _, rest = page.read_text(encoding="utf-8").partition(START)
    _, _, tail = rest.partition(STOP)
    page.write_text(f"{head}{START}{table(done)}{STOP}{tail}", encoding="utf-8")


def main(folder: Path) -> None:
    """Make what is missing, write the page."""
    torch.set_num_threads(1)
    data = pictures()
    net, test = trained(data, WORK), normalised(data.test, torch.arange(TESTED))

    def make(share: str, label: str, seed: int) -> dict[str, Any]:
        few = normalised(data.train, drawn(data, SCORING, seed, "scoring"))
        return measured(net, recipe(label, share), few, test, seed)

    each(folder / "fisher-masks.json", make)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    main(parser.parse_args().folder)
