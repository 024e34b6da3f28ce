"""The page is well formed, needs nothing else, and says the same as the tables."""

from __future__ import annotations

import re
import sys

import fake
import pytest
from pages import Page

from secateur.core.errors import PlanError
from secateur.report import html
from secateur.report.document import compose
from secateur.report.study import open_study
from secateur.report.words import LANGUAGES, Words

ATTRIBUTES_THAT_LOAD = {"src", "srcset", "poster", "data", "action", "background", "xlink:href"}


@pytest.fixture(scope="module", params=LANGUAGES)
def written(request, document, document_ko) -> str:
    return html.page({"en": document, "ko": document_ko}[request.param])


def test_tags_nest(written):
    assert Page(written).open == []


def test_ids_are_unique_and_links_lead_somewhere(written):
    tags = Page(written).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        targets = attributes.get("aria-labelledby", "").split()
        if attributes.get("href", "").startswith("#"):
            targets.append(attributes["href"][1:])
        assert set(targets) <= set(ids)


def test_nothing_is_loaded(written):
    for tag, attributes in Page(written).tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "base")
        assert not ATTRIBUTES_THAT_LOAD & attributes.keys()
        if "href" in attributes:
            assert attributes["href"].startswith(("#", "data:,"))
    style = re.search(r"<style>(.*?)</style>", written, re.DOTALL).group(1)
    assert "url(" not in style
    assert "@import" not in style
    addresses = set(re.findall(r"https?://[^\"'\s<]+", written))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG, never fetched


def test_the_language_is_declared(document, document_ko):
    assert '<html lang="en">' in html.page(document)
    assert '<html lang="ko">' in html.page(document_ko)


def test_korean_reports_speak_korean(document, document_ko):
    """Every heading, caption, warning and column differs but for names and symbols."""
    same = {"MACs (M)", "Top-1 (%)", document.title, "α"}
    english = {c.title for t in document.tables() for c in t.columns} | {
        s.title for s in document.sections
    }
    korean = {c.title for t in document_ko.tables() for c in t.columns}
    korean |= {s.title for s in document_ko.sections}
    assert english & korean <= same
    assert all(re.search("[가-힣]", text) for text in (document_ko.lead, *document_ko.warnings))


def test_numbers_are_the_same_in_both_languages(document, document_ko):
    def numbers(doc) -> list[list[str]]:
        return [
            re.findall(r"\d+\.\d+", " ".join(row.cells[1:-1]))
            for table in doc.tables()
            if table.id in ("main", "efficiency") or table.id.startswith("rounds")
            for row in table.rows
        ]

    assert numbers(document) == numbers(document_ko)


def test_rows_name_runs_that_exist(root, document):
    page = Page(html.page(document))
    named = [row["data-runs"].split() for row, _ in page.rows if "data-runs" in row]
    assert len(named) > 40
    for names in named:
        for name in names:
            assert (root / name / "result.json").exists()


def test_cells_of_the_page_are_cells_of_the_tables(document):
    page = Page(html.page(document))
    cells = [[cell.strip(" \N{NO-BREAK SPACE}") for cell in row] for _, row in page.rows]
    for table in document.tables():
        for row in table.rows:
            assert list(row.cells) in cells


def test_what_users_write_is_escaped(tmp_path):
    bad = fake.Fake("snip", "<b onclick=alert(1)>'\"&</b>", 0.1, 0.2, (0.5, 0.1))
    fake.study(tmp_path, (fake.METHODS[0], bad), seeds=(1,), analyses=False)
    page = Page(html.page(compose(open_study(tmp_path), Words("en"))))
    assert page.open == []
    assert not any("onclick" in attributes for _, attributes in page.tags)
    assert bad.label in "".join(page.text)


def test_every_run_and_configuration_is_listed(study, document):
    text = "".join(Page(html.page(document)).text)
    for run in study.runs:
        assert run.name in text
        assert text.count(f"Configuration {run.digest}") == 1
    assert '"preset": "cifar-reference"' in text


def test_what_was_run_is_told(document):
    text = "".join(Page(html.page(document)).text)
    for fact in (
        "75,160 parameters",
        "42, 43, 44",
        "Test CPU",
        "torch 2.13.0",
        "0123456789ab",
        "200ep",
    ):
        assert fact in text
    assert "name recipe" not in text
    assert "2025-01-01 08:00 UTC" in text
    assert "schedule one-shot(density=0.02 | 0.05 | 0.1 | 0.2 | 0.5)" in text


def test_the_page_is_the_same_every_time(root, document):
    again = html.page(compose(open_study(root), Words("en")))
    assert again == html.page(document)


def test_paper_shows_wide_figures_only_and_folds_nothing(document):
    paper = html.page(document, paper=True)
    assert 'class="narrow"' not in paper
    assert "<details" not in paper
    assert html.page(document).count('class="narrow"') == len(document.figures())


def test_without_jinja_the_extra_is_named(monkeypatch, document):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    html._environment.cache_clear()
    with pytest.raises(PlanError, match=r"pip install 'secateur\[report\]'"):
        html.page(document)
    monkeypatch.undo()
    html._environment.cache_clear()
