"""Training on a GPU: stopped and resumed, in lower precision, on data of the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

import secateur as sc
from secateur.cli.main import call
from secateur.engine.train import Trainer
from secateur.materialise import HardMasks
from tests.cuda.place import DEVICE, placed_on
from tests.engine.test_execute import data, network, training
from tests.engine.train.train_fakes import Points, keep, net, same
from tests.engine.train.train_fakes import training as plan

OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {"optimiser": {"name": "sgd", "nesterov": True}, "clip": 0.5},
    "adam-average": {"optimiser": "adam", "lr": 0.01, "ema": 0.9},
    "parts": {"accumulate": 4, "decay_norms": False, "label_smoothing": 0.1},
    "muon": {"optimiser": "muon", "lr": 0.01, "weight_decay": 0.1, "decay_norms": False},
    "bf16": {"optimiser": "adamw", "lr": 0.01, "ema": 0.5, "precision": "bf16"},
    "fp16": {"optimiser": "adamw", "lr": 0.01, "precision": "fp16"},
}
if DEVICE == "cpu":
    del OPTIONS["fp16"]


def make(options: dict[str, Any]) -> Trainer:
    model = net().to(DEVICE)
    return Trainer(model, plan(**options), Points(), masks=HardMasks(model, keep()), seed=5)


@pytest.mark.parametrize("name", OPTIONS)
def test_resuming_at_any_step_ends_with_the_same_bits(name: str, deterministic: None) -> None:
    whole, states = make(OPTIONS[name]), {}
    whole.run(0, 12, on_step=lambda s: states.update({s: whole.state()}))
    end = whole.state()[0]
    assert end["model.0.weight"].device.type == torch.device(DEVICE).type
    for split in (1, 4, 7):
        tensors, meta = states[split]
        again = make(OPTIONS[name])
        again.load(load(save(tensors)), json.loads(json.dumps(meta)))
        assert same(on_cpu(again.state()[0]), on_cpu(tensors))
        again.run(split, 12)
        assert same(on_cpu(again.state()[0]), on_cpu(end)), f"resumed at step {split}"


def on_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu() for name, tensor in tensors.items()}


class Killed(Exception):
    pass


METHODS = [
    "iterative-fine-tune",
    "lottery-ticket",
    "rigl",
    "granet",
    "l0",
    "movement",
    "greg",
    "sr-ste",
]
SHORT = {"rounds": 2, "fine_tune": "2ep", "every": "2it", "density": 0.3}


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(
    method: str, tmp_path: Path, deterministic: None
) -> None:
    known = {k: v for k, v in SHORT.items() if k in sc.methods()[method].options}

    def run(folder: Path, stop: int = 0) -> sc.Result:
        seen: list[str] = []

        def tell(event: dict[str, Any]) -> None:
            seen.append(event["kind"])
            if stop and seen.count("epoch") == stop:
                raise Killed

        return sc.prune(
            network().to(DEVICE), method, data=data(), val=data(), folder=folder, progress=tell,
            training=training(), **known,
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    for stop in (2, 3):
        with pytest.raises(Killed):
            run(tmp_path / "out", stop)
    again = run(tmp_path / "out")
    assert placed_on(again.model, DEVICE)
    assert same(on_cpu(again.model.state_dict()), on_cpu(whole.model.state_dict()))
    for name, mask in whole.masks.items():
        assert torch.equal(again.masks[name], mask)


@pytest.mark.skipif(DEVICE == "cpu", reason="fp16 is for GPUs")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_lower_precision_learns_and_keeps_zeros(precision: Any) -> None:
    x, y = data(256)
    long = training(length=sc.Time(12, "ep"), precision=precision)
    result = sc.prune(
        network().to(DEVICE), "magnitude", density=0.5, data=(x, y), test=(x, y), training=long
    )
    assert result.record["points"][-1]["test"]["accuracy"] > 0.6
    for name, mask in result.masks.items():
        weight = result.model.get_parameter(name).detach()
        assert weight.dtype == torch.float32
        assert not weight[~mask].any()


@pytest.mark.parametrize(
    ("method", "options"), [("distil", {"distil": {"temperature": 2.0}}), ("ema", {"ema": 0.9})]
)
def test_a_teacher_and_an_average_lie_on_the_gpu(method: str, options: dict[str, Any]) -> None:
    made = sc.Training(**{**training().model_dump(exclude_defaults=True), **options})
    result = sc.prune(
        network().to(DEVICE), "iterative-fine-tune", rounds=2, fine_tune="1ep",
        data=data(), val=data(), training=made,
    )  # fmt: skip
    assert placed_on(result.model, DEVICE)


def test_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    words = ["prune", "resnet8", "--method", "l1-filters", "--density", "0.5", "--train", "1ep",
             "--out", str(tmp_path / "out"), "--device", DEVICE]  # fmt: skip
    assert call(words) == 0
    (record,) = (tmp_path / "out").rglob("result.json")
    assert DEVICE in json.dumps(json.loads(record.read_text())["machine"])


def test_a_study_on_the_gpu(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    study = tmp_path / "study.yaml"
    study.write_text(
        "schema: 1\nname: small\nnetwork: {spec: lenet-300-100}\n"
        "data: {source: digits, flip: false}\n"
        "training: {preset: short, length: 1ep}\nscoring: {samples: 64}\nseeds: [0]\n"
        "runs:\n  - {method: dense}\n  - {method: snip, grid: {sparsity: [0.9]}}\n"
        "  - {method: group-norm, grid: {density: [0.5]}}\n"
    )
    assert call(["run", str(study), "--out", str(tmp_path / "out"), "--device", DEVICE]) == 0
    assert len(list((tmp_path / "out").rglob("result.json"))) == 3
