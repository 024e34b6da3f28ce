"""Models of transformers: the stock loader reads what it can, `sc.load` the rest."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from saving.nets import outputs, same_bits
from torch import nn

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.core.errors import PlanError
from secateur.materialise import HardMasks

LOADER = Path(__file__).with_name("stock_loader.py")
IDS = torch.arange(2, 14).reshape(2, 6)
SIZES = {"vocab_size": 272, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def tiny(name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A random model of a family with an input."""
    import transformers as hf

    decoder = SIZES | {"intermediate_size": 48, "num_key_value_heads": 2}
    made: dict[str, Any] = {
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**decoder)),
        "gpt2": lambda: hf.GPT2LMHeadModel(
            hf.GPT2Config(vocab_size=272, n_embd=32, n_layer=2, n_head=4, n_positions=32)
        ),
        "bert": lambda: hf.BertForSequenceClassification(
            hf.BertConfig(**SIZES, intermediate_size=48)
        ),
        "vit": lambda: hf.ViTForImageClassification(
            hf.ViTConfig(
                **{k: v for k, v in SIZES.items() if k != "vocab_size"},
                intermediate_size=48, image_size=16, patch_size=8,
            )
        ),
        "gemma3": lambda: hf.Gemma3ForCausalLM(
            hf.Gemma3TextConfig(**decoder, head_dim=8, sliding_window=4)
        ),
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = made[name]().eval()
        image = torch.randn(2, 3, 16, 16)
    return model, {"pixel_values": image} if name == "vit" else {"input_ids": IDS}


FAMILIES = ("llama", "gpt2", "bert", "vit", "gemma3")


NEURONS = {
    "llama": "model.layers.{}.mlp.gate_proj",
    "gpt2": "transformer.h.{}.mlp.c_fc",
    "bert": "bert.encoder.layer.{}.intermediate.dense",
    "vit": "vit.layers.{}.mlp.fc1",
    "gemma3": "model.layers.{}.mlp.gate_proj",
}
"""The structures of hidden neurons, by the number of their layer."""


def every_other(name: str, layers: tuple[int, ...] = (0, 1)) -> dict[str, range]:
    """Half of the hidden neurons of these layers."""
    width = 128 if name == "gpt2" else 48
    return {NEURONS[name].format(n): range(0, width, 2) for n in layers}


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process without Secateur says of every saved model: one start for all of them."""
    from export.gguf_models import byte_level

    root = tmp_path_factory.mktemp("stock")
    for name in FAMILIES:
        model, inputs = tiny(name)
        result = sc.prune(model, "magnitude", sparsity=0.5)
        kept = root / f"{name}-masked"
        sc.save(result, kept, tokenizer=byte_level() if name == "llama" else None)
        expect(kept, result.model, inputs)
        narrow = sc.shrink(model, inputs, keep=every_other(name))
        expect(sc.save(narrow, root / f"{name}-narrow"), narrow.model, inputs)
        if name == "llama":
            shallow = sc.shrink(model, inputs, keep={"model.layers.0": []})
            expect(sc.save(shallow, root / "llama-shallow"), shallow.model, inputs)
            biased = compensated(model, inputs)
            expect(sc.save(biased, root / "llama-biased"), biased.model, inputs)
    command = [
        sys.executable,
        "-I",
        str(LOADER),
        *map(str, sorted(path for path in root.iterdir() if path.is_dir())),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "without secateur"
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines() if "25" not in line)


def compensated(model: nn.Module, inputs: dict[str, torch.Tensor]) -> Any:
    """Half of the neurons and heads of every layer, biases in place of them."""
    data = [{"input_ids": IDS[:1]}, {"input_ids": IDS[1:]}]
    return sc.shrink(
        sc.prune(model, "flap", density=0.5, across=False, data=data, example=inputs), inputs
    )


def expect(folder: Path, model: nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    """Lay what a model computes beside its folder."""
    torch.save({"inputs": inputs, "output": outputs(model, inputs)}, folder.with_suffix(".pt"))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stock_loader_reads_masked_models(name: str, stock: dict[str, str]) -> None:
    assert stock[f"{name}-masked"] == "True"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_stock_loader_reads_equal_widths(name: str, stock: dict[str, str]) -> None:
    """One process, in which Secateur cannot be imported, reads them all."""
    assert stock[f"{name}-narrow"] == "True"


def test_the_stock_loader_reads_fewer_layers(stock: dict[str, str]) -> None:
    assert stock["llama-shallow"] == "True"


def test_the_stock_loader_reads_biases_that_compensate(stock: dict[str, str]) -> None:
    """Its configuration says that all layers have them; those that nothing is made up for are zero."""
    assert stock["llama-biased"] == "True"
    model, inputs = tiny("llama")
    small = compensated(model, inputs).model
    assert (small.config.attention_bias, small.config.mlp_bias) == (True, True)
    assert not model.config.mlp_bias  # a copy was pruned
    biases = {n: bool(p.any()) for n, p in small.named_parameters() if n.endswith("bias")}
    assert len(biases) == 2 * 7
    assert {n.split(".")[-2] for n, any_ in biases.items() if any_} == {"o_proj", "down_proj"}


def test_biases_that_no_switch_gives_stay_our_own_loaders(tmp_path: Path) -> None:
    model, inputs = tiny("gemma3")
    shrunk = compensated(model, inputs)
    assert not shrunk.model.config.attention_bias  # one switch alone would not be enough
    assert shrunk.record["loadable"] == "secateur"
    loaded = sc.load(sc.save(shrunk, tmp_path / "a"))
    assert torch.equal(outputs(loaded, inputs), outputs(shrunk.model, inputs))


def test_numbers_that_json_cannot_say_come_back(tmp_path: Path) -> None:
    """As in the configurations of Bamba and Falcon-H1, which refuse anything else there."""
    model, _ = tiny("llama")
    model.config.limits = (0.0, math.inf)
    model.config.inner = {"low": -math.inf, "tag": {"__float__": "Much"}}
    config = sc.load(sc.save(model, tmp_path / "a")).config
    assert list(config.limits) == [0.0, math.inf]
    assert config.inner == {"low": -math.inf, "tag": {"__float__": "Much"}}


def test_masks_come_back_with_our_own_loader(tmp_path: Path) -> None:
    model, inputs = tiny("llama")
    result = sc.prune(model, "magnitude", sparsity=0.9)
    for compact in (False, True):
        folder = sc.save(result, tmp_path / str(compact), compact=compact)
        loaded = sc.load(folder)
        assert same_bits(loaded, result.model)
        assert torch.equal(outputs(loaded, inputs), outputs(result.model, inputs))
        assert HardMasks.of(loaded).masks.keys() == result.masks.keys()
    small, large = (
        (tmp_path / str(compact) / "model.safetensors").stat().st_size for compact in (True, False)
    )
    assert small < 0.7 * large


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_uneven_widths_come_back_with_our_own_loader(name: str, tmp_path: Path) -> None:
    model, inputs = tiny(name)
    shrunk = sc.shrink(model, inputs, keep=every_other(name, (1,)))
    folder = sc.save(shrunk, tmp_path / "a")
    assert not read_manifest(folder).stock
    loaded = sc.load(folder)
    assert same_bits(loaded, shrunk.model)
    assert torch.equal(outputs(loaded, inputs), outputs(shrunk.model, inputs))
    assert "sc.load(" in (folder / "README.md").read_text()


def test_what_was_cut_by_hand_is_refused(tmp_path: Path) -> None:
    model, _ = tiny("llama")
    mlp = model.model.layers[0].mlp
    mlp.down_proj = nn.Linear(7, 32, bias=False)
    with pytest.raises(PlanError, match=r"down_proj.weight.*Take structures out with sc\.shrink"):
        sc.save(model, tmp_path / "a")


def test_files_beside_the_weights(tmp_path: Path) -> None:
    from export.gguf_models import byte_level

    model, _ = tiny("llama")
    folder = sc.save(model, tmp_path / "a", tokenizer=byte_level())
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "float32"
    assert (folder / "generation_config.json").exists()
    again = sc.save(model, tmp_path / "b", tokenizer=folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    copied = sc.save(type(model).from_pretrained(folder), tmp_path / "c")
    assert (copied / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_a_configuration_fetches_and_runs_nothing() -> None:
    from secateur.artifact.architecture import without_code

    config = {"auto_map": {"AutoModel": "evil.py"}, "attn_implementation": "org/kernel"}
    nested = {"text_config": {"_attn_implementation": "org/kernel", "hidden_size": 8}}
    more = {"use_pretrained_backbone": True, "quantization_config": {}, "list": [config]}
    assert without_code(config | nested | more) == {"text_config": {"hidden_size": 8}, "list": [{}]}


def test_the_card_names_the_loader_and_only_recorded_figures(tmp_path: Path) -> None:
    model, _ = tiny("llama")
    result = sc.prune(model, "magnitude", sparsity=0.5)
    text = (sc.save(result, tmp_path / "a") / "README.md").read_text()
    assert "from transformers import LlamaForCausalLM" in text
    assert "library_name: transformers" in text
    point = result.record["points"][-1]
    assert f"| 0.5 | nonzero | {point['nonzero']:,} |" in text
    assert "accuracy" not in text
