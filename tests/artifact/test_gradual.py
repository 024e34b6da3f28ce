"""A file put together tensor by tensor is the file that is written at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from secateur.artifact.file import load_sparse
from secateur.artifact.gradual import GradualFile
from secateur.core.errors import StorageError

STATE = {"a": torch.arange(40.0).view(5, 8), "b": torch.tensor([3, 4])}
SPECS = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in STATE.items()}


def test_a_system_that_takes_a_few_bytes_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: whole(file, data[:7], at))
    file = GradualFile(tmp_path / "model.safetensors", SPECS)
    file.seal(file.put({"b": STATE["b"]}) | file.put({"a": STATE["a"]}))
    found = load_sparse(tmp_path / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


def test_before_it_is_sealed_nobody_reads_it(tmp_path: Path) -> None:
    file = GradualFile(tmp_path / "model.safetensors", SPECS)
    file.put(STATE)
    with pytest.raises(StorageError):
        load_sparse(tmp_path / "model.safetensors")


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    file = GradualFile(tmp_path / "model.safetensors", SPECS)
    with pytest.raises(StorageError, match="there is room for"):
        file.put({"a": torch.zeros(8, 5)})
