"""Warnings appear when they apply, and only then."""

from __future__ import annotations

import math

import fake
import pytest

from secateur.experiments.results import load_results
from secateur.report.notices import notices
from secateur.report.study import make_study, open_study
from secateur.report.words import Words

EN = Words("en")


def told(root, change=None) -> str:
    results = load_results(root)
    return "\n".join(notices(make_study(results), EN)).replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture
def small(tmp_path):
    return fake.study(tmp_path, fake.METHODS[:2], seeds=(1, 2, 3), n=1017, analyses=False)


def test_a_sound_study_tells_its_sample_only(study):
    [only] = notices(study, EN)
    assert "10,000 test images" in only


def test_the_sample_error_is_binomial(tmp_path, small):
    text = told(tmp_path)
    accuracy = fake.accuracy(fake.METHODS[0], 1.0, 1, 1017)
    mean = sum(fake.accuracy(fake.METHODS[0], 1.0, seed, 1017) for seed in (1, 2, 3)) / 3
    assert abs(mean - accuracy) < 0.01
    assert "1,017 test images" in text
    assert f"±{196 * math.sqrt(mean * (1 - mean) / 1017):.2f} points" in text


def test_one_seed(tiny_root):
    assert "one seed only (7)" in told(tiny_root)


def test_one_seed_of_some_and_two_of_others(tmp_path):
    for seed in (1, 2):
        fake.save(tmp_path, fake.result(fake.METHODS[1], fake.METHODS[1].densities, seed, [], 100))
    fake.save(tmp_path, fake.result(fake.METHODS[3], (0.5,), 1, [], 100))
    text = told(tmp_path)
    assert "One seed only, hence no interval: SynFlow." in text
    assert "±12.7 standard errors" in text


def test_collapsed_layers(tiny_root):
    series = open_study(tiny_root).series[0]
    lost = [point for point in series.pruned if any(p.collapsed for p in point.points.values())]
    text = told(tiny_root)
    assert len(lost) == text.count("Layers collapsed: SNIP at ")


def test_unfinished_runs(tmp_path, small):
    (tmp_path / small[0]["digest"] / "2" / "result.json").unlink()
    text = told(tmp_path)
    assert "1 of 6 runs are not finished: Dense (seed 2)." in text


def test_many_unfinished_runs_are_counted(tmp_path):
    fake.save(tmp_path, fake.result(fake.METHODS[0], (), 1, list(range(1, 12)), 100))
    assert "10 of 11 runs" in told(tmp_path)
    assert "(seed 6), and 5 more." in told(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r["versions"].update(torch="2.14.0"),
            "different versions of torch: 2.13.0, 2.14.0",
        ),
        (lambda r: r["machine"].update(processor="Other"), "different devices: Test CPU, Other"),
        (lambda r: r["git"].update(dirty=True), "uncommitted changes when 1 of 6 runs"),
        (lambda r: r["config"]["data"].update(fraction=0.05), "Only 5.00 % of the training images"),
        (lambda r: r["points"][-1]["test"].update(loss=math.inf), "loss is not finite: Lottery"),
        (lambda r: r["points"][-1]["test"].update(n=500), "numbers of test images: 500, 1,017"),
        (lambda r: r["points"][-1].update(test=None), "all accuracies here are validation"),
    ],
)
def test_what_differs_is_told(tmp_path, small, change, words):
    assert words not in told(tmp_path)
    change(small[-1])
    fake.save(tmp_path, small[-1])
    assert words in told(tmp_path)


def test_a_run_without_any_evaluation_is_named(tmp_path, small):
    for point in small[-1]["points"]:
        point["test"] = point["val"] = None
    fake.save(tmp_path, small[-1])
    assert (
        "No validation evaluation, hence left out: Lottery ticket (rewind to 0) (seed 3)"
        in told(tmp_path)
    )


def test_a_shrunk_study(tmp_path, small):
    (tmp_path / "experiment.json").write_text('{"schema": 1, "scale": 0.02}')
    assert "shrunk to scale 0.0200" in told(tmp_path)
