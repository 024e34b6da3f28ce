"""Everything here runs on a GPU, and says so where there is none: `make cuda`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.cuda.place import DEVICE

HERE = Path(__file__).parent
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA begins


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DEVICE == "cuda" and not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="no GPU: torch.cuda.is_available() is false")
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Products and convolutions in float32, without tf32's short mantissas, as on the CPU."""
    parts = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [part.allow_tf32 for part in parts]
    for part in parts:
        part.allow_tf32 = False
    yield
    for part, was in zip(parts, before, strict=True):
        part.allow_tf32 = was


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Kernels that add in one order."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
