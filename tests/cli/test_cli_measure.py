"""`secateur measure`: networks from names and folders, lists of settings, JSON, mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import secateur as sc
from secateur.cli.main import call
from secateur.models import build_seeded
from tests.methods.tiny import tiny_llama

FEW = ["--pairs", "5"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A resnet8 for the digits with half of each structure taken out."""
    model = build_seeded("resnet8", 0, num_classes=10, in_channels=1, image_size=8)
    x = torch.zeros(2, 1, 8, 8)
    small = sc.shrink(sc.prune(model, "group-norm", density=0.5, example=x), x)
    return sc.save(small, tmp_path_factory.mktemp("artifact") / "small")


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert call(["measure", *words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_an_artifact_against_its_stock_network(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(artifact), "resnet8", "--batch", "3,1", "--threads", "1", *FEW]
    found = printed(words, capsys)
    small = sum(p.numel() for p in sc.load(artifact).parameters())
    whole = build_seeded("resnet8", 0, num_classes=10, in_channels=1, image_size=8)
    assert found["network"]["name"] == str(artifact)
    assert found["network"]["counts"]["parameters"] == small
    wanted = sum(p.numel() for p in whole.parameters())
    assert found["reference"]["counts"]["parameters"] == wanted
    settings = [(row["runtime"], row["batch"], row["threads"]) for row in found["latency"]]
    assert settings == [("eager", 3, 1), ("eager", 1, 1)]
    for row in found["latency"]:
        speedup = row["speedup"]
        assert speedup["ratio"] == pytest.approx(row["reference_seconds"] / row["network_seconds"])
        assert speedup["low"] <= speedup["high"]
        assert row["pairs"] == 5
    alone = printed([str(artifact), "--batch", "3"], capsys)
    assert alone == {"counts": found["network"]["counts"]}  # those of the first batch size


def test_seconds_of_the_processor(
    artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(10**6))
    monkeypatch.setattr("time.process_time", lambda: float(next(seconds)))
    words = [str(artifact), "resnet8", "--batch", "2", "--threads", "1", "--processor-time", *FEW]
    (row,) = printed(words, capsys)["latency"]
    assert row["reference_seconds"] == row["network_seconds"] == 1.0


def test_batch_norms_are_folded_on_both_sides(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = printed([str(artifact), "resnet8", "--batch", "2", "--fold", *FEW], capsys)
    for side, model in (
        ("network", sc.load(artifact)),
        ("reference", build_seeded("resnet8", 0, num_classes=10, in_channels=1, image_size=8)),
    ):
        folded = sc.fold_batch_norms(model, torch.zeros(2, 1, 8, 8))
        wanted = sum(p.numel() for p in folded.parameters())
        assert found[side]["counts"]["parameters"] == wanted


def test_a_model_of_transformers_and_an_artifact_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_llama(2)
    model.save_pretrained(tmp_path / "stock")
    sc.save(sc.prune(model, "magnitude", density=0.5), tmp_path / "masked")
    found = printed(
        [str(tmp_path / "masked"), str(tmp_path / "stock"), "--batch", "2", *FEW], capsys
    )
    first, second = found["network"]["counts"], found["reference"]["counts"]
    assert first["parameters"] == second["parameters"] == sum(p.numel() for p in model.parameters())
    assert first["non-zero parameters"] < 0.7 * second["non-zero parameters"]
    shaped = printed([str(tmp_path / "stock"), "--input", "input_ids=2x16:int64"], capsys)
    assert shaped["counts"]["MACs"] == second["MACs"]
    longer = printed([str(tmp_path / "stock"), "--input", "input_ids=2x32:int64"], capsys)
    assert longer["counts"]["MACs"] > 1.9 * second["MACs"]


def test_a_list_of_thread_counts(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lenet-300-100", "lenet-300-100", "--batch", "1", "--threads", "1,2", *FEW]
    assert [row["threads"] for row in printed(words, capsys)["latency"]] == [1, 2]


def test_another_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    words = ["lenet-300-100", "lenet-300-100", "--batch", "2", "--runtime", "eager,onnxruntime"]
    found = printed([*words, *FEW], capsys)
    assert [row["runtime"] for row in found["latency"]] == ["eager", "onnxruntime"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["resnet8", "resnet8", "--runtime", "onnxruntim"], "did you mean 'onnxruntime'"),
        (["resnet8", "resnet8", "--threads", "0"], "--threads takes numbers from 1 on"),
        (["resnet8", "--batch", "1;16"], "--batch takes numbers from 1 on, e.g. 1,16; not '1;16'"),
        (["resnet8", "resnet8", "--processor-time"], "give --threads 1 with them"),
        (["EMPTY"], "holds neither pruning.json (secateur) nor config.json (transformers)"),
        (["resnet9"], "resnet8"),
        (["resnet8", "resnet8", "--input", "2x8x8", *FEW], "does not run on the example"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["measure", *(str(tmp_path) if word == "EMPTY" else word for word in words)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("secateur: ")
    assert len(said.splitlines()) == 1
    assert says in said


def test_an_artifact_knows_its_input(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = printed([str(artifact), "--batch", "3"], capsys)["counts"]
    given = printed([str(artifact), "--input", "3x1x8x8"], capsys)["counts"]
    assert counts == given


def test_the_input_says_what_images_a_network_is_built_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = printed(["resnet8", "--input", "2x5x12x12"], capsys)["counts"]
    wanted = build_seeded("resnet8", 0, num_classes=10, in_channels=5, image_size=12)
    assert counts["parameters"] == sum(p.numel() for p in wanted.parameters())


def test_an_artifact_is_traced_as_it_is_now(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["trace", str(artifact)]) == 0
    narrow = sc.trace(sc.load(artifact), torch.zeros(2, 1, 8, 8))
    assert capsys.readouterr().out.splitlines() == list(narrow.lines(False))
