"""The transformers of torch, whose layers read settings and weights of their attention from outside."""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.structure.graph.hybrid import GraphPart, put

CODE = """
import sys, torch, secateur as sc
sys.path.insert(0, sys.argv[2])
from test_transformer import SOURCE, TARGET, Translator
small = sc.load(sys.argv[1], model=Translator())
wanted = torch.load(sys.argv[1] + ".pt", weights_only=True)
with torch.no_grad():
    assert torch.equal(small.eval()(SOURCE, TARGET), wanted)
"""

SOURCE, TARGET = (torch.arange(n).reshape(2, -1) * 7 % 11 for n in (12, 10))


class Translator(nn.Module):
    """A sequence to a sequence by `nn.Transformer`, whose causal mask is looked at by value."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 16)
        self.body = nn.Transformer(16, 4, 1, 1, 32, batch_first=True)
        self.out = nn.Linear(16, 11)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        return self.out(self.body(self.words(source), self.words(target), tgt_mask=mask))


class Padded(nn.Module):
    """`nn.TransformerEncoder` with the places of a word 0 hidden; in evaluation torch leaves them out."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.words, self.body = nn.Embedding(11, 16), nn.TransformerEncoder(layer, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.words(x), src_key_padding_mask=x == 0) * (x != 0)[..., None]


class Decoder(nn.Module):
    """`nn.TransformerDecoder` over what it is given."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True)
        self.words, self.body = nn.Embedding(11, 16), nn.TransformerDecoder(layer, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.body(self.words(x), self.words(y))


def graphs(model: nn.Module) -> set[str]:
    return {name for name, part in model.named_modules() if isinstance(part, GraphPart)}


@cache
def translator() -> sc.Shrunk:
    """With half of every structure that goes by default."""
    torch.manual_seed(0)
    names = (
        "encoder.layers.0.self_attn",
        "decoder.layers.0.self_attn",
        "decoder.layers.0.multihead_attn",
    )
    keep = {f"body.{name}.heads": range(2) for name in names}
    keep |= {f"body.{name}.layers.0.linear1": range(16) for name in ("encoder", "decoder")}
    return sc.shrink(Translator().eval(), (SOURCE, TARGET), keep=keep)


def test_a_translator_stays_ordinary_and_trains() -> None:
    small = translator()
    assert small.record["level"] == "A"
    assert small.record["exact"]
    assert small.record["proof"]["error"] < 1e-9 < 1e-2 < small.record["proof"]["effect"]
    assert small.record["difference"] < 1e-5
    assert small.record["parameters"][1] < 0.6 * small.record["parameters"][0]
    layers = small.model.body.encoder.layers, small.model.body.decoder.layers
    assert isinstance(layers[0][0], nn.TransformerEncoderLayer)
    assert isinstance(layers[1][0], nn.TransformerDecoderLayer)
    model = copy.deepcopy(small.model).train()
    loss = model(SOURCE, TARGET).square().mean()
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    before = model.eval()(SOURCE, TARGET).square().mean()
    torch.optim.SGD(model.parameters(), 0.1).step()
    assert model(SOURCE, TARGET).square().mean() < before


def test_a_translator_is_loaded_elsewhere(tmp_path: Path) -> None:
    small = translator()
    folder = sc.save(small, tmp_path / "small")
    with torch.no_grad():
        torch.save(small.model.eval()(SOURCE, TARGET), f"{folder}.pt")
    command = [sys.executable, "-c", CODE, str(folder), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("kind", "inputs", "attention"),
    [
        (Padded, (SOURCE,), {"self_attn"}),
        (Decoder, (TARGET, SOURCE), {"self_attn", "multihead_attn"}),
    ],
)
def test_attention_loses_heads_and_stays_attention(
    kind: type[nn.Module], inputs: tuple[Tensor, ...], attention: set[str]
) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    heads = [a.name for a in sc.trace(model, inputs) if "heads" in a.kind]
    small = sc.shrink(model, inputs, keep={name: [0, 2] for name in heads})
    assert len(heads) == len(attention)
    assert small.record["level"] == "A"
    assert not graphs(small.model)
    for name in attention:
        assert small.model.get_submodule(f"body.layers.0.{name}").num_heads == 2
    assert small.record["exact"]
    assert small.record["difference"] < 1e-5
    assert small.record["proof"]["effect"] > 1e-2


def test_other_lengths_than_the_examples_come_out_as_masked_ones() -> None:
    """Longer, shorter, and another batch; heads masked by hand in the network before."""
    model = Padded().eval()
    (heads,) = [a.name for a in sc.trace(model, (SOURCE,)) if "heads" in a.kind]
    small = sc.shrink(model, (SOURCE,), keep={heads: [0, 2]}).model.eval()
    with torch.no_grad():
        out = model.body.layers[0].self_attn.out_proj.weight
        out[:, 4:8] = out[:, 12:] = 0
        for shape in ((1, 3), (4, 9)):
            x = torch.randint(1, 11, shape)
            torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-5)


def test_it_is_pruned_again_measured_and_exported(tmp_path: Path) -> None:
    model = Decoder().eval()
    names = [a.name for a in sc.trace(model, (TARGET, SOURCE)) if "heads" in a.kind]
    first = sc.shrink(model, (TARGET, SOURCE), keep={name: [0, 1, 3] for name in names})
    names = [a.name for a in sc.trace(first.model, (TARGET, SOURCE)) if "heads" in a.kind]
    second = sc.shrink(first.model, (TARGET, SOURCE), keep={name: [1] for name in names})
    assert len(names) == 2
    assert second.record["level"] == "A"
    assert second.model.body.layers[0].self_attn.num_heads == 1
    macs = [sc.measure(m, (TARGET, SOURCE)).macs.total for m in (model, first.model, second.model)]
    assert macs[0] > macs[1] > macs[2]
    sc.export(second.model, tmp_path / "small.pt2", example=(TARGET, SOURCE))


class Mine(nn.MultiheadAttention):
    """Attention of somebody's own, who may read other settings than torch."""


def test_attention_of_ones_own_becomes_a_graph() -> None:
    torch.manual_seed(0)
    model = Padded()
    model.body.layers[0].self_attn = Mine(16, 4, batch_first=True)
    model.eval()
    (heads,) = [a.name for a in sc.trace(model, (SOURCE,)) if "heads" in a.kind]
    small = sc.shrink(model, (SOURCE,), keep={heads: [0, 2]})
    assert graphs(small.model) == {"body.layers.0.self_attn"}
    assert small.record["difference"] < 1e-5


def test_a_graph_says_what_the_module_said() -> None:
    class Layer(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2, bias=False)
            self.name, self.sizes, self.call = "layer", (1, 2), lambda: 0

    model, part = nn.Sequential(Layer()), nn.Module()
    part.in_features = 5
    put(model, {"0": part})
    assert model[0] is part
    assert (part.name, part.sizes, part.out_features, part.bias) == ("layer", (1, 2), 2, None)
    assert part.in_features == 5  # its own
    assert not hasattr(part, "call")
