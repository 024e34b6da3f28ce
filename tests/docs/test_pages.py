"""Every page of docs/ is run: its Python blocks and its `secateur` lines, in order, in an empty folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from secateur.allocation import to_budget
from secateur.cli.main import call
from secateur.engine import costs

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [page for page in sorted(DOCS.glob("*.md")) if BLOCK.search(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines of other programs than `secateur` are for the reader; nothing here is timed for its figures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(costs, "PAIRS", 5)
    monkeypatch.setattr(to_budget, "ROUNDS", 2)
    namespace: dict[str, object] = {"__name__": page.stem}
    for number, (language, text) in enumerate(BLOCK.findall(page.read_text("utf-8")), 1):
        if language == "python":
            exec(compile(text, f"{page.name}, block {number}", "exec"), namespace)
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("secateur "):
                words = shlex.split(line, comments=True)[1:]
                assert call(words) == 0, f"{line}: {capsys.readouterr().err}"
