"""`secateur prune` of a trained network in a folder: a classifier of images, an artifact, neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import secateur as sc
from secateur.cli.main import call
from secateur.data import DataSet, ImageData
from secateur.experiments import pretrained, setting
from secateur.experiments.config import Data, Network

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ViT for pictures of 16 x 16, as transformers saves it, with a preprocessor."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=16, patch_size=4, num_channels=1, hidden_size=16, intermediate_size=32,
        num_hidden_layers=2, num_attention_heads=2, num_labels=3,
    )  # fmt: skip
    where = tmp_path_factory.mktemp("network") / "vit"
    transformers.ViTForImageClassification(config).save_pretrained(where)
    told = {"do_normalize": True, "image_mean": [0.25], "image_std": [0.5]}
    (where / "preprocessor_config.json").write_text(json.dumps(told))
    return where


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random pictures of 16 x 16 in three classes, under any name."""

    def part(split: str) -> ImageData:
        rng = torch.Generator().manual_seed(len(split))
        images = torch.randint(0, 256, (48, 1, 16, 16), generator=rng, dtype=torch.uint8)
        return ImageData(images, torch.arange(48) % 3, 3, (0.5,), (0.3,), split)

    made = DataSet("pictures", part("train"), part("test"))
    monkeypatch.setattr(setting, "load", lambda *_, **__: made)
    setting.load_data.cache_clear()
    setting._parts.cache_clear()


def pruned(source: Path, out: Path, *words: str) -> Path:
    given = ["prune", str(source), "--data", "pictures", "--train", "2it", "--out", str(out)]
    assert call([*given, "--method", "group-norm", "--density", "0.5", *words]) == 0
    return next(out.rglob("small"))


@pytest.mark.usefixtures("pictures")
def test_a_folder_of_transformers_is_pruned_with_its_own_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = pruned(folder, tmp_path / "one")
    again = sc.load(small)
    assert type(again).__name__ == "ViTForImageClassification"
    dense, kept = load_file(folder / "model.safetensors"), again.state_dict()
    assert torch.equal(dense["classifier.weight"], kept["classifier.weight"])  # nothing trained it
    assert sum(v.numel() for v in kept.values()) < sum(v.numel() for v in dense.values())
    twice = pruned(small, tmp_path / "two")
    sizes = [sum(p.numel() for p in sc.load(f).parameters()) for f in (small, twice)]
    assert sizes[1] < sizes[0]
    assert "Loading weights" not in capsys.readouterr().err


@pytest.mark.usefixtures("pictures")
def test_images_are_prepared_as_the_folder_says(folder: Path) -> None:
    told = pretrained.images_for(folder)
    assert told == {"size": 16, "mean": [0.25], "std": [0.5]}
    data = setting.load_data(Data(source="pictures", **told))
    assert (data.train.mean, data.train.std) == ((0.25,), (0.5,))


def test_pictures_that_do_not_fit(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prune", str(folder), "--method", "group-norm", "--density", "0.5"]
    assert call([*words, "--data", "digits", "--out", str(tmp_path / "out")]) == 2
    assert "takes 1 channels of 16 x 16, but 'digits' has 1 of 8 x 8" in capsys.readouterr().err


def test_a_built_in_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results lie in folders of any name; they do not change what a study means."""
    (tmp_path / "resnet8").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not Network(spec="resnet8").comes_trained
    assert Network(spec="./resnet8").comes_trained
    words = ["prune", "resnet8", "--method", "magnitude", "--density", "0.5", "--data", "digits"]
    assert call([*words, "--train", "1it", "--out", "out"]) == 0


def test_what_is_neither_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = transformers.WhisperConfig(architectures=["WhisperForConditionalGeneration"])
    config.save_pretrained(tmp_path / "ears")
    words = ["prune", str(tmp_path / "ears"), "--method", "group-norm", "--density", "0.5"]
    assert call([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "neither a classifier of images nor a language model" in said
    assert said.count("\n") == 1


@pytest.mark.usefixtures("pictures")
def test_more_classes_than_the_network_tells_apart(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = transformers.ViTConfig.from_pretrained(folder, num_labels=2)
    transformers.ViTForImageClassification(two).save_pretrained(tmp_path / "two")
    words = ["prune", str(tmp_path / "two"), "--method", "group-norm", "--density", "0.5"]
    assert call([*words, "--data", "pictures", "--out", str(tmp_path / "out")]) == 2
    assert "tells 2 classes apart, but 'pictures' has 3" in capsys.readouterr().err
