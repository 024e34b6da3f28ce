"""Integers: rounded by definition, trained with the rounding in force, read by torchao and transformers."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import NumberError, PlanError, StorageError
from secateur.precision import Integers
from tests.engine.test_execute import data, network, training

pytest.importorskip("torchao")


def by_definition(weight: Tensor, bits: int) -> Tensor:
    """s round(w / s), a loop over the output channels."""
    most = 2 ** (bits - 1) - 1
    rows = []
    for row in weight:
        step = float(row.abs().max()) / most
        rows.append((row / step).round() * step if step else row)
    return torch.stack(rows)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", [(6, 10), (4, 3, 3, 3), (5, 1), (4, 1, 1, 1)])
def test_rounding_is_its_definition_and_twice_is_once(bits: Any, shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weight[weight.abs() < 0.5] = 0
    weight[1] = 0
    keep = weight != 0
    coded = Integers(bits=bits).coded(weight, keep, {})
    assert torch.allclose(coded, by_definition(weight, bits), atol=1e-6)
    assert not coded[~keep].any()
    assert torch.allclose(Integers(bits=bits).coded(coded, keep, {}), coded, rtol=1e-6, atol=0)


def test_a_step_follows_the_gradient_of_the_rounded_network_straight_through() -> None:
    net, x, y = nn.Linear(6, 2, bias=False), torch.randn(8, 6), torch.randint(0, 2, (8,))
    plain = sc.Training(
        length=sc.Time(1, "it"), batch_size=8, lr=10.0, weight_decay=0,
        optimiser={"name": "sgd", "momentum": 0.0, "nesterov": False},
    )  # fmt: skip
    options = {"density": 0.5, "classifier": True}
    masked = sc.prune(net, "magnitude", **options)
    result = sc.prune(
        net,
        "magnitude",
        **options,
        quantise=4,
        tune="1it",
        data=(x, y),
        training=plain,
        trained=True,
    )
    mask, weight = masked.masks["weight"], masked.model.weight.detach()
    seen = by_definition(weight, 4).requires_grad_()
    (slope,) = torch.autograd.grad(nn.functional.cross_entropy(x @ seen.T, y), seen)
    wanted = by_definition(weight - 10 * 0.1 * slope * mask, 4)
    assert torch.allclose(result.model.weight.detach(), wanted, atol=1e-5)


def on_grid(model: nn.Module, bits: int) -> bool:
    weights = [p.detach() for p in model.parameters() if p.dim() > 1]
    return all(torch.allclose(w, by_definition(w, bits), atol=1e-6) for w in weights)


def test_masks_hold_and_the_export_is_exact_where_the_training_knew_the_rounding(
    tmp_path: Path,
) -> None:
    given = {"data": data(), "training": training(), "density": 0.3, "fine_tune": "1ep"}
    trained = sc.prune(network(), "magnitude", quantise=4, tune="1ep", **given)
    pruned = sc.prune(network(), "magnitude", **given)
    assert trained.record["points"][-1]["moment"] == "coded"
    assert on_grid(trained.model, 4)
    for name, mask in trained.masks.items():
        assert not dict(trained.model.named_parameters())[name].detach()[~mask].any()
    made = [
        sc.export(r, tmp_path / f"{i}.safetensors", to="torchao", kind="int4")
        for i, r in enumerate((trained, pruned))
    ]
    assert made[0].difference is not None
    assert made[1].difference is not None
    assert made[0].difference < 1e-5 < made[1].difference


def test_after_structures_were_taken_out(tmp_path: Path) -> None:
    x = data()[0][:2]
    small = sc.shrink(sc.prune(network(), "group-norm", density=0.5, example=x), x)
    given = {"data": data(), "training": training(), "trained": True, "example": x}
    result = sc.prune(small.model, "dense", quantise=8, tune="1ep", **given)
    assert on_grid(result.model, 8)
    shapes = [p.shape for p in small.model.parameters()]
    assert [p.shape for p in result.model.parameters()] == shapes
    made = sc.export(result, tmp_path / "a.safetensors", to="torchao")
    assert made.difference is not None
    assert made.difference < 1e-5
    sc.save(result, tmp_path / "a")
    again = sc.load(tmp_path / "a", model=network())
    assert torch.equal(again(x), result.model.eval()(x))


READ = """
import sys, torch
from safetensors import safe_open
from torch import nn
from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict
net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
with safe_open(sys.argv[1], "pt") as file:
    state, _ = unflatten_tensor_state_dict({k: file.get_tensor(k) for k in file.keys()}, file.metadata())
net.load_state_dict(state, assign=True)
assert "secateur" not in sys.modules
print(type(net[2].weight).__name__, net[2].weight.qdata.dtype, *net(torch.ones(1, 1, 4, 4))[0].tolist())
"""


def test_torchao_reads_the_file_in_a_process_of_its_own(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    result = sc.prune(net, "magnitude", density=0.5, classifier=True, quantise=8)
    path = tmp_path / "a.safetensors"
    sc.export(result, path, to="torchao")
    words = [sys.executable, "-c", READ, str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert said[:2] == ["Int8Tensor", "torch.int8"]
    wanted = result.model.eval()(torch.ones(1, 1, 4, 4))[0]
    assert torch.allclose(torch.tensor([float(w) for w in said[2:]]), wanted, atol=1e-5)


def test_an_export_says_which_weights_stay_floats(tmp_path: Path) -> None:
    net = nn.ModuleDict({"a": nn.MultiheadAttention(4, 2), "r": nn.GRU(4, 4), "h": nn.Linear(4, 4)})
    made = sc.export(net, tmp_path / "a.safetensors", to="torchao")
    said = "as they are: a.out_proj, a.in_proj_weight, r.weight_ih_l0, r.weight_hh_l0"
    assert made.notes == ("int8 weights", said)


def llama() -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_from_pretrained_reads_a_language_model(kind: str, tmp_path: Path) -> None:
    model = llama()
    ids = torch.arange(8).view(1, 8)
    result = sc.prune(model, "magnitude", density=0.5, quantise=int(kind[3:]))
    made = sc.export(
        result, tmp_path / "model.safetensors", to="torchao", kind=kind, example={"input_ids": ids}
    )
    assert made.difference is not None
    assert made.difference < 1e-5
    again = type(model).from_pretrained(tmp_path).eval()
    assert type(again.model.layers[0].mlp.up_proj.weight) is not nn.Parameter
    assert torch.allclose(again(ids).logits, result.model.eval()(ids).logits, atol=1e-5)
    with pytest.raises(StorageError, match=r"config\.json' exists"):
        sc.export(result, tmp_path / "model.safetensors", to="torchao")


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(PlanError, match="one of them"):
        sc.recipe("magnitude", share=3, quantise=8)
    with pytest.raises(PlanError, match="bits"):
        sc.recipe("magnitude", quantise=3)
    with pytest.raises(PlanError, match="kind of torchao file 'int7'"):
        sc.export(network(), path, to="torchao", kind="int7")
    with pytest.raises(PlanError, match="has none with weights of its own"):
        sc.export(nn.Sequential(nn.Conv1d(2, 2, 3)), path, to="torchao")
    with pytest.raises(PlanError, match=r"state-dict has no kinds, and 'int4' would be ignored"):
        sc.export(network(), path, kind="int4")
    with pytest.raises(PlanError, match="equal widths are of gguf, torchao has any"):
        sc.export(network(), path, to="torchao", equal_widths=True)
    with pytest.raises(PlanError, match=r"0\.weight is float64; convert .* model\.float\(\)"):
        sc.prune(nn.Sequential(nn.Linear(4, 4)).double(), "dense", quantise=8)
    with pytest.raises(NumberError, match="weight 'weight' holds NaN"):
        sc.prune(
            nn.Linear(2, 2).requires_grad_(False).apply(lambda m: m.weight.fill_(math.nan)),
            "dense",
            quantise=8,
        )
    net = nn.Linear(2, 2)
    with pytest.raises(PlanError, match=r"weight is float64; convert .*, or export its state-dict"):
        sc.export(copy.deepcopy(net).double(), path, to="torchao")
    with pytest.raises(PlanError, match=r"Linear does not run on the example: .*\(2x3 and 2x2\)"):
        sc.export(net, path, to="torchao", example=torch.ones(2, 3))
    with torch.no_grad(), pytest.raises(NumberError, match="weight 'weight' holds NaN"):
        sc.export(net.apply(lambda m: m.weight.fill_(math.nan)), path, to="torchao")
    transformers = pytest.importorskip("transformers")
    small = transformers.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=16, n_positions=8)
    with pytest.raises(
        PlanError, match=r"c_attn\.weight is stored as \['in', 'out'\]\. Exclude these: in"
    ):
        sc.prune(transformers.GPT2LMHeadModel(small), "magnitude", density=0.5, quantise=8)


def test_a_torchao_that_cannot_be_imported_is_called_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torchao").mkdir()
    (tmp_path / "torchao/__init__.py").write_text("raise ImportError('undefined symbol\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(PlanError, match=r"cannot be imported: undefined symbol; install a version"):
        sc.plan(network(), "magnitude", density=0.5, quantise=8)


def test_without_torchao_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(PlanError, match=r"pip install 'secateur\[quant\]'"):
        sc.plan(network(), "magnitude", density=0.5, quantise=8)
