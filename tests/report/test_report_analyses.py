"""Analyses are drawn from their files; what is absent is noted, what is wrong is an error."""

from __future__ import annotations

import copy
import json
import re

import fake
import pytest

from secateur.core.errors import StorageError
from secateur.report.document import compose
from secateur.report.study import open_study
from secateur.report.words import Words

EN = Words("en")
KINDS = ("collapse", "overlap", "sensitivity", "connectivity", "transfer")


def with_analysis(tmp_path, plain):
    fake.study(tmp_path, fake.METHODS[:2], seeds=(1,), analyses=False)
    (tmp_path / "analyses").mkdir()
    (tmp_path / "analyses" / "one.json").write_text(json.dumps(plain))
    return compose(open_study(tmp_path), EN)


def test_every_analysis_has_its_section(document):
    ids = [section.id for section in document.sections]
    assert [id for id in ids if id in KINDS] == list(KINDS)
    assert document.missing == ()


def test_absent_analyses_are_noted(tiny_root):
    document = compose(open_study(tiny_root), EN)
    assert not {section.id for section in document.sections} & set(KINDS)
    assert len(document.missing) == 1 + len(KINDS)
    for kind, note in zip(KINDS, document.missing[1:], strict=True):
        assert f"“{kind}” has not been run" in note


def test_no_figure_is_empty(document):
    for figure in document.figures():
        assert figure.wide.count("<path") + figure.wide.count("<rect") > 5
        assert figure.table is not None
        assert figure.table.rows
        assert figure.caption
        assert figure.alt


def test_collapse_points(document):
    table = next(table for table in document.tables() if table.id.startswith("collapse"))
    rows = [row.cells for row in table.rows]
    assert rows[0] == ("SynFlow, 100 rounds", "resnet18", "none up to 99.90", "0")
    for row, method in zip(rows, fake.ANALYSES["collapse"]["methods"], strict=True):
        lost = [point for point in method["points"] if point["collapsed"]]
        if lost:
            assert row[2] == f"{100 * min(p['sparsity'] for p in lost):.2f}"
            assert row[3] == f"{len(lost[0]['collapsed'])} / {len(fake.LAYERS)}"
    assert sum(1 for row in rows if not row[2].startswith("none")) == 4


def test_collapsed_layers_are_crossed_out(document):
    figure = next(figure for figure in document.figures() if figure.id == "collapse-0-0")
    lost = [
        p for m in fake.ANALYSES["collapse"]["methods"][:3] for p in m["points"][-1]["collapsed"]
    ]
    assert figure.wide.count('stroke-linecap="round"') == len(lost) == 2


def test_methods_keep_their_colours_across_figures(document):
    slots: dict[str, set[int]] = {}
    for figure in document.figures():
        for slot, label in figure.legend:
            slots.setdefault(re.split(r"[, ]", label)[0], set()).add(slot)
    assert all(len(found) == 1 for name, found in slots.items() if name != "k")


def test_overlap_shows_chance_above_the_diagonal(document):
    figure = next(figure for figure in document.figures() if figure.id == "overlap-0")
    cells = [row.cells[1:] for row in figure.table.rows]
    plain = fake.ANALYSES["overlap"]
    assert cells[1][0] == f"{100 * plain['jaccard'][1][0]:.1f}"
    assert cells[0][1] == f"{100 * plain['chance'][0][1]:.1f}"
    assert ">35<" in figure.wide


def test_barriers(document):
    table = next(table for table in document.tables() if table.id == "connectivity-0-table")
    assert [row.cells for row in table.rows] == [
        ("k = 0it", "0.200, 0.200", "1.80"),
        ("k = 10%", "0.200, 0.200", "0.0200"),
    ]


def test_transfer_has_intervals(document):
    table = next(table for table in document.tables() if table.id == "transfer-0")
    assert table.rows[0].cells == ("ticket", "cifar10", "cifar100", "71.50 ± 1.24", "3")


def test_transfer_with_one_accuracy(tmp_path):
    row = {"ticket": "mine", "from": "a", "to": "b", "accuracy": 0.5, "seeds": 1}
    document = with_analysis(tmp_path, {"kind": "transfer", "rows": [row]})
    table = next(table for table in document.tables() if table.id == "transfer-0")
    assert table.rows[0].cells == ("mine", "a", "b", "50.00", "1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_title_of_its_own(tmp_path, kind):
    document = with_analysis(tmp_path, {**fake.ANALYSES[kind], "title": "My title"})
    blocks = next(section.blocks for section in document.sections if section.id == kind)
    assert blocks[0].title == "My title"


def _broken(which: str, **changes: object) -> dict:
    return {**copy.deepcopy(fake.ANALYSES[which]), **changes}


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (
            _broken("overlap", kind="overlaps"),
            "unknown kind of analysis 'overlaps'; did you mean 'overlap'",
        ),
        (_broken("overlap", jaccard=[[1.0]]), "not 9 × 9"),
        (_broken("sensitivity", layers=["a"]), "not 1 × 5"),
        (_broken("connectivity", alphas=[0, 1]), "has not one value per alpha"),
        (_broken("collapse", methods=[]), "methods"),
        (_broken("transfer", rows=[{"ticket": "t"}]), "rows"),
        (_broken("transfer", schema=9), "newer version"),
    ],
)
def test_a_wrong_form_names_the_file(tmp_path, plain, words):
    with pytest.raises(StorageError, match=r"one\.json'") as error:
        with_analysis(tmp_path, plain)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
