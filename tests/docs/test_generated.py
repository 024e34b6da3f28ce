"""Generated documentation is what the code would generate now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import secateur as sc
from secateur.methods.cards import markdown, needs

ROOT = Path(__file__).resolve().parents[2]


OWN = ("smart-farm",)
"""Methods of this project, which have no paper."""


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_tool", ROOT / "tools" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_catalogue_page_is_fresh() -> None:
    stored = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert stored == markdown(), "docs/methods.md is stale; run `make docs`"


def test_the_readme_table_is_fresh(tool: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == tool.readme(text), "the README's table is stale; run `make docs`"


WITHOUT_ARXIV = {
    "obd": "NIPS 1989, before there was arXiv",
    "ria": "ICLR 2024, published there and on OpenReview only",
    "variational-channels": "CVPR 2019, published there only",
}


def test_a_card_says_what_a_method_needs_beside_weights() -> None:
    told = {n: needs(sc.recipe(n)) for n in ("magnitude", "fbs", "dynatran", "rigl")}
    assert told == {
        "magnitude": "the weights alone", "fbs": "a training", "dynatran": "data to calibrate on",
        "rigl": "`gradient`, a training",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(sc.methods()))
def test_every_card_has_a_first_line_a_body_and_a_paper(name: str) -> None:
    method = sc.methods()[name]
    assert method.summary.endswith((".", ":")), "the first line of a card is a sentence"
    assert method.paper or method.family == "baselines" or name in OWN
    assert not method.paper or (method.authors and method.year)
    assert not method.paper or method.arxiv or name in WITHOUT_ARXIV
    assert name in markdown()
