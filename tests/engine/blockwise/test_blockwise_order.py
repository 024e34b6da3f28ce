"""Inputs in another order: the dense network is the same, from disk as in memory, and killed it goes on."""

import copy

import pytest
import torch
from support_thorough import but
from torch import nn

import secateur as sc
from secateur.artifact.source import state_digest
from secateur.basis import SpreadInputs
from secateur.core.errors import PlanError
from secateur.engine.blockwise import reordering as module
from secateur.engine.blockwise.activations import InMemory
from secateur.engine.blockwise.blocks import find_blocks
from secateur.engine.blockwise.conductor import Conductor
from secateur.engine.blockwise.describe import card
from secateur.engine.blockwise.folder import prune_folder
from secateur.engine.blockwise.job import Job, Walked
from secateur.engine.blockwise.preview import preview
from secateur.engine.blockwise.reordering import Reordering
from secateur.engine.blockwise.shards import Shards
from secateur.engine.blockwise.shelf import InPlace
from secateur.engine.blockwise.skeleton import Skeleton
from secateur.engine.blockwise.surveying import survey
from secateur.engine.blockwise.weightless import axes_of
from secateur.structure import Weights
from secateur.structure.free_order import Part
from secateur.structure.graph.errors import ProofError
from secateur.text.calibration import Sampling
from tests.engine.blockwise import tiny
from tests.engine.blockwise.test_blockwise_encoder_decoder import made
from tests.engine.blockwise.test_blockwise_folder import digests
from tests.engine.blockwise.test_blockwise_methods import walked

RECIPE = sc.recipe("wanda", pattern="2:4", permute=True)
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}


@pytest.fixture(autouse=True)
def _traced_once(monkeypatch):
    """Equal networks are followed once for this file."""

    def axes(model, batches):
        key = str({k: v for k, v in model.config.to_dict().items() if "dtype" not in k})
        if key not in FOUND:
            FOUND[key] = axes_of(model, batches)
        return FOUND[key]

    monkeypatch.setattr(module, "axes_of", axes)


FOUND = {}


def logits(model):
    with torch.no_grad():
        return torch.cat([model(**b).logits[b["attention_mask"].bool()] for b in tiny.batches()])


def reordered(model, recipe=RECIPE):
    """The dense model with its inputs in order, and nothing pruned; what was found of each target."""
    blocks, batches, facts = find_blocks(model), tiny.batches(), {}
    job = Job(recipe, None, recipe.structure.targets(model), batches)
    orders = Reordering(model, blocks, job)
    orders.put(model, InPlace(), survey(model, blocks, job, InPlace(), Walked(), orders))
    with Conductor(model, blocks, batches, lambda _: InMemory()).conducting() as conductor:
        while (block := conductor.next()) is not None:
            facts |= orders.carry_out(conductor, block)
            conductor.finish(block)
    return facts


@pytest.mark.parametrize(("family", "changes"), [("llama", HEADS), ("gpt2", {})])
def test_the_dense_network_puts_out_what_it_did(family, changes):
    model = tiny.model(family, **changes).double()
    before, wanted = copy.deepcopy(model.state_dict()), logits(model)
    facts = reordered(model)
    torch.testing.assert_close(logits(model), wanted, rtol=0, atol=1e-6)  # norms are float32
    assert set(facts) == {t.name for t in Weights().targets(model)}
    assert all(f["retained"] >= 1 and f["reordered"] < 1e-6 for f in facts.values())
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert {t.name for t in Weights().targets(model)} <= moved
    for name, value in model.state_dict().items():
        torch.testing.assert_close(
            value.flatten().sort().values, before[name].flatten().sort().values
        )


def test_value_channels_stay_within_their_key_value_head():
    """Rows of v against those of the dense one, the residual order undone by sorting each row."""
    model = tiny.model(**HEADS).double()
    dense = copy.deepcopy(model)
    reordered(model)
    old, new = (
        m.model.layers[1].self_attn.v_proj.weight.detach().sort(1).values for m in (dense, model)
    )
    came = (new[:, None] - old[None]).abs().sum(-1).argmin(1)  # which row of the dense one it was
    assert sorted(came.tolist()) == list(range(16))
    assert (came // 8).tolist() == [0] * 8 + [1] * 8
    first, second = came[:8].tolist(), (came[8:] - 8).tolist()
    assert first != second  # each head has an order of its own


def test_more_of_the_scores_stay_than_in_the_order_that_was_there():
    """Wanda's scores of the dense model, by hand, before and after."""

    def kept(model, name):
        seen = []
        layer = model.get_submodule(name)
        hook = layer.register_forward_hook(lambda m, args, out: seen.append(args[0]))
        logits(model)
        hook.remove()
        keep = [b["attention_mask"].bool() for b in tiny.batches()]
        x = torch.cat([s[k] for s, k in zip(seen, keep, strict=True)])
        rows = layer.weight.detach().abs() * x.square().mean(0).sqrt()
        return float(rows.unflatten(1, (-1, 4)).sort(-1).values[..., 2:].sum())

    dense, model = tiny.model(**HEADS).double(), tiny.model(**HEADS).double()
    facts = reordered(model)
    for name in ("mlp.down_proj", "self_attn.o_proj"):
        for layer in range(3):
            path = f"model.layers.{layer}.{name}"
            gain = kept(model, path) / kept(dense, path)
            assert facts[f"{path}.weight"]["retained"] == pytest.approx(gain, rel=1e-5)
            assert gain > 1


def test_an_order_that_changes_the_network_is_refused(monkeypatch):
    monkeypatch.setattr(
        Part, "index", lambda self, orders: torch.arange(len(self.unit)).roll(self.dim)
    )
    model = tiny.model(**HEADS)
    with pytest.raises(ProofError, match=r"in another order gives something else"):
        reordered(model)


@pytest.mark.parametrize("refit", but([0.0], [0.0, 1.0]))
def test_from_disk_as_in_memory_and_killed_it_goes_on(refit, tmp_path):
    source, batches = tiny.folder(tmp_path / "source", **HEADS), tiny.batches()
    recipe = sc.recipe("sparsegpt", pattern="2:4", refit=refit, permute=True)
    done = prune_folder(source, recipe, tmp_path / "out", batches=batches)
    model = tiny.load(source)
    walked(model, recipe, batches)
    for name, value in tiny.load(done.folder).state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=1e-5)

    def stop(event):
        raise KeyboardInterrupt

    where = "disk" if refit else "memory"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            prune_folder(
                source,
                recipe,
                tmp_path / "again",
                batches=batches,
                activations=where,
                progress=stop,
            )
    prune_folder(source, recipe, tmp_path / "again", batches=batches, activations=where)
    assert digests(tmp_path / "again") == digests(tmp_path / "out")
    assert done.record["recipe"]["basis"]["name"] == "spread-inputs"
    found = sc.artifact.manifest.read_manifest(done.folder).provenance.source
    assert found == state_digest(tiny.load(source).state_dict())
    assert "inputs of 21 weights were put in another order" in card(done.record)


def test_a_narrow_dtype_and_a_plan(tmp_path):
    source = tiny.folder(tmp_path / "source", dtype=torch.bfloat16, **HEADS)
    plan = preview(Skeleton(Shards(source)), RECIPE, Sampling(samples=4, length=12))
    assert "21 of 21 weights get their inputs in another order (head width, neurons, res" in str(
        plan
    )
    assert "basis spread-inputs" in str(plan)
    done = prune_folder(source, RECIPE, tmp_path / "out", batches=tiny.batches())
    assert done.record["sparsity"] == 0.5
    dense, pruned = tiny.load(source).state_dict(), tiny.load(done.folder).state_dict()
    name = "model.embed_tokens.weight"
    assert not torch.equal(dense[name], pruned[name])
    assert torch.equal(dense[name].sort(1).values, pruned[name].sort(1).values)


def test_networks_without_free_orders_are_refused(tmp_path):
    source = tiny.folder(tmp_path / "source", "mixtral")
    with pytest.raises(PlanError, match=r"found by tracing; its routers decide by values"):
        prune_folder(source, RECIPE, tmp_path / "out", batches=tiny.batches())
    queries = Weights(include=("*q_proj*",))
    recipe = RECIPE.model_copy(update={"structure": queries, "basis": SpreadInputs(residual=False)})
    with pytest.raises(PlanError, match=r"finds no inputs whose order is free in LlamaForCausalLM"):
        walked(tiny.model(**HEADS), recipe, tiny.batches())


class Layer(nn.Module):
    """A residual block of two linear layers."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(x)))


class Stack(nn.Module):
    """Not of transformers: what runs through it is told by an input, not by keywords."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Linear(8, 16), nn.Linear(16, 4)
        self.layers = nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


def test_networks_of_one_s_own(monkeypatch):
    monkeypatch.setattr(module, "axes_of", axes_of)
    torch.manual_seed(0)
    model, x = Stack(), torch.randn(32, 8)
    recipe = RECIPE.model_copy(update={"structure": Weights(include=("layers.*",))})
    first = model.embed.weight.detach().clone()
    rows = walked(model, recipe, [(x, torch.zeros(32))]).rows
    assert len(rows) == 6
    assert all(row["retained"] > 1 and row["reordered"] < 1e-5 for row in rows)
    assert not torch.equal(model.embed.weight, first)
    assert all(
        bool((layer.up.weight != 0).unflatten(1, (-1, 4)).sum(-1).eq(2).all())
        for layer in model.layers
    )


def test_an_encoder_and_a_decoder_each_have_an_order(monkeypatch):
    monkeypatch.setattr(module, "axes_of", axes_of)
    model, batches = made("t5")
    before = model.shared.weight.detach().clone()
    result = sc.prune(model, RECIPE, data=batches, example=batches[0])  # compares the logits
    assert result.sparsity == 0.5
    assert not torch.equal(result.model.shared.weight, before)
