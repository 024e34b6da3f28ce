"""Analyses on a tiny finished study: known answers, and the report can draw each."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import PlanError
from secateur.experiments.analyses import ANALYSES, analyse
from secateur.experiments.config import Experiment
from secateur.experiments.runner import Runner

STUDY = {
    "name": "tiny",
    "network": {"spec": "lenet-300-100"},
    "data": {"source": "digits", "fraction": 0.3, "flip": False},
    "training": {"preset": "short", "length": "2ep"},
    "scoring": {"samples": 64},
    "seeds": [0, 1],
    "runs": [
        {"method": "dense", "label": "Dense"},
        {"method": "lottery-ticket", "label": "Ticket", "options": {"rounds": 1, "rate": 0.8}},
        {"method": "random", "label": "Random", "options": {"sparsity": 0.8}},
    ],
}


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    runner = Runner(tmp_path_factory.mktemp("tiny"), Experiment(**STUDY), device="cpu")
    runner.run(lambda planned, event: None)
    return runner


def test_overlap_of_a_mask_with_itself_is_one_and_of_random_ones_is_chance(runner: Runner) -> None:
    plain = analyse("overlap", {}, runner)
    labels = plain["labels"]
    assert len(labels) == 4
    for i in range(4):
        assert plain["jaccard"][i][i] == 1
        assert plain["jaccard"][i] == [row[i] for row in plain["jaccard"]]
    one, two = labels.index("Random · 0"), labels.index("Random · 1")
    assert plain["jaccard"][one][two] == pytest.approx(plain["chance"][one][two], abs=0.01)


def test_sensitivity_touches_one_layer_at_a_time_and_puts_it_back(runner: Runner) -> None:
    plain = analyse("sensitivity", {"sparsities": (0.0, 0.99)}, runner)
    assert plain["layers"] == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert all(row[0] == plain["dense"] for row in plain["accuracy"])
    assert any(row[1] < plain["dense"] for row in plain["accuracy"])


def test_connectivity_ends_where_the_two_runs_end(runner: Runner) -> None:
    plain = analyse("connectivity", {"forks": ("0it", "100%"), "points": 3}, runner)
    first, last = plain["curves"]
    assert plain["alphas"] == [0, 0.5, 1]
    assert len(set(last["loss"])) == 1, "forked at the end both runs are one network"
    assert last["barrier"] == 0
    assert first["loss"][0] != first["loss"][-1]


def test_transfer_trains_ticket_random_mask_and_dense(runner: Runner) -> None:
    plain = analyse("transfer", {"to": "digits"}, runner)
    assert [row["ticket"] for row in plain["rows"]] == ["ticket", "random", "dense"]
    assert all(row["seeds"] == 2 for row in plain["rows"])
    assert all(0 <= a <= 1 for row in plain["rows"] for a in row["accuracy"])


def test_collapse_names_cut_layers(runner: Runner) -> None:
    plain = analyse("collapse", {"sparsities": (0.5, 0.9995)}, runner)
    rows = {row["label"]: row["points"] for row in plain["methods"]}
    assert all(not points[0]["collapsed"] for points in rows.values())
    assert not rows["SynFlow, 100 rounds"][1]["collapsed"]
    assert all(p["sparsity"] == pytest.approx(0.9995, abs=1e-3) for p in rows["SNIP, one shot"][1:])


def test_unknown_analyses_and_options_are_errors(runner: Runner) -> None:
    with pytest.raises(PlanError, match="overlap"):
        analyse("overlaps", {}, runner)
    with pytest.raises(PlanError, match="cannot take"):
        analyse("overlap", {"sparsty": 0.5}, runner)


def test_the_report_draws_every_analysis(runner: Runner, tmp_path: Path) -> None:
    import json

    from secateur.report import write

    folder = runner.root / "analyses"
    folder.mkdir(exist_ok=True)
    options = {"transfer": {"to": "digits"}, "connectivity": {"points": 3}}
    for name in ANALYSES:
        plain = analyse(name, options.get(name, {}), runner)
        (folder / f"{name}.json").write_text(json.dumps(plain))
    paths = write(runner.root, tmp_path, formats=("html",))
    page = paths["html"].read_text(encoding="utf-8")
    for word in ("Mask overlap", "connectivity", "ensitivity", "ollapse", "ransfer"):
        assert word in page
