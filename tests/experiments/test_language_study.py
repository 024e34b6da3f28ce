"""A study of a tiny language model: phases, search, resumption, what is refused, the report."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from e2e.started import carry_out

from secateur import load, recipe
from secateur.cli.language_study import plan_lines
from secateur.cli.main import call
from secateur.core.errors import PlanError, StorageError
from secateur.data.questions import Question, load_questions
from secateur.engine.blockwise.folder import prune_folder
from secateur.experiments.config import load_experiment
from secateur.experiments.language.config import (
    Goals,
    LanguageStudy,
    load_language_study,
    one_density,
)
from secateur.experiments.language.judge import best, judge
from secateur.experiments.language.results import is_language_study, load_language
from secateur.experiments.language.runner import LanguageRunner
from secateur.experiments.language.small import Small, small_model, small_tokenizer, train_small
from secateur.experiments.language.subject import load_model
from secateur.experiments.language.turns import IGNORED, Turns, answer_loss, calibration, encode
from secateur.report import terminal_table, write
from secateur.report.words import Words

pytest.importorskip("transformers")

TINY = {
    "vocabulary": 300, "hidden": 16, "layers": 3, "ffn": 24, "heads": 2, "groups": 1, "steps": 2,
    "batch": 4, "context": 384,
}  # fmt: skip
ASKING = {
    "calibration": 4, "validation": 2, "test": 2, "tokens": 3, "batch": 4, "timed": 1, "repeats": 1,
    "timed_tokens": 2, "samples": 1,
}  # fmt: skip


SHORT = {"source": "small", "small": {**TINY, "layers": 2}}
"""A model with a layer less, where the number does not matter: tracing takes most of a run."""


def definition(**changed: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "kind": "language-model",
        "name": "tiny",
        "model": {"source": "small", "small": TINY},
        "data": "smartfarm-embedded",
        "asking": ASKING,
        "options": {"cap": 0.5, "floor": 2},
        "phases": [
            {"phase": 0, "runs": [{"id": "origin", "method": "dense"}]},
            {"phase": 1, "runs": [{"id": "1-1", "options": {"sparsity": 0.25}}]},
            {
                "phase": 2,
                "base": "best",
                "runs": [{"id": "2-1", "options": {"early": 0.5, "late": 2.0}}],
                "search": {"trials": 2, "ranges": {"sparsity": [0.1, 0.4], "cap": [0.4, 0.5]}},
            },
        ],
        **changed,
    }


def study(**changed: Any) -> LanguageStudy:
    return LanguageStudy(**definition(**changed))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A finished study and the events of its making."""
    pytest.importorskip("optuna")
    root = tmp_path_factory.mktemp("study") / "out"
    events: list[dict[str, Any]] = []
    LanguageRunner(root, study()).run(lambda event: events.append(dict(event)))
    return root, events


def test_every_line_and_every_trial_is_a_result(done: tuple[Path, list[dict[str, Any]]]) -> None:
    root, events = done
    found = load_language(root)
    assert [entry.id for entry in found.entries] == ["origin", "1-1", "2-1", "2-t0", "2-t1"]
    assert [event["kind"] for event in events if event["kind"] == "done"] == ["done"] * 5
    for entry in found.entries:
        path = root / entry.digest / "0" / "result.json"
        assert json.loads(path.read_text())["digest"] == entry.digest
    original, first = found.original, found.run(found.entries[1])
    assert sum(gone for gone, _ in first["layers"].values()) == 18  # a quarter of 3 x 24
    assert original["parameters"] - first["parameters"] == 18 * 3 * 16
    assert first["memory"]["weights"] < original["memory"]["weights"]
    assert first["level"] == "A"
    assert found.entries[2].options["sparsity"] == 0.25  # from the best so far
    assert found.entries[2].options["early"] == 0.5
    searched = found.entries[3].options["sparsity"]
    assert 0.1 <= searched <= 0.4


def test_started_again_it_only_reads(done: tuple[Path, list[dict[str, Any]]]) -> None:
    root, _ = done
    before = {p: p.read_bytes() for p in root.rglob("result.json")}
    events: list[dict[str, Any]] = []
    LanguageRunner.reopen(root).run(lambda event: events.append(dict(event)))
    assert {event["kind"] for event in events} == {"skipped"}
    assert {p: p.read_bytes() for p in root.rglob("result.json")} == before


def test_a_trial_that_was_begun_is_done_with_its_parameters(
    done: tuple[Path, list[dict[str, Any]]],
) -> None:
    """Asked for and not told, as a killed process leaves it."""
    from secateur.experiments.language.search import _ask, open_study, search

    root, _ = done
    runner = LanguageRunner.reopen(root)
    phase = runner.study.phases[2].model_copy(update={"phase": 7})
    assert phase.search is not None
    asked = open_study(runner, phase)
    number = _ask(asked, phase.search, 5)
    begun = asked.trials[number].params
    runner.run(lambda event: None)  # opens the subject
    search(runner, phase, {"floor": 2})
    told = open_study(runner, phase).trials
    assert len(told) == phase.search.trials
    assert told[number].params == begun
    assert all(len(trial.values) == 3 for trial in told)


def test_killed_between_two_runs_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = definition(model=SHORT)
    del plain["phases"][2]
    plain["phases"][1]["runs"] = [{"id": "1-1", "method": "wanda", "options": {"sparsity": 0.5}}]
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(plain))
    words = ["run", str(file), "--out", str(tmp_path / "out")]
    first = multiprocessing.get_context("fork").Process(target=carry_out, args=(words,))
    first.start()
    while not list((tmp_path / "out" / "lines").glob("origin.json")):
        assert first.is_alive()
        time.sleep(0.02)
    first.kill()
    first.join()
    original = next((tmp_path / "out").glob("*/0/result.json")).read_bytes()
    capsys.readouterr()
    assert call(words) == 0
    assert "skipped origin" in capsys.readouterr().err
    assert original in {p.read_bytes() for p in (tmp_path / "out").glob("*/0/result.json")}
    assert load_language(tmp_path / "out").missing == ()


def test_any_method_with_any_recovery_is_a_run(tmp_path: Path) -> None:
    """Layers, masks, adapters and distillation beside the study's own method."""
    half = {"density": 0.5}
    lora = {"name": "lora", "length": "2it", "rank": 2}
    phases = [
        {"phase": 0, "runs": [{"id": "origin", "method": "dense"}]},
        {
            "phase": 1,
            "runs": [
                {"id": "lora", "method": "shortgpt", "options": half, "recovery": lora},
                {"id": "sparse", "method": "wanda", "options": {"sparsity": 0.5}},
                {"id": "own", "recovery": {"name": "fine-tune", "length": "1it"}},
            ],
        },
        {"phase": 2, "base": "best", "runs": [{"id": "next", "options": {"sparsity": 0.1}}]},
    ]
    options = {"cap": 0.5, "floor": 2, "sparsity": 0.25}
    training = {"lr": 0.01, "distil": {}}
    asked = study(model=SHORT, phases=phases, options=options, training=training)
    events: list[dict[str, Any]] = []
    LanguageRunner(tmp_path, asked).run(lambda event: events.append(dict(event)))
    found = load_language(tmp_path)
    runs = {entry.id: found.run(entry) for entry in found.entries}
    dense = found.original["parameters"]
    assert runs["lora"]["level"] == "A"
    assert "recovery" not in runs["sparse"]
    (lora_run,) = runs["lora"]["recovery"]
    assert 0 < lora_run["parameters"] < runs["lora"]["parameters"]
    assert lora_run["after"]["loss"] != lora_run["before"]["loss"]
    assert runs["lora"]["config"]["training"]["distil"]["temperature"] == 4.0
    assert runs["sparse"]["config"]["training"] is None
    assert list(runs["lora"]["layers"].values()).count([1, 1]) == 1
    assert (runs["sparse"]["level"], runs["sparse"]["parameters"]) == ("masks", dense)
    assert runs["own"]["recovery"][0]["parameters"] == dense  # trained before it is smaller
    assert found.entries[-1].options == {
        "cap": 0.5,
        "floor": 2,
        "sparsity": 0.1,
    }  # from `own` alone
    plain = write(tmp_path, tmp_path / "report", formats=("md",))["md"].read_text()
    assert "| shortgpt" in plain


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_report_has_every_part(
    done: tuple[Path, list[dict[str, Any]]], tmp_path: Path, lang: str
) -> None:
    root, _ = done
    assert is_language_study(root)
    paths = write(root, tmp_path, lang=lang, formats=("html", "md"))
    page, plain = paths["html"].read_text(), paths["md"].read_text()
    words = Words(lang)
    for key in ("results", "goals", "winner", "samples", "removed", "about"):
        assert words(f"lm.{key}.title") in page
    for id in ("origin", "1-1", "2-1", "2-t0"):
        assert f"| {id} |" in plain
    assert "figure-pareto" in page
    assert "figure-removed" in page
    assert words("lm.note.winner") in plain


def test_runs_are_shown_and_compared(
    done: tuple[Path, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(done[0])
    assert call(["show", root, "1-1"]) == 0
    shown = capsys.readouterr().out
    assert "units removed                18 of 72" in shown
    assert "density: 0.75" in shown
    digest = load_language(done[0]).entries[1].digest
    assert call(["show", root, digest[:9]]) == 0
    assert capsys.readouterr().out == shown
    assert call(["compare", root, "1-1", "2-1"]) == 0
    table = capsys.readouterr().out
    assert "early" in table
    assert "sparsity" not in table  # the same in both
    assert "test ROUGE-L" in table
    assert call(["compare", root, "1-1", "2-11"]) == 2
    assert "did you mean '2-1'" in capsys.readouterr().err


def test_the_terminal_shows_the_table(done: tuple[Path, list[dict[str, Any]]]) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(terminal_table(done[0]))
    lines = [line.strip() for line in console.export_text().splitlines()]
    (head,) = [line for line in lines if "ROUGE-L" in line]
    rows = [line.split() for line in lines[lines.index(head) + 1 :] if ":" not in line and line]
    assert [row[0] for row in rows] == [entry.id for entry in load_language(done[0]).entries]
    assert {len(row) for row in rows} == {7}  # no cell is broken
    assert "origin: original model" in lines


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    rows, size = load_questions("smartfarm-embedded").train[:16], Small(**TINY | {"steps": 30})

    class Stop(Exception):
        pass

    def stop(row: Any) -> None:
        raise Stop

    whole = train_small(tmp_path / "whole", rows, size)
    with pytest.raises(Stop):
        train_small(tmp_path / "cut", rows, size, tell=stop)
    heard: list[Any] = []
    cut = train_small(tmp_path / "cut", rows, size, tell=heard.append)
    assert [row["step"] for row in heard] == [30]
    files = [(folder / "model.safetensors").read_bytes() for folder in (whole, cut)]
    assert files[0] == files[1]


def test_transformers_draws_no_bar_in_the_middle(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither where a model is written and read for a study, nor where an artifact is."""
    from transformers.utils import logging as theirs

    shown = theirs.is_progress_bar_enabled()
    theirs.enable_progress_bar()
    try:
        rows = load_questions("smartfarm-embedded").train[:8]
        folder = train_small(tmp_path / "small", rows, Small(**TINY))
        load_model(str(folder), study().model)
        prune_folder(
            folder, recipe("magnitude-layerwise", density=0.5, walk="blocks"), tmp_path / "out"
        )
        load(tmp_path / "out")
        assert theirs.is_progress_bar_enabled()
    finally:
        (theirs.enable_progress_bar if shown else theirs.disable_progress_bar)()
    assert "it/s" not in capfd.readouterr().err


def test_only_answers_have_labels_and_the_loss_looks_one_ahead() -> None:
    rows = [Question("a b?", "c"), Question("d?", "e f g")]
    tokenizer = small_tokenizer(rows, 300)
    encoded = [encode(tokenizer, row, chat=True) for row in rows]
    assert tokenizer.decode(encoded[0][0]) == "<bos><user>a b?<model>c<eos>"
    (ids, labels), *rest = Turns(tokenizer, rows, 2).epoch(0)
    assert not rest
    for row, marks in zip(ids, labels, strict=True):
        told = tokenizer.decode(row[marks != IGNORED])
        assert told in ("c<eos>", "e f g<eos>")
    model = small_model(Small(**TINY), tokenizer).eval()
    with torch.no_grad():
        logits = model(ids).logits.log_softmax(-1)
        loss = float(answer_loss(model(ids), labels))
    wanted = [
        -float(logits[r, c - 1, labels[r, c]])
        for r, c in (labels != IGNORED).nonzero().tolist()
    ]  # fmt: skip
    assert loss == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)
    (batch,) = calibration(tokenizer, rows, True, 2)
    assert batch["attention_mask"].sum(1).tolist() == sorted(len(ids) for ids, _ in encoded)


def run(
    rouge: float,
    bleu: float,
    time: float,
    weights: int,
    pruned: bool = True,
    spread: tuple[float, float] = (0.0, 0.0),
) -> dict[str, Any]:
    part = {"rougeL": {"f1": rouge}, "bleu": {"score": bleu}}
    ratio = {"mean": time, "low": time - spread[0], "high": time + spread[1]}
    return {
        "validation": part, "test": part, "response": {"ratio": ratio},
        "memory": {"weights": weights}, "layers": {"x": [1, 2]} if pruned else {},
    }  # fmt: skip


def test_goals_and_the_best_run() -> None:
    original = run(0.5, 0.4, 1.0, 100, pruned=False)
    half = run(0.475, 0.36, 0.7, 80)
    verdict = judge(half, original, Goals(), "test")
    assert (verdict.rouge, verdict.bleu, verdict.memory) == pytest.approx((0.95, 0.9, 0.8))
    assert all(verdict.met.values())
    slow = run(0.6, 0.5, 0.71, 80)
    worse = run(0.474, 0.5, 0.5, 50)
    assert judge(slow, original, Goals(), "test").met["time"] is False
    assert judge(worse, original, Goals(), "test").met["rouge"] is False
    assert best([("o", original), ("slow", slow), ("half", half)], original, Goals()) == "half"
    assert best([("a", slow), ("b", slow)], original, Goals()) == "a"
    assert best([("o", original)], original, Goals()) is None
    nothing = run(0.0, 0.0, 1.0, 100, pruned=False)
    assert judge(half, nothing, Goals(), "test").rouge == float("inf")


@pytest.mark.parametrize(
    ("time", "spread", "met", "unclear"),
    [
        (0.60, (0.33, 0.36), False, True),  # the mean alone says yes
        (0.75, (0.10, 0.10), False, True),
        (0.60, (0.10, 0.10), True, False),
        (0.80, (0.05, 0.05), False, False),
    ],
)
def test_the_time_goal_wants_the_whole_interval(
    time: float, spread: tuple[float, float], met: bool, unclear: bool
) -> None:
    original = run(0.5, 0.4, 1.0, 100, pruned=False)
    verdict = judge(run(0.5, 0.4, time, 80, spread=spread), original, Goals(), "test")
    assert verdict.met["time"] is met
    assert verdict.unclear is unclear


@pytest.mark.parametrize(("lang", "word"), [("en", "unclear"), ("ko", "불확실")])
def test_the_report_says_where_the_time_is_unclear(
    done: tuple[Path, list[dict[str, Any]]], tmp_path: Path, lang: str, word: str
) -> None:
    root = tmp_path / "study"
    shutil.copytree(done[0], root)
    ends = {"1-1": (0.3, 0.9), "2-1": (0.3, 0.6), "2-t0": (0.8, 0.9)}
    for entry in load_language(root).entries:
        low, high = ends.get(entry.id, (0.8, 0.9))
        path = root / entry.digest / "0" / "result.json"
        result = json.loads(path.read_text())
        result["response"]["ratio"] = {"mean": (low + high) / 2, "low": low, "high": high}
        path.write_text(json.dumps(result))
    plain = write(root, tmp_path, lang=lang, formats=("md",))["md"].read_text()
    assert f"60.0 (30–90) {word}" in plain
    assert "45.0 (30–60) ✓" in plain
    assert "85.0 (80–90) ✗" in plain


def test_a_newer_density_takes_the_place_of_the_other_word() -> None:
    assert one_density({"sparsity": 0.1, "density": 0.5}, {"density": 0.5}) == {"density": 0.5}
    assert one_density({"density": 0.5, "sparsity": 0.1}, {"sparsity": 0.1}) == {"sparsity": 0.1}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"phases": [{"phase": 1, "runs": [{"id": "a"}]}]}, "must begin with the original"),
        ({"options": {"kap": 1}}, "did you mean 'cap'"),
        ({"modell": {}}, "did you mean 'model'"),
        ({"training": {"learning_rate": 1}}, "learning_rate"),
    ],
)
def test_mistakes_are_found_before_anything_runs(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        study(**changed)


def test_two_runs_of_one_name_and_unknown_ranges_are_refused() -> None:
    twice = definition()["phases"]
    twice[1]["runs"] *= 2
    with pytest.raises(PlanError, match="two runs are called '1-1'"):
        study(phases=twice)
    ranged = definition()["phases"]
    ranged[2]["search"]["ranges"] = {"flor": [1, 2]}
    with pytest.raises(PlanError, match="did you mean 'floor'"):
        study(phases=ranged)


def test_another_study_or_a_missing_model_is_refused(tmp_path: Path) -> None:
    LanguageRunner(tmp_path, study(model={"source": str(tmp_path / "no")}))
    with pytest.raises(StorageError, match="cannot be loaded"):
        LanguageRunner(tmp_path / "out", study(model={"source": str(tmp_path / "no")})).run(print)
    with pytest.raises(StorageError, match="holds the study 'tiny', not 'other'"):
        LanguageRunner(tmp_path / "out", study(name="other")).run(print)


def test_files_of_either_kind_are_told_apart() -> None:
    folder = Path(__file__).parents[2] / "experiments"
    assert load_language_study(folder / "smartfarm.yaml").model.source == "google/gemma-3-1b-it"
    with pytest.raises(PlanError, match="kind 'language-model'"):
        load_experiment(folder / "smartfarm.yaml")


def test_a_plan_tells_how_accuracy_is_won_back(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "{kind: language-model, name: s, schema: 1, model: {source: small}, data: smartfarm-embedded, "
        "phases: [{phase: 0, runs: [{id: origin, method: dense}]}, {phase: 1, runs: [{id: a, method: "
        "shortgpt, options: {density: 0.5}, recovery: {name: lora, length: 2it}}]}]}"
    )
    said = list(plan_lines(file, 1.0))
    assert said[-1] == "  a        shortgpt(density=0.5), then lora(length=2it)"
    assert "  origin   dense()" in said
