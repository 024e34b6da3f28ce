"""The command line: one-line errors with exit code 2, nothing half written, and the commands."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from secateur.cli.main import call
from secateur.core.cards import METHODS

STUDY = """
schema: 1
name: small
network: {spec: lenet-300-100}
data: {source: digits, flip: false}
training: {preset: short, length: 1ep}
scoring: {samples: 64}
seeds: [0, 1]
runs:
  - {method: dense, label: Dense}
  - {method: snip, label: SNIP, grid: {sparsity: [0.5, 0.9]}}
"""

WIDTHS = ["prune", "resnet8", "--method", "group-norm", "--density", "0.5", "--out", "OUT"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY)
    assert call(["run", str(folder / "study.yaml"), "--out", str(folder / "runs")]) == 0
    return folder / "runs"


def error(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line an erroneous command prints."""
    capsys.readouterr()
    assert call(words) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("secateur: ")
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    return said


def study(tmp_path: Path, old: str = "", new: str = "") -> str:
    path = tmp_path / "study.yaml"
    assert old in STUDY
    path.write_text(STUDY.replace(old, new) if old else STUDY)
    return str(path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["methds"], "methods"),
        (["card", "snpi"], "did you mean 'snip'"),
        (["prune", "resnet9", "--method", "snip", "--sparsity", "0.5", "--out", "OUT"], "resnet8"),
        (["prune", "resnet8", "--method", "snipp", "--sparsity", "0.5", "--out", "OUT"], "'snip'"),
        ([*WIDTHS, "--round-to", "0"], "greater than or equal to 1"),
        ([*WIDTHS, "--round-to", "some"], "e.g. 8, or sweet; not 'some'"),
        (["trace", "nowhere/x"], "there is no folder 'nowhere/x'"),
        (["export", "nowhere", "--out", "a.pt2"], "there is no folder 'nowhere'"),
        (["export", "nowhere", "--out", "a.gguf"], "there is no folder 'nowhere'"),
        (["measure", "resnet8", "--runtime", "foo"], "--runtime is of a comparison"),
        (["measure", "resnet8", "--processor-time"], "--processor-time is of a comparison"),
        (["list", "HERE"], "holds no results; name the --out"),
        (["status", "HERE"], "holds no results; name the --out"),
        (["show", "HERE", "x"], "holds no results; name the --out"),
        (["compare", "HERE", "x", "y"], "holds no results; name the --out"),
        ([*WIDTHS, "--protect", "conv7"], "did you mean 'conv1'"),
        ([*WIDTHS, "--floor", "conv1"], "write PATTERN=16"),
        ([*WIDTHS, "--floor", "=3"], "names no layer"),
        ([*WIDTHS, "--cap", "conv1=3"], "less than or equal to 1"),
        ([*WIDTHS, "--round-to", "16", "--floor", "*=0.9"], "closest possible is 128"),
        ([*WIDTHS[:-4], "--budget", "mac=50%", "--out", "OUT"], "did you mean 'macs'"),
        ([*WIDTHS[:-4], "--budget", "macs", "--out", "OUT"], "such as '1.2G', not ''"),
        ([*WIDTHS[:-4], "--budget", "macs=0.1%", "--out", "OUT"], "the closest possible"),
        ([*WIDTHS, "--budget", "macs=50%"], "not both"),
        (["prune", "resnet8", "--method", "snip", "--sparsity", "1.5", "--out", "OUT"], "[0, 1)"),
        (["prune", "resnet8", "--method", "snip", "--sparsity", "x", "--out", "OUT"], "--sparsity"),
        (
            [
                "prune",
                "resnet8",
                "--method",
                "snip",
                "--sparsity",
                "0.5",
                "--density",
                "0.5",
                "--out",
                "OUT",
            ],
            "exactly one",
        ),
        (
            ["prune", "resnet8", "--method", "snip", "--data", "./nowhere/here", "--out", "OUT"],
            "./nowhere/here",
        ),
        (
            ["prune", "resnet8", "--method", "snip", "--option", "densty=0.5", "--out", "OUT"],
            "'density'",
        ),
        (
            [
                "prune",
                "resnet8",
                "--method",
                "snip",
                "--weights",
                "none.safetensors",
                "--out",
                "OUT",
            ],
            "none.safetensors",
        ),
        (["prune", "json:loads", "--method", "snip", "--out", "OUT"], "json:loads"),
        (
            ["prune", "resnet8", "--method", "snip", "--device", "quantum", "--out", "OUT"],
            "quantum",
        ),
        (["report", "nothing-there"], "nothing-there"),
        (["resume", "nothing-there"], "nothing-there"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = {"OUT": str(out), "HERE": str(tmp_path)}
    assert says in error([given.get(word, word) for word in words], capsys)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seeds: [0, 1]", "sedes: [0, 1]", "'seeds'"),
        ("seeds: [0, 1]", "seeds: []", "seeds"),
        ("method: snip", "method: snap", "'snip'"),
        ("sparsity: [0.5, 0.9]", "sparsity: [0.5, 1.0]", "[0, 1)"),
        ("length: 1ep", "length: 1", "no unit"),
        ("length: 1ep", "lenght: 1ep", "'length'"),
        ("source: digits", "source: digist", "'digits'"),
        ("spec: lenet-300-100", "spec: lenet", "lenet-300-100"),
        ("schema: 1", "schema: 99", "newer"),
        ("schema: 1", "{{", "YAML"),
    ],
)
def test_mistakes_in_a_study_are_found_before_anything_runs(
    old: str, new: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert says in error(["run", study(tmp_path, old, new), "--out", str(out)], capsys)
    assert not list(out.rglob("result.json"))


def test_a_results_folder_of_another_study_is_left_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(finished.rglob("*"))
    said = error(
        ["run", study(tmp_path, "name: small", "name: other"), "--out", str(finished)], capsys
    )
    assert "'small'" in said
    assert sorted(finished.rglob("*")) == before


def test_a_results_folder_of_a_newer_version_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    (root / "experiment.json").write_text(json.dumps({"schema": 99, "study": {"name": "small"}}))
    assert "newer" in error(["run", study(tmp_path), "--out", str(root)], capsys)
    assert "newer" in error(["resume", str(root)], capsys)


def test_finished_runs_are_skipped(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = {p: p.stat().st_mtime_ns for p in finished.rglob("result.json")}
    assert len(times) == 6
    assert call(["resume", str(finished)]) == 0
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("result.json")} == times
    assert "skipped" in capsys.readouterr().err


def test_status_list_show_and_compare(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["status", str(finished)]) == 0
    assert "6 finished, 0 left" in capsys.readouterr().out
    assert call(["list", str(finished)]) == 0
    assert "90.00 %" in capsys.readouterr().out
    names = sorted(p.parent.parent.name for p in finished.glob("*/0/result.json"))
    assert call(["show", str(finished), names[0]]) == 0
    assert "lenet-300-100" in capsys.readouterr().out
    assert call(["compare", str(finished), f"{names[0]}/0", f"{names[1]}/0"]) == 0
    assert "recipe.schedule" in capsys.readouterr().out
    assert "unknown run" in error(["show", str(finished), "ffff"], capsys)


def test_report_in_both_languages(finished: Path, tmp_path: Path) -> None:
    for lang, word in (("en", "sparsity"), ("ko", "희소")):
        assert call(["report", str(finished), "--out", str(tmp_path / lang), "--lang", lang]) == 0
        (page,) = (tmp_path / lang).glob("*.html")
        assert word in page.read_text(encoding="utf-8").lower()
    for library in ("weasyprint", "fontTools"):  # what they pass over is no line of ours
        log = logging.getLogger(library)
        assert [log.isEnabledFor(level) for level in (30, 40)] == [False, True]


def test_plan_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["plan", study(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "6 runs" in said
    assert "sparsity 90 %" in said
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]


def test_scale_shrinks_epochs_without_touching_the_definition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = study(tmp_path, "length: 1ep", "length: 40ep")
    assert call(["plan", path, "--scale", "0.05"]) == 0
    small = capsys.readouterr().out
    assert call(["plan", path]) == 0
    full = capsys.readouterr().out
    assert small != full
    assert "length: 40ep" in Path(path).read_text()


def test_the_weights_of_a_run_can_be_loaded_again(tmp_path: Path) -> None:
    from secateur.artifact import load_sparse
    from secateur.models import build

    words = ["prune", "lenet-300-100", "--method", "magnitude", "--sparsity", "0.8"]
    assert call([*words, "--train", "1ep", "--out", str(tmp_path / "one")]) == 0
    (path,) = tmp_path.rglob("model.safetensors")
    model = build("lenet-300-100", num_classes=10, in_channels=1, image_size=8)
    model.load_state_dict(load_sparse(path))
    (result,) = tmp_path.rglob("result.json")
    last = json.loads(result.read_text())["points"][-1]
    assert sum(int((p != 0).sum()) for p in model.parameters()) == last["nonzero"]
    assert call(["export", str(tmp_path / "one"), "--out", str(tmp_path / "a.safetensors")]) == 0
    written = load_file(tmp_path / "a.safetensors")
    assert all(torch.equal(written[name], p) for name, p in model.state_dict().items())


def test_of_several_runs_one_is_to_be_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error(["export", str(finished), "--out", str(tmp_path / "a.safetensors")], capsys)
    assert "holds 6 runs; name the folder of one" in said


@pytest.mark.parametrize("content", ["{}", "my own notes", "[1, 2]"])
def test_a_users_file_is_never_overwritten(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "mine"
    root.mkdir()
    (root / "experiment.json").write_text(content)
    said = error(["run", study(tmp_path), "--out", str(root)], capsys)
    assert "experiment.json" in said
    assert (root / "experiment.json").read_text() == content
    assert len(list(root.iterdir())) == 1


def test_a_recipe_written_out_runs_like_a_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = """{method: mine, recipe: {structure: weights, criterion: {name: lamp, inner: magnitude},
      scope: tensor, allocator: {name: given, densities: {"fc1.*": 0.1}},
      schedule: {name: one-shot, density: 0.2}}}"""
    path = study(tmp_path, "{method: dense, label: Dense}", own)
    assert call(["plan", path]) == 0
    assert "given" in capsys.readouterr().out


def test_runs_of_another_process_are_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from secateur.experiments.config import load_experiment
    from secateur.experiments.locks import held
    from secateur.experiments.runner import Runner

    path, out = study(tmp_path, "seeds: [0, 1]", "seeds: [0]"), tmp_path / "runs"
    runner = Runner(out, load_experiment(path))
    with held(runner.folder(runner.planned[0])) as mine:
        assert mine
        assert call(["run", path, "--out", str(out)]) == 0
        assert "still at work" in capsys.readouterr().out
        assert len(list(out.rglob("result.json"))) == 2
    assert call(["resume", str(out)]) == 0
    assert len(list(out.rglob("result.json"))) == 3


def test_a_distributed_launch_is_refused_with_the_way_to_do_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "once per device" in error(
        ["run", study(tmp_path), "--out", str(tmp_path / "x")], capsys
    )


def test_without_a_command_the_help_is_all_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert call([]) == 2
    said = capsys.readouterr()
    assert "Usage:" in said.out + said.err
    assert "secateur: " not in said.err


def test_methods_fit_into_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert call(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    names = {line.split("│")[1].strip() for line in lines if line.startswith("│")}
    assert names >= set(METHODS)
    assert not [line for line in lines if "…" in line]


def test_what_decides_at_run_time_is_told_by_what_inputs_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from secateur.cli.progress import Live, _summary

    needed = {"mean": 30.0, "deviation": 5.0, "least": 20.0, "most": 41.0}
    point = {"sparsity": 0.0, "run_time": {"dense": 60.0, "needed": needed}}
    told = _summary({"points": [point], "seconds": 2.0})
    assert "50.0 % on average, 68.3 % at worst" in told
    assert "sparsity" not in told
    assert "sparsity 25.00 %" in _summary({"points": [{"sparsity": 0.25}], "seconds": 2.0})
    monkeypatch.setenv("COLUMNS", "40")
    run, shown = (
        SimpleNamespace(label="fbs", seed=0),
        {"kind": "done", "points": [point], "seconds": 2},
    )
    Live([])(run, shown)  # type: ignore[arg-type]
    assert len(capsys.readouterr().err.splitlines()) == 1  # a line per run, however narrow
