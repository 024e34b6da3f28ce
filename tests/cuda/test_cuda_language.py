"""Methods of language models on a GPU: in memory, and a folder block by block, against the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import secateur as sc
from secateur.cli.main import call
from secateur.text.calibration import Sampling
from tests.cuda.place import DEVICE, agreement, apart, kept, placed_on

pytest.importorskip("transformers")
from secateur.engine.blockwise.folder import prune_folder
from secateur.engine.blockwise.smaller import shrink_folder
from secateur.engine.train import preset
from secateur.saving import describe
from tests.engine.blockwise import tiny
from tests.language.conftest import add_tokenizer, data  # noqa: F401
from tests.methods.test_structured_methods import batch, vit

LLAMA = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
IN_MEMORY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "flap": ("llama", "flap", {"density": 0.7}),
    "llm-pruner": ("llama", "llm-pruner", {"density": 0.7, "first": 1, "last": 1}),
    "shortgpt": ("llama", "shortgpt", {"density": 0.75}),
    "shortened-llama": ("llama", "shortened-llama", {"density": 0.75}),
    "slicegpt": ("llama", "slicegpt", {"density": 0.75}),
    "smart-farm": ("llama", "smart-farm", {"density": 0.7}),
    "reap": ("mixtral", "reap", {"density": 0.5}),
    "wanda": ("llama", "wanda", {}),
    "ria": ("llama", "ria", {}),
    "owl": ("llama", "owl", {}),
    "sparsegpt": ("llama", "sparsegpt", {}),
    "sparsegpt of experts": ("mixtral", "sparsegpt", {}),
    "sparsegpt refitted": ("llama", "sparsegpt", {"refit": 1.0}),
}


def network(family: str) -> nn.Module:
    model: Any = tiny.model(family, **(LLAMA if family == "llama" else {}))
    model.config.use_cache = False
    return model


def labelled(pad: int = 4) -> list[dict[str, Tensor]]:
    """Batches on the CPU."""
    return [
        {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}
        for batch in tiny.batches(pad=pad)
    ]


def loss(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    found: Tensor = model(**batch).loss
    return found


@pytest.mark.parametrize("case", IN_MEMORY)
def test_in_memory(case: str, record_property: Any) -> None:
    family, method, options = IN_MEMORY[case]
    given = labelled(0 if "experts" in case else 4)  # the stacked experts of older transformers
    here, there = (
        sc.prune(network(family).to(device), method, data=given, loss=loss, **options)
        for device in ("cpu", DEVICE)
    )
    same = agreement(here.units, there.units)
    record_property("agreement", same)
    assert placed_on(there.model, DEVICE)
    assert kept(here.units) == kept(there.units)
    assert same >= 0.99
    if same == 1 and method != "slicegpt":  # a basis is known up to the signs of its axes
        assert apart(here.model, there.model) < 1e-3


def test_while_adapters_train() -> None:
    """The first update alone, before rounding has had any time to grow."""
    rows = labelled()
    training = preset("language").model_copy(update={"length": sc.Time(4, "it"), "batch_size": 2})
    options = {"density": 0.5, "first": 1, "last": 1, "begin": "0it", "end": "3it"}
    given = {name: torch.cat([batch[name] for batch in rows]) for name in rows[0]}
    here, there = (
        sc.prune(
            network("llama").to(device), "loraprune", data=given, loss=loss, training=training,
            trained=True, **options,
        )
        for device in ("cpu", DEVICE)
    )  # fmt: skip
    assert placed_on(there.model, DEVICE)
    assert agreement(here.units, there.units) >= 0.95


@pytest.mark.parametrize("method", ["head-pruning", "layer-dropping"])
def test_of_a_vision_transformer(method: str) -> None:
    here, there = (
        sc.prune(vit().to(device), method, density=0.5, data=batch()) for device in ("cpu", DEVICE)
    )
    assert agreement(here.units, there.units) == 1


SINGLE = {
    "wanda": {},
    "ria": {"pattern": "2:4"},
    "owl": {},
    "sparsegpt": {},
    "magnitude-layerwise": {"walk": "blocks"},
}
CASES = [
    *[(method, options, where) for method, options in SINGLE.items() for where in ("memory",)],
    ("sparsegpt", {"refit": 1.0}, "memory"),
    ("sparsegpt", {"refit": 1.0}, "disk"),
    ("owl", {}, "disk"),
    ("wanda", {}, "disk"),
]


@pytest.mark.parametrize(("method", "options", "where"), CASES)
def test_a_folder_block_by_block(
    method: str, options: dict[str, Any], where: Any, tmp_path: Path
) -> None:
    """Zeros in the same places, and what is left within rounding."""
    source = tiny.folder(tmp_path / "source", **LLAMA)
    recipe, batches = sc.recipe(method, **options), tiny.batches()
    for name, device in (("here", "cpu"), ("there", DEVICE)):
        prune_folder(
            source, recipe, tmp_path / name, batches=batches, device=device,
            activations=where,
        )  # fmt: skip
    here, there = (_weights(tmp_path / name) for name in ("here", "there"))
    zeros = agreement({n: v != 0 for n, v in here.items()}, {n: v != 0 for n, v in there.items()})
    assert zeros >= 0.999
    for name, value in here.items():
        both = (value != 0) & (there[name] != 0)
        assert torch.allclose(value[both], there[name][both], rtol=1e-3, atol=1e-4), name


def _weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


TWO_PASSES = {
    "flap": ("llama", {"density": 0.5}),
    "reap": ("mixtral", {"density": 0.5}),
    "shortgpt": ("llama", {"density": 0.5}),
    "smart-farm": ("gemma3_text", {"density": 0.7, "prune": "both"}),
    "slicegpt": ("llama", {"density": 0.5}),
    "slicegpt of layer norms": ("opt", {"density": 0.5}),
}


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize("case", TWO_PASSES)
def test_structures_in_two_passes(case: str, where: Any, tmp_path: Path) -> None:
    """The same widths, proved on the GPU; and of a basis, whose signs are free, the same outputs."""
    (family, options), method = TWO_PASSES[case], case.split(" ")[0]
    source = tiny.folder(tmp_path / "source", family)
    for name, device in (("here", "cpu"), ("there", DEVICE)):
        done = shrink_folder(
            source, sc.recipe(method, **options), tmp_path / name,
            lambda end: describe(end.model, end.folder, end.record, stock=not end.why),
            batches=tiny.batches(), activations=where, device=device,
        )  # fmt: skip
        assert done.record["proof"]["error"] < 1e-4
    here, there = (sc.load(tmp_path / name).eval() for name in ("here", "there"))
    ids = torch.arange(4, 14).view(1, -1)
    with torch.no_grad():
        wanted, found = (model(input_ids=ids).logits for model in (here, there))
    assert torch.allclose(found, wanted, rtol=1e-2, atol=1e-3)
    shapes = [{n: t.shape for n, t in model.state_dict().items()} for model in (here, there)]
    assert shapes[0] == shapes[1]


def test_a_killed_walk_goes_on_with_the_same_bytes(tmp_path: Path, deterministic: None) -> None:
    class Killed(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["done"] == 2:
            raise Killed

    source, recipe = tiny.folder(tmp_path / "source"), sc.recipe("sparsegpt")
    given: dict[str, Any] = {"batches": tiny.batches(), "device": DEVICE, "activations": "disk"}
    prune_folder(source, recipe, tmp_path / "whole", **given)
    with pytest.raises(Killed):
        prune_folder(source, recipe, tmp_path / "out", progress=stop, **given)
    seen: list[int] = []
    prune_folder(
        source, recipe, tmp_path / "out", progress=lambda e: seen.append(e["done"]), **given
    )
    assert seen == [3]
    for name, value in _weights(tmp_path / "whole").items():
        assert torch.equal(value, _weights(tmp_path / "out")[name])


@pytest.mark.parametrize("method", ["wanda", "flap", "llm-pruner"])
def test_the_command_line(method: str, data: Path, tmp_path: Path, capsys: Any) -> None:  # noqa: F811
    """Block by block, in two passes, and in memory; perplexities are taken on the GPU, too."""
    source = tiny.folder(tmp_path / "source", vocab_size=64, **LLAMA)
    add_tokenizer(source)
    words = ["prune", str(source), "--method", method, "--density", "0.7", "--data", str(data),
             "--out", str(tmp_path / "out"), "--samples", "8", "--length", "16",
             "--device", DEVICE]  # fmt: skip
    words += ["--option", "first=1", "--option", "last=1"] if method == "llm-pruner" else []
    assert call(words) == 0
    assert "perplexity on held-out texts:" in capsys.readouterr().out


def test_a_folder_by_one_call_with_recovery(data: Path, tmp_path: Path) -> None:  # noqa: F811
    source = tiny.folder(tmp_path / "source", vocab_size=64, **LLAMA)
    add_tokenizer(source)
    recipe = sc.recipe("llm-pruner", density=0.7, first=1, last=1)
    recipe = sc.Recipe.from_plain(
        {**recipe.to_dict(), "recovery": {"name": "lora", "length": "1ep"}}
    )
    done = sc.prune_folder(
        source, recipe, tmp_path / "out", data=data, sampling=Sampling(8, 16), device=DEVICE
    )
    assert done.record["perplexity"]["pruned"]["perplexity"] > 0
    assert placed_on(sc.load(done.folder), "cpu")


def test_a_study_of_a_language_model(tmp_path: Path) -> None:
    from secateur.experiments.language.runner import LanguageRunner
    from tests.experiments.test_language_study import SHORT, study

    phases = [
        {"phase": 0, "runs": [{"id": "origin", "method": "dense"}]},
        {"phase": 1, "runs": [{"id": "1-1", "options": {"sparsity": 0.25}}]},
    ]
    runner = LanguageRunner(tmp_path, study(model=SHORT, phases=phases), device=DEVICE)
    runner.run(lambda row: None)
    results = list(runner.results().entries)
    assert [entry.id for entry in results] == ["origin", "1-1"]
    machines = [runner.results().run(entry)["machine"] for entry in results]
    assert all(machine["device"].startswith(DEVICE) for machine in machines)
