"""A network of one's own from the command line: pruned, compared with itself, exported, loaded."""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import secateur as sc
from secateur.cli.main import call
from secateur.core.errors import StorageError
from secateur.core.importing import current_folder

CODE = """
from torch import nn

def build():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The artifact that `prune` leaves of a network in a file beside it."""
    (tmp_path / "greenhouse.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    words = "--method l1-filters --density 0.5 --data digits --train 2it --out runs"
    assert call(["prune", "greenhouse:build", *words.split()]) == 0
    yield next(Path("runs").rglob("small"))
    sys.modules.pop("greenhouse", None)


def test_a_network_named_on_the_line_may_build_its_own_artifact(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(small), "greenhouse:build", "--batch", "1", "--pairs", "5", "--json"]
    capsys.readouterr()
    assert call(["measure", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    counts = [found[key]["counts"] for key in ("network", "reference")]
    assert counts[0]["parameters"] < counts[1]["parameters"]
    record = json.loads((small / "pruning.json").read_text())["provenance"]["record"]
    assert record["macs"] == [counts[1]["MACs"], counts[0]["MACs"]]  # of one input


def test_what_is_not_named_is_not_run_and_the_remedy_works(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call(["measure", str(small)]) == 2
    assert "--trust greenhouse" in capsys.readouterr().err
    assert call(["measure", str(small), "--trust", "greenhouse"]) == 0
    assert call(["export", str(small), "--out", "m.safetensors", "--trust", "greenhouse"]) == 0


def test_a_file_beside_an_artifact_takes_no_installed_packages_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tomllib.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tomllib", raising=False)
    before = list(sys.path)
    with current_folder(first=False):
        assert "ran" not in str(importlib.import_module("tomllib").__file__)
    assert sys.path == before


def test_the_card_loads_it(small: Path) -> None:
    line = next(
        line for line in (small / "README.md").read_text().splitlines() if "sc.load(" in line
    )
    assert line == 'model = sc.load("…", trust=("greenhouse",))'
    made = sc.load(small, trust=("greenhouse",))
    assert made(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(StorageError, match="trust"):
        sc.load(small)


def test_a_folder_of_pictures_of_different_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    draw = random.Random(0)
    for split, count in (("train", 9), ("test", 4)):
        for kind, colour in (("healthy", (0, 160, 0)), ("yellow", (190, 190, 0))):
            (tmp_path / "leaves" / split / kind).mkdir(parents=True)
            for i in range(count):
                size = (draw.choice([20, 24]), 20) if (split, i) != ("train", 0) else (20, 20)
                made = image.new("RGB", size, colour)
                made.save(tmp_path / "leaves" / split / kind / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    words = "prune resnet8 --method l1-filters --density 0.5 --data leaves --train 2it --out runs"
    words += " --training batch_size=4"
    assert call(words.split()) == 2
    assert "--data-option size=" in capsys.readouterr().err
    assert not Path("runs").exists()
    assert call([*words.split(), "--data-option", "source=digits"]) == 2
    assert "--data says" in capsys.readouterr().err
    assert call([*words.split(), "--data-option", "size=16"]) == 0
    (found,) = Path("runs").rglob("small/pruning.json")
    origin = json.loads(found.read_text())
    assert origin["architecture"]["arguments"]["num_classes"] == 2
    assert "16, 16" in json.dumps(origin["example"])
