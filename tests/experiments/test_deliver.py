"""A run that pruned channels also leaves the smaller network, as an artifact anybody can load."""

import json
from pathlib import Path

import pytest
import torch

import secateur as sc
from secateur.core.errors import PlanError
from secateur.data import Batches, load
from secateur.experiments import deliver as delivering
from secateur.experiments.config import Experiment
from secateur.experiments.finished import network_of
from secateur.experiments.runner import Runner


def run(tmp_path: Path, method: str, **options) -> tuple[Path, dict]:
    """The folder and the result of one short run."""
    study = Experiment(
        name="one", network={"spec": "resnet8"}, data={"source": "digits", "fraction": 0.1},
        training={"preset": "short", "length": "1ep"}, seeds=[0],
        runs=[{"method": method, "options": options}],
    )  # fmt: skip
    runner = Runner(tmp_path / "out", study, device="cpu")
    runner.run(lambda planned, event: None)
    return runner.folder(runner.planned[0]), runner.result(runner.planned[0])


def test_the_smaller_network_computes_what_the_masked_one_did(tmp_path):
    folder, result = run(tmp_path, "l1-filters", density=0.5)
    assert network_of(folder) == (folder / "small", None)  # what an export of the run takes
    small = sc.load(folder / "small").eval()
    before, after = result["small"]["parameters"]
    assert sum(p.numel() for p in small.parameters()) == after < 0.6 * before
    assert result["small"]["macs"][1] < 0.6 * result["small"]["macs"][0]
    assert result["small"]["difference"] < 1e-5
    accuracy = result["points"][-1]["test"]["accuracy"]
    x, y = zip(*Batches(load("digits").test, 512, shuffle=False), strict=True)
    with torch.no_grad():
        right = (small(torch.cat(x)).argmax(1) == torch.cat(y)).double().mean()
    assert right == pytest.approx(accuracy, abs=1e-9)
    recipe = json.loads((folder / "small" / "pruning.json").read_text())
    assert sc.recipe("l1-filters", density=0.5).digest in json.dumps(recipe)


def test_single_weights_leave_masks_alone(tmp_path):
    folder, result = run(tmp_path, "magnitude", density=0.5)
    assert "small" not in result
    assert not (folder / "small").exists()


def test_what_cannot_be_taken_out_stays_masked_and_says_why(tmp_path, monkeypatch):
    def refuse(*_):
        raise PlanError("no way out")

    monkeypatch.setattr(delivering, "shrink", refuse)
    folder, result = run(tmp_path, "l1-filters", density=0.5)
    assert result["small"] == {"refused": "no way out"}
    assert (folder / "model.safetensors").exists()
    assert not (folder / "small").exists()
