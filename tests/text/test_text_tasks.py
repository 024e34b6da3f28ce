"""lm-eval tasks: a task of one's own from local files, against log-likelihoods taken by hand."""

import json
import random
import sys

import pytest
import torch

pytest.importorskip("transformers")
from experiments.test_language_study import ASKING, SHORT, study

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.cli.main import call
from secateur.core.errors import DataError, PlanError
from secateur.experiments.language.results import load_language
from secateur.experiments.language.runner import LanguageRunner
from secateur.language import tokenizer_of
from secateur.report.language.rows import Rows
from secateur.report.language.tables import tasks_table
from secateur.report.words import Words
from secateur.text.tasks import evaluate_tasks
from tests.engine.blockwise.tiny import folder as tiny_folder
from tests.engine.blockwise.tiny import load
from tests.language.conftest import add_tokenizer

QUESTIONS = [
    {"asked": asked, "choices": ["red", "blue", "a"], "label": label}
    for asked, label in (("Sky?", 1), ("Rose?", 0), ("Sea?", 1), ("Leaf?", 2), ("Sun?", 2))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A multiple-choice task as a YAML file, and its questions as JSON lines."""
    path = tmp_path_factory.mktemp("tasks")
    (path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in QUESTIONS))
    task = {
        "task": "colours", "dataset_path": "json", "output_type": "multiple_choice",
        "dataset_kwargs": {
            "data_files": {"test": str(path / "rows.jsonl")}, "cache_dir": str(path / "cache"),
        },
        "test_split": "test", "doc_to_text": "{{asked}}", "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{label}}", "metadata": {"version": 3.0},
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    (path / "colours.yaml").write_text(json.dumps(task))
    return path


def absent(monkeypatch):
    """lm-eval is not to be found, nor what was imported of it before."""
    for name in ["lm_eval", *(name for name in sys.modules if name.startswith("lm_eval."))]:
        monkeypatch.setitem(sys.modules, name, None)


def likeliest(model, tokenizer, row):
    """The choice whose letters are likeliest after the question."""
    start = len(tokenizer(row["asked"], add_special_tokens=False).input_ids)
    sums = []
    for choice in row["choices"]:
        ids = torch.tensor(
            [tokenizer(f"{row['asked']} {choice}", add_special_tokens=False).input_ids]
        )
        with torch.no_grad():
            log = model(input_ids=ids).logits.double().log_softmax(-1)[0, :-1]
        sums.append(float(log.gather(1, ids[0, 1:, None])[start - 1 :].sum()))
    return max(range(len(sums)), key=sums.__getitem__)


def test_a_task_of_ones_own_offline(tiny, tokenizer, folder, monkeypatch):
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'secateur[eval]'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    right = [likeliest(tiny, tokenizer, row) == row["label"] for row in QUESTIONS]
    assert 0 < sum(right) < len(right)  # a score that guessing all or nothing does not give
    states = random.getstate(), torch.get_rng_state()
    tiny.train()
    found = evaluate_tasks(tiny, tokenizer, ["colours"], folder=folder)["colours"]
    assert tiny.training
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    tiny.eval()
    share = sum(right) / len(right)
    score = found["scores"]["acc"]
    assert score["value"] == pytest.approx(share)
    assert score["error"] == pytest.approx((share * (1 - share) / (len(right) - 1)) ** 0.5)
    assert (found["samples"], found["version"]) == (5, 3.0)
    fewer = evaluate_tasks(tiny, tokenizer, ["colours"], folder=folder, limit=2)["colours"]
    assert fewer["samples"] == 2
    assert fewer["scores"]["acc"]["value"] == sum(right[:2]) / 2


def test_runs_of_a_study_are_asked_them_too(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'secateur[eval]'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asking = {**ASKING, "tasks": ["colours"], "task_folder": str(folder), "task_limit": 3}
    phases = [{"phase": 0, "runs": [{"id": "origin", "method": "dense"}]}]
    LanguageRunner(tmp_path, study(model=SHORT, asking=asking, phases=phases)).run(
        lambda event: None
    )
    found = load_language(tmp_path).original["tasks"]["colours"]
    assert found["samples"] == 3
    score = found["scores"]["acc"]
    assert call(["show", str(tmp_path), "origin"]) == 0
    wanted = f"colours acc                  {score['value']:.4f} ± {score['error']:.4f}"
    assert wanted in capsys.readouterr().out
    for lang in ("en", "ko"):
        table = tasks_table(Rows(load_language(tmp_path)), Words(lang))
        assert [column.title for column in table.columns][1:] == ["colours: acc"]
        (line,) = table.rows
        assert line.cells[1] == f"{score['value']:.4f} ± {score['error']:.4f}"
        assert "3" in table.caption


def test_without_lm_eval_the_extra_is_named(tiny, tokenizer, folder, monkeypatch):
    absent(monkeypatch)
    with pytest.raises(PlanError, match=r"pip install 'secateur\[eval\]'"):
        evaluate_tasks(tiny, tokenizer, ["colours"], folder=folder)


def test_what_is_no_list_of_tasks_is_refused(tiny, tokenizer, tmp_path):
    with pytest.raises(DataError, match="at least one name"):
        evaluate_tasks(tiny, tokenizer, "arc_easy")
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'secateur[eval]'")
    with pytest.raises(DataError, match="no folder of tasks"):
        evaluate_tasks(tiny, tokenizer, ["colours"], folder=tmp_path / "none")


@pytest.mark.parametrize("method", ["wanda", "shortgpt", "shortened-llama"])
def test_a_pruned_folder_is_asked_before_and_after(folder, tmp_path, capsys, monkeypatch, method):
    """Zeros block by block, layers in two passes, layers in memory: on the terminal, card and record."""
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install 'secateur[eval]'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = tiny_folder(tmp_path / "source", vocab_size=64)
    add_tokenizer(source)
    (tmp_path / "texts.txt").write_text("the leaf is dry so water it now and wait\n" * 30)
    words = ["prune", str(source), "--method", method, "--density", "0.67", "--no-compare"]
    words += ["--data", str(tmp_path / "texts.txt"), "--samples", "4", "--length", "16"]
    words += ["--tasks", "colours", "--task-folder", str(folder), "--out", str(tmp_path / "out")]
    assert call(words) == 0
    assert "colours: acc:" in capsys.readouterr().out
    found = read_manifest(tmp_path / "out").provenance.record["tasks"]
    assert [found[side]["colours"]["samples"] for side in ("dense", "pruned")] == [5, 5]
    tokenizer = tokenizer_of(source)
    for side, model in (("dense", load(source)), ("pruned", sc.load(tmp_path / "out"))):
        right = [likeliest(model, tokenizer, row) == row["label"] for row in QUESTIONS]
        assert found[side]["colours"]["scores"]["acc"]["value"] == pytest.approx(sum(right) / 5)
    assert "| colours: acc | " in (tmp_path / "out" / "README.md").read_text()


def test_tasks_that_cannot_be_asked_are_refused_before_anything_is_read(
    tmp_path, capsys, monkeypatch
):
    words = ["prune", str(tmp_path), "--method", "wanda", "--out", str(tmp_path / "out")]
    tiny_folder(tmp_path / "model")
    words[1] = str(tmp_path / "model")
    assert call([*words, "--task-limit", "5"]) == 2
    assert "go with --tasks" in capsys.readouterr().err
    absent(monkeypatch)
    assert call([*words, "--tasks", "arc_easy"]) == 2
    assert "pip install 'secateur[eval]'" in capsys.readouterr().err
