"""What a network was pruned on stands in the record and the card, and records without it load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.artifact.manifest import read_manifest, write_manifest


def here() -> dict[str, Any]:
    return {"device": "cpu", "threads": torch.get_num_threads(), "torch": torch.__version__}


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


@pytest.mark.parametrize("smaller", [False, True])
def test_pruned_in_memory(smaller: bool, tmp_path: Path) -> None:
    x = torch.randn(2, 4)
    result = sc.prune(net(), "group-norm" if smaller else "magnitude", density=0.5, example=x)
    folder = sc.save(sc.shrink(result, x) if smaller else result, tmp_path / "out")
    record: Any = read_manifest(folder).provenance.record
    machine = (record["pruning"] if smaller else record)["machine"]
    assert machine.items() >= here().items()
    assert machine["processor"]
    facts = (
        f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}, torch {torch.__version__}"
    )
    said = f"- pruned on: cpu ({machine['processor']}), {facts}"
    assert said in (folder / "README.md").read_text("utf-8")


def test_a_record_without_it_loads_and_its_card_is_silent(tmp_path: Path) -> None:
    model = net()
    result = sc.prune(model, "magnitude", density=0.5)
    folder = sc.save(result, tmp_path / "out")
    old = read_manifest(folder)
    record = {k: v for k, v in old.provenance.record.items() if k != "machine"}
    source = old.provenance.model_copy(update={"record": record})
    write_manifest(folder, old.model_copy(update={"provenance": source}))
    assert "machine" not in read_manifest(folder).provenance.record
    again = sc.load(folder, model=net())
    assert all(torch.equal(again.state_dict()[k], v) for k, v in result.model.state_dict().items())
    card = (sc.save(again, tmp_path / "again") / "README.md").read_text("utf-8")
    assert "pruned on" not in card


@pytest.mark.parametrize("method", ["magnitude-layerwise", "group-norm"])
def test_pruned_from_a_folder(method: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.engine.blockwise import tiny

    source = tiny.folder(tmp_path / "llama", num_hidden_layers=1)
    more = {"walk": "blocks"} if method == "magnitude-layerwise" else {}
    done = sc.prune_folder(source, method, tmp_path / "out", density=0.5, compare=False, **more)
    record: Any = read_manifest(done.folder).provenance.record
    assert record.get("pruning", record)["machine"].items() >= here().items()
    words = "Pruned on cpu (" if more else "- pruned on: cpu ("
    assert words in (done.folder / "README.md").read_text("utf-8")
