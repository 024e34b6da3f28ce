"""One full study and one tiny one, written once."""

from __future__ import annotations

from pathlib import Path

import fake
import pytest

from secateur.report.document import compose
from secateur.report.study import Study, open_study
from secateur.report.words import Words

TINY = (
    fake.Fake("dense", "Dense"),
    fake.Fake("snip", "SNIP", 0.5, 2.0, (0.5, 0.02)),
)


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """Six methods, three seeds, all analyses."""
    folder = tmp_path_factory.mktemp("full")
    fake.study(folder)
    return folder


@pytest.fixture(scope="session")
def study(root) -> Study:
    return open_study(root)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory) -> Path:
    """Two methods, one seed, no analyses; SNIP collapses."""
    folder = tmp_path_factory.mktemp("tiny")
    fake.study(folder, TINY, seeds=(7,), n=200, analyses=False)
    return folder


@pytest.fixture(scope="session")
def document(study):
    return compose(study, Words("en"))


@pytest.fixture(scope="session")
def document_ko(study):
    return compose(study, Words("ko"))
