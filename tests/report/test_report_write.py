"""Files are written whole, in the formats asked for, and never over somebody else's."""

from __future__ import annotations

import base64
import io
import re
import sys
import zlib

import fake
import pytest
from rich.console import Console

from secateur import report
from secateur.core.errors import PlanError, StorageError
from secateur.report import fonts, markdown, pdf
from secateur.report.document import compose
from secateur.report.study import open_study
from secateur.report.words import Words


def weasyprint_works() -> bool:
    try:
        pdf._weasyprint()
    except PlanError:
        return False
    return True


needs_weasyprint = pytest.mark.skipif(
    not weasyprint_works(), reason="weasyprint or its system library Pango is absent"
)


def test_html_and_markdown(tiny_root, tmp_path):
    paths = report.write(tiny_root, tmp_path / "new" / "out", formats=("html", "md"))
    assert [path.name for path in paths.values()] == ["report.html", "report.md"]
    assert paths["html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(p.name for p in (tmp_path / "new" / "out").iterdir()) == [
        "report.html",
        "report.md",
    ]


def test_languages_lie_side_by_side(tiny_root, tmp_path):
    report.write(tiny_root, tmp_path, formats=["html"])
    path = report.write(tiny_root, tmp_path, formats=["html"], lang="ko")["html"]
    assert path.name == "report-ko.html"
    assert "가지치기 보고서" in path.read_text(encoding="utf-8")


def test_a_report_is_replaced_by_a_newer_one(tiny_root, tmp_path):
    first = report.write(tiny_root, tmp_path, formats=("html", "md"))
    before = {name: path.read_bytes() for name, path in first.items()}
    second = report.write(tiny_root, tmp_path, formats=("html", "md"))
    assert {name: path.read_bytes() for name, path in second.items()} == before


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_a_file_of_somebody_else_is_left_alone(tiny_root, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(StorageError, match=rf"{name}' exists and was not written by a report"):
        report.write(tiny_root, tmp_path, formats=("html", "md"))
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
    report.write(tiny_root, tmp_path, formats=("html", "md"), overwrite=True)
    assert (tmp_path / name).read_text() != "mine"


def test_nothing_is_written_where_anything_fails(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(PlanError, match=r"a PDF needs 'weasyprint'.*secateur\[report\]"):
        report.write(tiny_root, tmp_path / "out", formats=("html", "pdf"))
    assert not (tmp_path / "out").exists()


def test_unknown_format_and_language(tiny_root, tmp_path):
    with pytest.raises(PlanError, match="unknown report format 'htm'; did you mean 'html'"):
        report.write(tiny_root, tmp_path, formats=("htm",))
    with pytest.raises(PlanError, match="unknown report language"):
        report.write(tiny_root, tmp_path, lang="de")


def test_a_folder_that_is_a_file(tiny_root, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="cannot create"):
        report.write(tiny_root, tmp_path / "out", formats=("md",))


@needs_weasyprint
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_pdf(tiny_root, tmp_path, lang):
    if lang == "ko" and not has_korean():
        pytest.skip("no font with Korean letters is installed")
    path = report.write(tiny_root, tmp_path, formats=("pdf",), lang=lang)["pdf"]
    content = path.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%secateur report")
    assert ("Secateur-Korean" in objects(content)) == (lang == "ko")


def objects(content: bytes) -> str:
    """What the compressed parts of a PDF say, those that are text."""
    parts = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    packed = (zlib.decompressobj().decompress(part) for part in parts if part[:1] == b"x")
    return b"\n".join(packed).decode("latin-1")


@needs_weasyprint
def test_a_pdf_is_replaced_by_a_newer_one(tiny_root, tmp_path):
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7 mine")
    with pytest.raises(StorageError, match=r"report.pdf' exists"):
        report.write(tiny_root, tmp_path, formats=("pdf",))
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7\n%%EOF\n%secateur report\n")
    report.write(tiny_root, tmp_path, formats=("pdf",))
    assert len((tmp_path / "report.pdf").read_bytes()) > 1000


def has_korean() -> bool:
    try:
        fonts.korean()
    except PlanError:
        return False
    return True


def test_the_korean_font_has_korean_letters():
    if not has_korean():
        pytest.skip("no font with Korean letters is installed")
    found = fonts.korean()
    for path in found.files.values():
        assert fonts.covers(path)
        assert fonts.covers(path, "힣")
        assert not fonts.covers(path, "\N{MATHEMATICAL SCRIPT CAPITAL P}\U0001f600"[-1])
    assert found.faces().count("@font-face") == len(found.files)
    assert found.faces().count("file:///") == len(found.files)


def test_the_korean_page_brings_its_own_letters(tiny_root, tmp_path):
    """Whoever opens it needs no Korean font; an English page brings none."""
    if not has_korean():
        pytest.skip("no font with Korean letters is installed")
    files = [
        report.write(tiny_root, tmp_path, lang=lang, formats=("html",)) for lang in ("ko", "en")
    ]
    page, english = (paths["html"].read_text() for paths in files)
    assert "@font-face" not in english
    held = re.findall(r"data:font/woff;base64,([^)]*)\)", page)
    assert len(held) == len(fonts.korean().files)
    letters = {c for c in page if "가" <= c <= "힣"}
    assert len(letters) > 50
    for i, text in enumerate(held):
        (tmp_path / f"{i}.woff").write_bytes(base64.b64decode(text))
        assert all(fonts.covers(tmp_path / f"{i}.woff", letter) for letter in letters)
        assert not fonts.covers(tmp_path / f"{i}.woff", "뷁")  # only those of the page
    again = report.write(tiny_root, tmp_path, lang="ko", formats=("html",))["html"].read_text()
    assert again == page


def test_a_korean_page_without_a_font_here_rests_on_the_readers(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "_bundled", lambda: None)
    monkeypatch.setattr(fonts, "_folders", list)
    page = report.write(tiny_root, tmp_path, lang="ko", formats=("html",))["html"].read_text()
    assert "@font-face" not in page
    assert "Malgun Gothic" in page


def test_without_a_korean_font_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(fonts, "_bundled", lambda: None)
    monkeypatch.setattr(fonts, "_folders", list)
    with pytest.raises(PlanError, match="needs a font with Korean letters"):
        fonts.korean()


def test_a_file_that_is_no_font_covers_nothing(tmp_path):
    (tmp_path / "noto.ttf").write_bytes(b"no font")
    assert not fonts.covers(tmp_path / "noto.ttf")


def test_markdown_has_every_table(document):
    text = markdown.markdown(document)
    for table in document.tables():
        assert f"### {table.title}" in text
        for row in table.rows:
            assert any(row.cells[-1] in line for line in text.splitlines() if line.startswith("|"))
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    widths = {
        line.replace("\\|", "").count("|")
        for line in tables
        if "Lottery ticket" in line and "±" in line
    }
    assert widths == {12, 7, 6}  # the main table, efficiency, the curve's numbers


def test_markdown_marks_in_names_are_plain():
    assert markdown._plain("a|b *c* <d>\n_e_") == "a\\|b \\*c\\* \\<d> \\_e\\_"


def test_terminal_table(tiny_root):
    console = Console(file=io.StringIO(), width=100)
    console.print(report.terminal_table(tiny_root))
    text = console.file.getvalue()
    assert "SNIP" in text
    assert "Dense" in text
    assert "one seed only (7)" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("width", [72, 80, 120])
def test_numbers_are_not_broken_in_a_narrow_terminal(root, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(report.terminal_table(root))
    table = console.file.getvalue().partition("!")[0]
    assert len(re.findall(r"\d ± \d", table)) >= 18  # one accuracy in every row
    assert not re.search(r"\d ± *$", table, re.MULTILINE)


def test_terminal_table_speaks_korean(tiny_root):
    console = Console(file=io.StringIO(), width=120)
    console.print(report.terminal_table(tiny_root, lang="ko"))
    assert "방법별 최종 결과" in console.file.getvalue()


def test_lead_names_the_best_network(document, study, tiny_root):
    series, point = study.best()
    assert series.label in document.lead
    assert f"{100 * point.accuracy.mean:.2f}" in document.lead
    tiny = compose(open_study(tiny_root), Words("en"))
    assert "dense network reaches" in tiny.lead


def test_lead_of_runs_that_prune_nothing_points_to_the_analyses(tmp_path):
    fake.study(tmp_path, (fake.Fake("dense", "Dense"),), seeds=(7,), n=200)
    lead = compose(open_study(tmp_path), Words("en")).lead
    assert lead.endswith("stands in the analyses.")
    assert "가지치기" in compose(open_study(tmp_path), Words("ko")).lead


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"trained": True}, "a trained network was pruned"),
        ({"weights": "a.safetensors"}, "a trained network was pruned"),
        ({}, "initial weights"),
    ],
)
def test_runs_without_training_say_what_was_pruned(tmp_path, network, said):
    [one] = fake.study(tmp_path, (fake.Fake("dense", "Dense"),), seeds=(7,), analyses=False)
    one["config"]["network"] = {"spec": "resnet18"} | network
    one["config"]["training"] = None
    fake.save(tmp_path, one)
    assert f"none: {said}" in markdown.markdown(compose(open_study(tmp_path), Words("en")))
