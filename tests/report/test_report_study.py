"""Runs become series: one curve per method and setting, one dense network to compare with."""

from __future__ import annotations

import fake
import pytest

from secateur.core.errors import StorageError
from secateur.experiments.results import Results, RunResult
from secateur.report.document import compose
from secateur.report.study import make_study, open_study
from secateur.report.style import SERIES, Palette, marker, on_ramp, ramp
from secateur.report.words import Words


def test_one_series_per_method(study):
    assert [series.label for series in study.series] == [m.label for m in fake.METHODS[1:]]
    assert [len(series.runs) for series in study.series] == [3, 3, 15, 15, 15]


def test_dense_is_the_line_to_compare_with(study):
    assert study.baseline is not None
    assert study.baseline.names == tuple(run.name for run in study.runs if run.method == "dense")


def test_finals_are_last_rounds_and_single_runs(study):
    lottery, _, synflow, *_ = study.series
    assert [point.round for point in lottery.finals] == [10]
    assert len(synflow.finals) == 5
    assert lottery.iterative
    assert not synflow.iterative


def test_settings_other_than_density_make_another_series(tmp_path):
    for rounds in (1, 100):
        for density in (0.5, 0.1):
            method = fake.Fake(
                "synflow", "SynFlow", 0.1, 0.3, (density,), options={"solver": {"rounds": rounds}}
            )
            fake.save(tmp_path, fake.result(method, (density,), 1, [1], 100))
    found = {series.label: len(series.pruned) for series in open_study(tmp_path).series}
    assert found == {"SynFlow (rounds=1)": 2, "SynFlow (rounds=100)": 2}


def test_a_dense_network_of_few_values_is_no_dense_network(tmp_path):
    """It comes first here; the others are compared with the network before its weights were coded."""
    for bits in ({"bits": 2}, {}):
        made = fake.Fake("dense", "Coded", options={"precision": {"name": "shared", **bits}})
        one = fake.result(made, (), 1, [1], 100)
        coded = {**one["points"][0], "moment": "coded", "bytes_stored": 7}
        coded["test"] = {"accuracy": 0.5 + 0.1 * len(bits), "loss": 1.0, "n": 100}
        fake.save(tmp_path, one | {"points": [*one["points"], coded], "started": "2024-01-01T"})
    fake.save(tmp_path, pruned := fake.result(fake.METHODS[4], (0.5,), 1, [1], 100))
    study = open_study(tmp_path)
    assert study.baseline.accuracy.mean == one["points"][0]["test"]["accuracy"]
    found = {s.label: [(p.accuracy.mean, s.slot) for p in s.finals] for s in study.series}
    assert {label: rows[0][0] for label, rows in found.items()} == {
        "Coded (bits=2)": 0.6, "Coded (bits=default)": 0.5,
        "SNIP": pruned["points"][-1]["test"]["accuracy"],
    }  # fmt: skip
    assert [s.label for s in study.series if s.sparse] == ["SNIP"]
    assert study.best()[0].label == "SNIP"


def test_change_is_paired_by_seed(study):
    series = study.series[0]
    change = study.change(series, series.finals[0])
    dense, pruned = study.baseline.by_seed, series.finals[0].by_seed
    assert change.values == tuple(pruned[seed] - dense[seed] for seed in sorted(dense))


def test_best_is_the_sparsest_within_a_point(study):
    series, point = study.best()
    assert study.change(series, point).mean >= -0.01
    for other in study.series:
        for candidate in other.pruned:
            if candidate.sparsity.mean > point.sparsity.mean:
                assert study.change(other, candidate).mean < -0.01


def test_validation_stands_in_where_a_test_is_missing(tmp_path):
    results = fake.study(tmp_path, fake.METHODS[:4], seeds=(1,), analyses=False)
    runs = [RunResult(**plain) for plain in results]
    assert make_study(Results(tmp_path, tuple(runs))).metric == "test"
    for point in results[-1]["points"]:
        point["test"] = None
    runs[-1] = RunResult(**results[-1])
    assert make_study(Results(tmp_path, tuple(runs))).metric == "val"


def test_without_a_finished_run_there_is_no_study(tmp_path):
    with pytest.raises(StorageError, match=r"holds no finished run; run an experiment first"):
        open_study(tmp_path)


def test_slots_are_unique_and_follow_the_method():
    palette = Palette()
    slots = [
        palette.slot(f"label {i}", method) for i, method in enumerate(["snip", "snip", "han", "x"])
    ]
    assert len(set(slots)) == 4
    assert (slots[0], slots[2]) == (Palette().slot("a", "snip"), Palette().slot("b", "han"))
    assert palette.slot("label 0") == slots[0]


def test_methods_with_a_colour_of_their_own_get_it_whatever_comes_before():
    palette = Palette()
    palette.reserve([("A", "mine"), ("B", "snip"), ("C", "snip")])
    others = [palette.slot(f"other {i}", "mine") for i in range(8)]
    assert palette.slot("B", "snip") == Palette().slot("x", "snip")
    assert len({*others, palette.slot("B", "snip"), palette.slot("C", "snip")}) == 10


def test_more_series_than_colours_differ_in_their_dashes():
    palette = Palette()
    slots = [palette.slot(str(i), "m") for i in range(2 * len(SERIES))]
    assert slots == list(range(2 * len(SERIES)))
    assert marker(0) == marker(len(SERIES))


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("step", range(21))
def test_numbers_on_the_colour_ramp_are_readable(step):
    assert contrast(ramp(step / 20), on_ramp(step / 20)) >= 4.0


def test_what_is_decided_at_run_time_is_placed_by_the_macs_an_input_needs(tmp_path):
    """Its weights are all there: it stands in no comparison of weights, and every row says so."""
    for method, density in ((fake.METHODS[0], ()), (fake.Fake("snip", "SNIP"), (0.5,))):
        fake.save(tmp_path, fake.result(method, density, 1, [1], 100))
    gated = fake.Fake("fbs", "FBS", densities=(0.5, 1.0))
    for asked, needed in ((0.5, 30.0), (1.0, 95.0)):
        one = fake.result(gated, (asked,), 1, [1], 100)
        work = {"dense": 100.0, "needed": {"mean": needed, "deviation": 1.0}, "inputs": 4}
        told = {"density": asked, "sparsity": 0.0, "layers": {}, "run_time": work}
        told["test"] = {"accuracy": 1.0, "loss": 0.0, "n": 100}
        fake.save(tmp_path, one | {"points": [one["points"][0] | told]})
    study = open_study(tmp_path)
    found = {
        s.label: [(round(p.sparsity.mean, 9), p.at_run_time) for p in s.finals]
        for s in study.series
    }
    assert found["FBS"] == [(0.05, True), (0.7, True)]
    assert study.best(at_run_time=True)[1].sparsity.mean == pytest.approx(0.7)
    assert all(
        not point.at_run_time
        for s in study.series
        for point in s.finals
        if id(point) in study.front
    )
    assert study.best() is None or study.best()[0].label == "SNIP"
    for lang, said in (("en", "FBS (at run time)"), ("ko", "FBS (실행 시)")):
        document = compose(study, Words(lang))
        (section,) = [section for section in document.sections if section.id == "results"]
        curves, main, efficiency = section.blocks
        assert said in [label for _, label in curves.legend]
        rows = [row.cells for row in (*main.rows, *efficiency.rows, *curves.table.rows)]
        assert [c for c in rows if said in c]
        assert not [c for c in rows if "FBS" in c]
        assert "50.0" not in {cell for cells in rows if said in cells for cell in cells}
