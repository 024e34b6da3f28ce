"""Flags of `secateur prune` for the other kind of network are refused, none is passed over."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from secateur.cli.kinds import IMAGES, LANGUAGE
from secateur.cli.main import call
from secateur.cli.prune import prune

BOTH = {
    "network", "method", "out", "data", "sparsity", "density", "option", "training", "seed", "pattern",
    "budget", "round_to", "protect", "floor", "cap", "even", "dry_run", "device",
}  # fmt: skip
VALUES = {"trained": [], "padded": [], "samples": ["4"], "length": ["8"], "task_limit": ["3"]}
VALUES |= {"compare": None, "permute": []}


def flag(name: str) -> list[str]:
    """The words that give the flag some value."""
    value = VALUES.get(name, ["x=1"])
    return ["--no-compare"] if value is None else ["--" + name.replace("_", "-"), *value]


CASES = [("org/model", name, "networks of images") for name in IMAGES]
CASES += [("resnet8", name, "language models") for name in LANGUAGE]


@pytest.mark.parametrize(("network", "name", "kind"), CASES)
def test_a_flag_for_the_other_kind_is_one_line(
    network: str, name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "prune",
        network,
        "--method",
        "wanda",
        "--density",
        "0.5",
        "--out",
        str(tmp_path / "out"),
    ]
    assert call([*words, *flag(name)]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert f"--{name.replace('_', '-')} is for {kind}; this is" in said
    assert not list(tmp_path.iterdir())


def test_every_flag_is_for_one_kind_or_for_both() -> None:
    flags = set(inspect.signature(prune).parameters) - {"context"}
    assert flags == BOTH | set(IMAGES) | set(LANGUAGE)
    assert not set(IMAGES) & set(LANGUAGE)


def test_a_network_without_blocks_is_refused_before_anything_is_written(tmp_path, capsys) -> None:
    out = tmp_path / "out"
    words = ["prune", "resnet8", "--method", "wanda", "--data", "digits", "--out", str(out)]
    assert call(words) == 2
    assert "--option walk=whole" in capsys.readouterr().err
    assert not out.exists()
