"""Results are read as frozen values; what is damaged, newer or misplaced is an error that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from secateur.core.errors import PlanError, StorageError
from secateur.experiments.results import RunResult, load_results, read_result

DIGEST = "0123456789abcdef"


def plain(seed: int = 1, digest: str = DIGEST, **changes: Any) -> dict[str, Any]:
    point = {
        "round": 0, "density": 1.0, "sparsity": 0.0, "params": 10, "nonzero": 10,
        "test": {"accuracy": 0.9, "loss": 0.1, "n": 100}, "layers": {"a.weight": 1.0},
    }  # fmt: skip
    return {
        "schema": 1, "digest": digest, "seed": seed, "experiment": "study", "label": "Dense",
        "method": "dense", "config": {"network": {"spec": "net"}}, "points": [point],
        "seconds": 2.5, "seeds": [seed], **changes,
    }  # fmt: skip


def save(root: Path, result: dict[str, Any]) -> Path:
    path = root / result["digest"] / str(result["seed"]) / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result), encoding="utf-8")
    return path


def test_a_result_is_read_with_its_points(tmp_path):
    run = read_result(save(tmp_path, plain()))
    assert isinstance(run, RunResult)
    assert run.name == f"{DIGEST}/1"
    assert run.points[0].test is not None
    assert run.points[0].test.accuracy == 0.9
    assert run.points[0].val is None
    assert run.points[0].layers == {"a.weight": 1.0}


def test_results_are_frozen(tmp_path):
    run = read_result(save(tmp_path, plain()))
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        run.seed = 2


def test_unknown_fields_of_the_same_schema_are_ignored(tmp_path):
    assert read_result(save(tmp_path, plain(later_addition=3))).seed == 1


def test_collapsed_layers_are_named_once():
    point = {**plain()["points"][0], "empty": ["a"], "unreachable": ["a", "b"]}
    assert RunResult(**plain(points=[point])).points[0].collapsed == ("a", "b")


def test_a_newer_schema_is_refused(tmp_path):
    path = save(tmp_path, plain(schema=2))
    with pytest.raises(
        StorageError, match=r"result.json' was written by a newer version \(schema 2"
    ):
        read_result(path)


@pytest.mark.parametrize("content", ['{"schema": 1, "dig', "", "\x00\x01", "[1, 2]"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = save(tmp_path, plain())
    path.write_text(content)
    with pytest.raises(StorageError, match=r"1/result.json' is damaged"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"points": []}, "points"),
        ({"seed": "one"}, "seed"),
        ({"points": [{**plain()["points"][0], "density": 1.5}]}, r"points\.0\.density"),
        ({"points": [{**plain()["points"][0], "test": {"accuracy": 94, "n": 9}}]}, "accuracy"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, field):
    path = save(tmp_path, plain())
    path.write_text(json.dumps({**plain(), **change}))
    with pytest.raises(StorageError, match=f"damaged: .*{field}"):
        read_result(path)


def test_errors_are_one_line(tmp_path):
    path = save(tmp_path, plain())
    path.write_text("{\n\n!")
    with pytest.raises(StorageError) as error:
        read_result(path)
    assert "\n" not in str(error.value)


def test_a_result_in_the_wrong_folder_is_refused(tmp_path):
    path = save(tmp_path, plain())
    path.rename(path.parent.parent / "result.json")
    (path.parent.parent / "7").mkdir()
    moved = (path.parent.parent / "result.json").rename(path.parent.parent / "7" / "result.json")
    with pytest.raises(StorageError, match="wrong folder"):
        read_result(moved)


def test_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(StorageError, match=r"no results folder.*run an experiment first"):
        load_results(tmp_path / "none")


def test_an_empty_folder_holds_nothing(tmp_path):
    results = load_results(tmp_path)
    assert (results.runs, results.unfinished, results.analyses) == ((), (), ())


def test_several_experiments_must_be_told_apart(tmp_path):
    save(tmp_path, plain())
    save(tmp_path, plain(digest="f" * 16, experiment="other"))
    with pytest.raises(PlanError, match="several experiments; name one of: "):
        load_results(tmp_path)
    assert [run.digest for run in load_results(tmp_path, "other").runs] == ["f" * 16]
    with pytest.raises(PlanError, match="unknown experiment 'othr'; did you mean 'other'"):
        load_results(tmp_path, "othr")


def test_seeds_that_were_planned_and_not_begun_are_unfinished(tmp_path):
    save(tmp_path, plain(seeds=[1, 2, 3]))
    left = load_results(tmp_path).unfinished
    assert [(run.digest, run.seed, run.started) for run in left] == [
        (DIGEST, 2, False),
        (DIGEST, 3, False),
    ]


def test_runs_of_the_definition_that_were_never_begun_are_unfinished(tmp_path):
    study = {
        "name": "study", "network": {"spec": "resnet8"}, "data": {"source": "digits"},
        "seeds": [1, 2], "runs": [{"method": "magnitude", "label": "M", "options": {"sparsity": 0.5}}],
    }  # fmt: skip
    plan = {"schema": 1, "scale": 1.0, "study": study}
    (tmp_path / "experiment.json").write_text(json.dumps(plan))
    left = load_results(tmp_path).unfinished
    assert [(run.label, run.seed, run.started) for run in left] == [
        ("M", 1, False),
        ("M", 2, False),
    ]
    save(tmp_path, plain(seed=2, digest=left[1].digest, seeds=[]))
    assert [run.seed for run in load_results(tmp_path).unfinished] == [1]


def test_a_run_that_was_begun_is_unfinished(tmp_path):
    save(tmp_path, plain())
    (tmp_path / "aaaa" / "5").mkdir(parents=True)
    config = {"recipe": {"method": "snip"}}
    (tmp_path / "aaaa" / "config.json").write_text(json.dumps(config))
    [left] = load_results(tmp_path).unfinished
    assert (left.digest, left.seed, left.label, left.started) == ("aaaa", 5, "snip", True)


def test_a_finished_run_of_another_study_is_not_unfinished(tmp_path):
    save(tmp_path, plain())
    path = save(tmp_path, plain(digest="f" * 16, experiment="other"))
    (path.parent.parent / "config.json").write_text("{}")
    assert load_results(tmp_path, "study").unfinished == ()


def test_analyses_are_read_by_name(tmp_path):
    folder = tmp_path / "analyses"
    folder.mkdir()
    (folder / "b.json").write_text('{"kind": "overlap"}')
    (folder / "a.json").write_text('{"kind": "collapse", "methods": []}')
    found = load_results(tmp_path).analyses
    assert [(one.path.name, one.kind) for one in found] == [
        ("a.json", "collapse"),
        ("b.json", "overlap"),
    ]


def test_the_scale_of_the_study_is_kept(tmp_path):
    (tmp_path / "experiment.json").write_text('{"schema": 1, "scale": 0.02}')
    assert load_results(tmp_path).scale == 0.02
    assert load_results(tmp_path / "..").scale == 1.0


def test_runs_come_in_the_order_they_were_begun(tmp_path):
    save(tmp_path, plain(seed=1, started="2025-02-01", seeds=[]))
    save(tmp_path, plain(seed=2, started="2025-01-01", seeds=[]))
    assert [run.seed for run in load_results(tmp_path).runs] == [2, 1]
