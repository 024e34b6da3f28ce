"""Every command and every block of the README is run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from export.gguf_models import build, byte_level
from transformers import ViTConfig, ViTForImageClassification

from secateur.cli.main import call

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
OWN_NETWORK = """
from torch import nn

def build(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(32), nn.ReLU(), nn.Linear(32, num_classes))
"""
OWN_NETWORK = OWN_NETWORK.replace("nn.LazyLinear(32)", "nn.Linear(64, 32)")

SMALL_STUDY = """
schema: 1
name: {name}
network: {{spec: lenet-300-100}}
data: {{source: digits, flip: false}}
training: {{preset: short, length: 1ep}}
scoring: {{samples: 64}}
seeds: [0]
runs:
  - {{method: dense}}
  - {{method: magnitude, grid: {{sparsity: [0.5, 0.9]}}}}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line.partition("#")[0].strip() for line in lines if line.startswith("secateur ")]


def test_the_python_blocks_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from secateur.core.axes import Criterion

    monkeypatch.chdir(tmp_path)

    namespace: dict[str, object] = {}
    try:
        for number, block in enumerate(blocks("python")):
            exec(compile(block, f"README block {number}", "exec"), namespace)
    finally:  # the example criterion must not reach tests over the registry
        Criterion.registry._entries.pop("magnitude-times-gradient-squared", None)
    printed = capsys.readouterr().out
    assert "sparsity 90 %" in printed
    assert "90.0% removed" in printed


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small stand-ins for the studies, and a user's own network."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "experiments").mkdir()
    for name in ("demo", "cifar10-report"):
        (folder / "experiments" / f"{name}.yaml").write_text(SMALL_STUDY.format(name=name))
    (folder / "yourpackage").mkdir()
    (folder / "yourpackage" / "__init__.py").touch()
    (folder / "yourpackage" / "nets.py").write_text(OWN_NETWORK)
    language_model(folder / "path" / "to" / "model")
    image_model(folder / "path" / "to" / "vit")
    texts = [f"Tomato plant {n} wants {n * 7} ml of water at {n % 12} o'clock." for n in range(160)]
    lines = [json.dumps({"text": text * 8}) for text in texts]
    (folder / "calibration.jsonl").write_text("\n".join(lines))
    return folder


def image_model(folder: Path) -> None:
    """A tiny ViT for the digits, as a folder."""
    config = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=16, intermediate_size=32,
        num_hidden_layers=2, num_attention_heads=2, num_labels=10,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)


def language_model(folder: Path) -> None:
    """A tiny Llama with a tokenizer, as a folder."""
    build("llama").save_pretrained(folder)
    byte_level().save_pretrained(folder)


def test_the_command_line_tour_runs_in_order(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One test, because later commands look at what earlier ones made."""
    monkeypatch.chdir(workplace)
    found = commands()
    assert len(found) >= 8
    for line in found:
        program, *words = shlex.split(line)
        assert program == "secateur"
        assert call(words) == 0, f"{line}: {capsys.readouterr().err}"


def test_the_installed_command_is_the_one_of_the_tour(workplace: Path) -> None:
    program = Path(sys.executable).with_name("secateur")
    done = subprocess.run(
        [program, "card", "synflow"], cwd=workplace, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "synaptic flow" in done.stdout


@pytest.mark.parametrize("target", re.findall(r"^make ([a-z-]+)", TEXT, re.MULTILINE))
def test_make_knows_every_target_that_is_named(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_study_in_the_repository_is_valid(path: Path) -> None:
    from secateur.experiments.config import load_experiment
    from secateur.experiments.language.config import is_language_file, load_language_study

    if is_language_file(path):
        assert load_language_study(path).scaled(0.1).asking.test >= 4
        return
    study = load_experiment(path)
    assert len({(p.config.digest, p.seed) for p in study.planned(0.1)}) == len(study.planned(0.1))
