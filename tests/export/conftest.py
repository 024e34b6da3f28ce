"""The byte-level tokenizer, and the trained story model where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gguf_models import byte_level


@pytest.fixture(scope="session")
def tokenizer():
    return byte_level()


def stories_folder() -> Path:
    """The trained story model beside the data folder; skips, saying so, where it is absent."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SECATEUR_DATA", beside)).parent / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"needs the trained model {folder}; set SECATEUR_DATA to the data folder")
    return folder


@pytest.fixture(scope="session")
def stories():
    """The trained story model and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = stories_folder()
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(
        folder
    )
