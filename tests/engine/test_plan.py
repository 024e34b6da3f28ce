"""A plan's words: what data are needed for what, defaults nobody asked for, masks that will not hold."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.cli.main import call
from secateur.core.cards import METHODS, assumed
from secateur.core.errors import PlanError


def net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))


def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


def plan(method: str, **options: object) -> list[str]:
    return str(sc.plan(net(), method, torch.zeros(2, 8), **options)).splitlines()


@pytest.mark.parametrize(
    ("method", "choosing", "training"),
    [
        ("magnitude", "needs no data", "training is not needed"),
        ("snip", "needs data with labels (gradient)", "training is not needed"),
        ("synflow", "needs no data (synaptic_flow)", "training is not needed"),
        (
            "gradual-magnitude",
            "needs no data",
            "training must be given, and data to train on: schedule 'cubic' prunes while the network trains",
        ),
        (
            "movement",
            "rests on what the training tells (learned)",
            "training must be given, and data to train on: schedule 'cubic' prunes while the network trains",
        ),
        (
            "lottery-ticket",
            "needs no data",
            "training must be given, and data to train on: recovery 'rewind-weights' trains",
        ),
    ],
)
def test_it_says_what_data_are_for(method: str, choosing: str, training: str) -> None:
    lines = plan(method)
    assert f"choosing what goes {choosing}" in lines
    assert training in lines


def test_inputs_without_labels_are_told_from_labels() -> None:
    lines = plan("wanda", walk="whole")
    assert "choosing what goes needs data; labels are not read (input_square)" in lines


@pytest.mark.parametrize("method", ["gradual-magnitude", "lottery-ticket", "rigl", "sr-ste"])
def test_what_says_it_must_be_trained_is_refused_without(method: str) -> None:
    (line,) = (line for line in plan(method) if line.startswith("training must be given"))
    with pytest.raises(PlanError) as error:
        sc.prune(net(), method, data=data())
    assert str(error.value).startswith(f"{line.partition(': ')[2]}, but no training was given")


def test_a_density_that_was_not_given_is_named() -> None:
    said = (
        "density 10 % (sparsity 90 %) is the default of 'snip'; give density or sparsity (on the "
        "command line --density or --sparsity) for another"
    )
    assert said in plan("snip")
    for given in ({"density": 0.1}, {"sparsity": 0.9}):
        assert not any("the default of" in line for line in plan("snip", **given))
    for method, given in (("dense", {}), ("han", {}), ("l1-filters", {"budget": {"macs": "50%"}})):
        assert not any("the default of" in line for line in _told(method, given))


def _told(method: str, options: dict[str, object]) -> list[str]:
    assert method in METHODS
    told = assumed(method, options)
    return [told] if told else []


def test_the_command_line_begins_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "prune",
        "resnet20",
        "--network-option",
        "width=2",
        "--method",
        "magnitude",
        "--train",
        "1it",
    ]
    assert call([*words, "--out", str(tmp_path / "a"), "--training", "batch_size=8"]) == 0
    assert capsys.readouterr().out.startswith(
        "density 50 % (sparsity 50 %) is the default of 'magnitude'"
    )
    assert call([*words, "--out", str(tmp_path / "b"), "--dry-run"]) == 0
    assert "is the default of 'magnitude'" in capsys.readouterr().out
    assert call([*words, "--out", str(tmp_path / "b"), "--dry-run", "--sparsity", "0.5"]) == 0
    assert "the default of" not in capsys.readouterr().out


class TestMasksThatComeWithTheNetwork:
    def told(
        self, caplog: pytest.LogCaptureFixture, model: nn.Module, method: str, **options: object
    ) -> str:
        """The one line of warning, which the plan has, too; empty where there is none."""
        caplog.clear()
        with caplog.at_level(logging.WARNING, "secateur"):
            sc.prune(model, method, data=data(), **options)
        options.pop("training", None)
        plan = str(sc.plan(model, method, **options))
        said = [r.getMessage() for r in caplog.records if "carries masks" in r.getMessage()]
        assert said == [line for line in plan.splitlines() if "carries masks" in line]
        assert len(said) <= 1
        return "".join(said)

    def test_what_lets_them_go_says_so_and_what_to_do(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        masked = sc.prune(net(), "magnitude", sparsity=0.5).model
        said = self.told(caplog, masked, "snip", density=0.25)
        assert "carries masks (32 of 64 weights are out), but 'snip' chooses anew" in said
        assert "carried=True holds them" in said
        assert "take another one with carried=True" in self.told(
            caplog, masked, "force", density=0.25
        )

    def test_what_holds_them_is_silent(self, caplog: pytest.LogCaptureFixture) -> None:
        masked = sc.prune(net(), "magnitude", sparsity=0.5)
        training = sc.preset("short").model_copy(
            update={"length": sc.Time(2, "it"), "batch_size": 8}
        )
        assert not self.told(caplog, masked.model, "dense", training=training)
        assert not self.told(caplog, masked.model, "snip", density=0.25, carried=True)
        assert not self.told(caplog, net(), "snip", density=0.25)
        further = sc.prune(masked.model, "snip", data=data(), density=0.25, carried=True)
        assert not (further.masks["0.weight"] & ~masked.masks["0.weight"]).any()
        with pytest.raises(PlanError, match="carried is true or false; got 1"):
            sc.recipe("snip", carried=1)
