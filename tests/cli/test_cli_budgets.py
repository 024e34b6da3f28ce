"""`secateur prune` with widths and budgets: what is asked for is what the run's result holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secateur.cli.main import call

PRUNE = ["prune", "resnet8", "--method", "group-norm", "--data", "digits", "--train", "1it"]


def result(out: Path, *words: str) -> dict[str, Any]:
    """The result of a run."""
    assert call([*PRUNE, "--out", str(out), *words]) == 0
    (path,) = out.glob("*/0/result.json")
    return json.loads(path.read_text())


def test_widths_reach_the_run(tmp_path: Path) -> None:
    words = ["--density", "0.6", "--round-to", "8", "--protect", "conv1", "--floor", "layer3*=0.5"]
    found = result(tmp_path / "out", *words, "--cap", "layer2*=0.75")
    allocator = found["config"]["recipe"]["allocator"]
    assert allocator["round_to"] == 8
    assert allocator["protect"] == ["conv1"]
    layers = found["points"][-1]["layers"]
    assert layers["conv1.weight"] == 1
    kept = {name: round(layers[f"{name}.0.bn1.weight"] * n) for name, n in WIDTHS.items()}
    assert all(n % 8 == 0 for n in kept.values())
    assert kept["layer3"] >= 32
    assert kept["layer2"] >= 8


WIDTHS = {"layer1": 16, "layer2": 32, "layer3": 64}


def test_a_budget_reaches_the_run_and_is_told(tmp_path: Path, capsys: Any) -> None:
    found = result(tmp_path / "out", "--budget", "macs=60%", "--round-to", "4")
    told = found["points"][-1]["budget"]["macs"]
    assert 0.55 < told["left"] / told["whole"] <= 0.6
    assert f"of {told['whole']:,.6g} MACs" in capsys.readouterr().out


def test_a_search_reaches_the_run_and_is_told(tmp_path: Path, capsys: Any) -> None:
    how = "search={name: evolution, generations: 1, offspring: 2, stages: [[8, 1]]}"
    asked = ["prune", "lenet-300-100", "--method", "magnitude-layerwise", "--sparsity", "0.8"]
    assert call([*asked, "--train", "1it", "--option", how, "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("*/0/result.json")
    search = json.loads(path.read_text())["points"][-1]["search"]
    assert search["candidates"] == 3
    assert f"searched: 3 candidates on {search['samples']:,} samples" in capsys.readouterr().out
