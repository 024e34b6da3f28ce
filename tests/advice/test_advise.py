"""The adviser: what is ruled out, what comes first, and whether its figures stand where it says."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import secateur as sc
from secateur.advice import Need, advise, traits_of
from secateur.advice.measured import tables
from secateur.cli.main import call
from secateur.core.cards import METHODS
from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.engine.collect.statistics import OWN_PASS, READS, Job
from secateur.structure import Weights
from tests.engine.test_execute import OF_MASKS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("table", tables(), ids=lambda t: f"{t.network}-{t.takes}-{t.training}")
def test_every_figure_stands_on_its_page(table) -> None:
    page = "\n".join((ROOT / part).read_text("utf-8") for part in table.source.split(", "))
    assert table.dense in page
    for name, figure in table.rows.items():
        assert name in METHODS
        assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", page), f"{name}: {figure}"


def test_figures_of_structured_methods_are_those_of_their_rows() -> None:
    page = (ROOT / "docs/results/structured/structured.md").read_text("utf-8")
    rows = dict(
        re.findall(r"^\| `([\w-]+)[^|]*\|[^|]*\|[^|]*\|[^|]*\|(.*?\|.*?)\|", page, re.M)[::-1]
    )
    found = [table for table in tables() if table.source.endswith("structured.md")]
    assert len(found) == 2
    for table in found:
        for name, figure in table.rows.items():
            pruned, tuned = rows[name].split("|")
            assert (tuned if table.training else pruned).strip().startswith(figure), name


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_reads_no_data_and_does_not_train_prunes_without(name: str) -> None:
    """The traits against the thing itself, on a small network: no data, no training."""
    recipe = METHODS[name]()
    traits = traits_of(recipe)
    assert traits.carries == (name in OF_MASKS)
    if (
        traits.carries
        or traits.reads != "nothing"
        or traits.trains
        or METHODS[name].family == "language models"
    ):
        return
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(8 * 4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4),
    )  # fmt: skip
    assert sc.prune(net, recipe, example=torch.randn(2, 2, 6, 6)).sparsity >= 0


@pytest.mark.parametrize("name", sorted(OWN_PASS))
def test_what_reads_no_labels_never_asks_for_the_loss(name: str) -> None:
    """A loss that raises, or batches that are missing, tell what a statistic of its own pass reads."""

    class Touched(Exception):
        pass

    def loss(*_: object) -> torch.Tensor:
        raise Touched

    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    params = {n: p for n, p in net.named_parameters() if p.dim() == 2}
    job = Job(
        net, params, [(torch.randn(3, 4), torch.tensor([0, 1, 1]))], loss, example=torch.randn(1, 4),
        initial={n: p.detach().clone() for n, p in params.items()}, targets=Weights().targets(net),
    )  # fmt: skip
    if READS[name] == "nothing":
        job.batches = None
    if READS[name] == "labels":
        with pytest.raises((Touched, sc.SecateurError)):
            OWN_PASS[name](job, None)
        return
    with suppress(sc.SecateurError):  # of structures, which this network's weights are not
        OWN_PASS[name](job, None)


def test_zeros_are_not_advised_for_speed() -> None:
    plain = {c.traits.takes for c in advise(goal="speed").choices}
    tensor_cores = {c.traits.takes for c in advise(goal="speed", hardware="2:4").choices}
    assert plain == {"units"}
    assert tensor_cores == {"units", "patterns"}


@pytest.mark.parametrize("data", ["nothing", "inputs", "labels"])
def test_nothing_is_advised_that_reads_more_than_there_is(data) -> None:
    order = ["nothing", "inputs", "labels"]
    for choice in advise(data=data, goal="file").choices:
        assert order.index(choice.traits.reads) <= order.index(data)
        assert not choice.traits.trains
    assert "snip" in advise(data=data, goal="sparse", trained=False).ruled_out


def test_the_order_is_that_of_the_figures() -> None:
    choices = advise(network="language-model", data="inputs", goal="file").choices
    figures = [
        float(c.measured.split(",")[0])
        for c in choices
        if c.traits.takes == "weights" and c.measured
    ]
    assert figures == sorted(figures)
    assert len(figures) >= 5
    measured = [bool(c.measured) for c in choices if c.traits.takes == "weights"]
    assert measured == sorted(measured, reverse=True)


def test_a_method_of_ones_own_is_advised_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from secateur.core.cards import method

    monkeypatch.setattr("secateur.core.cards.METHODS", METHODS)
    try:

        @method("mine", family="structured")
        def mine(density: float = 0.5) -> Recipe:
            """Mine."""
            return METHODS["group-norm"](density=density)

        assert "mine" in {c.method for c in advise(data="nothing").choices}
        assert "mine" in advise(goal="sparse").ruled_out
    finally:
        METHODS.pop("mine", None)


def test_what_does_not_do_for_the_network_is_ruled_out_with_its_reason() -> None:
    found = advise(
        network="language-model", data="inputs", goal="file",
        unfit=lambda recipe: "" if recipe.walk == "blocks" else "take too much",
    )  # fmt: skip
    assert found.choices
    assert {METHODS[c.method](**c.options).walk for c in found.choices} == {"blocks"}
    assert found.ruled_out["llm-pruner"] == "take too much"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"goal": "sped"}, "speed"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"data": "nothing", "training": True}, "training needs data"),
        ({"data": "inputs", "training": True}, "needs labels"),
    ],
)
def test_mistakes_are_said(asked, words) -> None:
    with pytest.raises(PlanError, match=words):
        Need(**asked)


def test_the_command_line_says_it_and_its_lines_are_commands(capsys) -> None:
    assert call(["advise", "resnet8", "--training", "--share", "0.6", "--most", "30"]) == 0
    out = capsys.readouterr().out
    lines = [line.strip() for line in out.splitlines() if line.strip().startswith("secateur prune")]
    assert len(lines) > 10
    assert all("resnet8" in line for line in lines)
    assert call(["advise", "--goal", "sped"]) == 2
    assert "did you mean 'speed'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"training": True},
        {"goal": "file", "data": "nothing"},
        {"goal": "sparse", "trained": False},
    ],
    ids=str,
)
def test_the_first_commands_can_be_carried_out(asked, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    need = Need(**asked, **({"training": True} if asked.get("trained") is False else {}))
    for choice in advise(need, at="resnet8").choices[:2]:
        line = choice.line.replace("DATA", "digits")
        assert call([*shlex.split(line)[1:], "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("free", "why", "said"),
    [
        (10, "gradients", "take more memory than there is"),
        (10, "", ""),
        (1000, "gradients", ""),
        (None, "g", ""),
    ],
)
def test_what_has_to_be_in_memory_and_is_too_large_is_ruled_out(
    free, why, said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from secateur.language import folders

    for name, value in (
        ("available", free),
        ("expected_peak", 100),
        ("why_in_memory", why),
        ("Shards", None),
    ):
        monkeypatch.setattr(folders, name, lambda *_, value=value: value)
    assert folders.short_of_memory(Path("model"), METHODS["llm-pruner"]()) == said
    assert folders.short_of_memory(Path("model"), METHODS["wanda"]()) == ""


def test_what_goes_on_from_masks_is_for_networks_that_have_some() -> None:
    out = advise(goal="sparse", training=True, trained=False).ruled_out
    assert out["transferred-ticket"] == "train a network that was pruned before"


def test_what_cannot_leave_so_much_is_ruled_out() -> None:
    """Four weights of a 3 x 3 kernel: at most four ninths stay."""
    half, third = (advise(goal="file", data="nothing", share=share) for share in (0.5, 0.6))
    assert half.ruled_out["patterns"] == "cannot leave 50%"
    assert "patterns" in {choice.method for choice in third.choices}
