"""Every number of the tables is found again in the result files, computed another way."""

from __future__ import annotations

import copy
import json
import math
from statistics import fmean

import fake
import pytest
from scipy import stats

from secateur.experiments.results import Results, RunResult
from secateur.report import tables
from secateur.report.study import make_study
from secateur.report.words import Words

EN = Words("en")


def raw(root, name: str) -> dict:
    return json.loads((root / name / "result.json").read_text())


def with_interval(values: list[float]) -> str:
    mean = 100 * fmean(values)
    error = 100 * stats.sem(values)
    low, _ = stats.t.interval(0.95, len(values) - 1, mean, error)
    return f"{mean:.2f} ± {mean - low:.2f}"


def last(result: dict) -> dict:
    return result["points"][-1]


def test_main_table_is_made_of_its_runs(root, study):
    rows = tables.main_table(study, EN).rows
    assert len(rows) == 1 + 1 + 1 + 5 + 5 + 5
    for row in rows:
        results = [raw(root, name) for name in row.runs]
        assert len(results) == 3
        points = [last(result) for result in results]
        cells = dict(
            zip([c.title for c in tables.main_table(study, EN).columns], row.cells, strict=True)
        )
        top = [cell for title, cell in cells.items() if title.startswith("Top-1")]
        assert top == [with_interval([point["test"]["accuracy"] for point in points])]
        assert float(cells["Sparsity (%)"]) == pytest.approx(
            100 * fmean(p["sparsity"] for p in points), abs=0.06
        )
        assert float(cells["Density (%)"]) == pytest.approx(
            100 * fmean(p["density"] for p in points), rel=0.005
        )
        assert cells["Seeds"] == "3"
        for title, field in (
            ("Non-zero params (M)", "nonzero"),
            ("MACs (M)", "macs_nonzero"),
            ("Dense float32 (MB)", "bytes_dense"),
            ("Stored (MB)", "bytes_stored"),
        ):
            mean = fmean(point[field] for point in points)
            assert float(cells[title]) == pytest.approx(mean / 1e6, rel=0.005)
        minutes = round(fmean(result["seconds"] for result in results)) // 60
        assert cells["Time"] == f"{minutes} min 00 s"


def test_change_against_dense_is_paired(root, study):
    rows = tables.main_table(study, EN).rows
    dense = {
        r["seed"]: last(r)["test"]["accuracy"] for r in (raw(root, name) for name in rows[0].runs)
    }
    assert rows[0].cells[4] == "–"
    for row in rows[1:]:
        results = [raw(root, name) for name in row.runs]
        gaps = [last(r)["test"]["accuracy"] - dense[r["seed"]] for r in results]
        assert row.cells[4].replace("−", "-") == with_interval(gaps)


def test_pareto_marks(root, study):
    rows = tables.main_table(study, EN).rows[1:]
    points = [[last(raw(root, name)) for name in row.runs] for row in rows]
    places = [
        (fmean(p["sparsity"] for p in found), fmean(p["test"]["accuracy"] for p in found))
        for found in points
    ]
    for row, (sparsity, accuracy) in zip(rows, places, strict=True):
        beaten = any(s > sparsity and a >= accuracy for s, a in places)
        assert ("◆" in row.cells[0]) == (not beaten)


def test_efficiency_table_has_the_columns_of_the_original_report(root, study):
    table = tables.efficiency_table(study, EN)
    titles = [column.title for column in table.columns]
    assert titles == ["Model", "Sparsity (%)", "Method", "Top-1 (%)", "Params (M)", "Size (MB)"]
    for row in table.rows:
        results = [raw(root, name) for name in row.runs]
        sparsity = float(row.cells[1])
        points = [
            min(
                (p for p in result["points"] if p["moment"] != "pruned"),
                key=lambda p: abs(100 * p["sparsity"] - sparsity),
            )
            for result in results
        ]
        assert row.cells[0] == "resnet18"
        assert row.cells[3] == with_interval([point["test"]["accuracy"] for point in points])
        nonzero = fmean(point["nonzero"] for point in points)
        assert float(row.cells[4]) == pytest.approx(nonzero / 1e6, rel=0.005)
        assert float(row.cells[5]) == pytest.approx(4 * nonzero / 1e6, rel=0.005)


def test_efficiency_rows_are_within_a_point_or_the_sparsest(study):
    rows = tables.efficiency_table(study, EN).rows
    for series in study.series:
        told = [float(row.cells[1]) for row in rows if row.cells[2] == series.label]
        most = max(100 * point.sparsity.mean for point in series.pruned)
        assert told[-1] == pytest.approx(most, abs=0.06)
        assert len(told) == 2


def test_round_tables_show_every_round_and_seed(root, study):
    lottery, han = tables.round_tables(study, EN)
    assert (lottery.title, han.title) == (fake.METHODS[1].label, fake.METHODS[2].label)
    assert [row.cells[0] for row in lottery.rows] == [str(i) for i in range(11)]
    for row in lottery.rows[1:]:
        number = int(row.cells[0])
        found = [
            [p for p in raw(root, name)["points"] if p["round"] == number] for name in row.runs
        ]
        before = fmean(points[0]["test"]["accuracy"] for points in found)
        after = [points[-1]["test"]["accuracy"] for points in found]
        assert row.cells[3] == f"{100 * before:.2f}"
        assert row.cells[4] == with_interval(after)
        assert list(row.cells[5:8]) == [f"{100 * value:.2f}" for value in after]


def test_one_seed_gives_no_interval(tmp_path):
    results = fake.study(tmp_path, fake.METHODS[:2], seeds=(1,), analyses=False)
    study = make_study(Results(tmp_path, tuple(RunResult(**plain) for plain in results)))
    assert all("±" not in cell for row in tables.main_table(study, EN).rows for cell in row.cells)
    [rounds] = tables.round_tables(study, EN)
    assert not any(column.title.startswith("Seed") for column in rounds.columns)


@pytest.mark.parametrize(
    ("field", "column"),
    [("nonzero", 6), ("macs_nonzero", 7), ("bytes_dense", 8), ("bytes_stored", 9), ("seconds", 10)],
)
def test_numbers_follow_the_results(tmp_path, field, column):
    def cell(factor: float) -> str:
        changed = copy.deepcopy(results)
        for one in changed:
            one["points"][-1][field] = math.ceil(one["points"][-1][field] * factor)
        study = make_study(Results(tmp_path, tuple(RunResult(**plain) for plain in changed)))
        return tables.main_table(study, EN).rows[-1].cells[column]

    results = fake.study(tmp_path, fake.METHODS[:2], seeds=(1,), analyses=False)
    assert cell(1) != cell(3)


def test_an_unmeasured_quantity_is_a_dash(tmp_path):
    results = fake.study(tmp_path, fake.METHODS[:2], seeds=(1, 2), analyses=False)
    results[-1]["points"][-1]["macs_nonzero"] = None
    study = make_study(Results(tmp_path, tuple(RunResult(**plain) for plain in results)))
    assert tables.main_table(study, EN).rows[-1].cells[7] == "–"
