"""Criteria that look on while the network trains, with and without adapters, written out by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.allocation import Uniform
from secateur.batches import as_batches
from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.criteria import Averaged, Balanced, CoupledTaylor, Magnitude, Taylor, Wanda
from secateur.engine import adapters, following
from secateur.engine.adapters import NAME, adapted, attach, merged_meanwhile
from secateur.engine.collect import collect
from secateur.engine.execute import execute
from secateur.engine.run import Run, Setting
from secateur.engine.store import FolderStore
from secateur.engine.train import SGD, AdamW, Constant, Training
from secateur.engine.view import ModelView
from secateur.materialise import HardMasks
from secateur.recover import RewindWeights
from secateur.schedule import Cubic, OneShot, Soft
from secateur.scope import Tensorwise
from secateur.structure import Rows, Weights
from secateur.tuning import LowRank
from tests.criteria.test_coupled_criteria import UNITS, loss, make, neurons
from tests.engine.killed import Killed, kill
from tests.methods.tiny import tiny_llama, tokens

pytest.importorskip("peft")

LLAMA = Training(length="6it", batch_size=8, optimiser=AdamW(), lr=0.01, weight_decay=0.0)
RANK, ALPHA, RATE, DECAY = 2, 3.0, 0.1, 0.75
HIDDEN = 6


def net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(5, HIDDEN, bias=False), nn.Tanh(), nn.Linear(HIDDEN, 3, bias=False)
        ).double()


def data() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(24, 5, generator=rng, dtype=torch.float64)
    return x, (x[:, 0] > 0).long()


def recipe(**changed: Any) -> Recipe:
    """Rows of the first layer, taken out in two steps, judged by all steps before them."""
    parts: dict[str, Any] = {
        "structure": Rows(include=("0.weight",)),
        "criterion": Averaged(inner=Taylor(order="absolute"), decay=DECAY),
        "scope": Tensorwise(),
        "allocator": Uniform(),
        "schedule": Cubic(density=0.5, begin="0it", end="6it", every="3it"),
    }
    return Recipe(**{**parts, **changed})


def plain(**changed: Any) -> Training:
    return Training(**{
        "length": "8it", "batch_size": 24, "optimiser": SGD(momentum=0.0), "lr": RATE, "weight_decay": 0.0,
        "schedule": Constant(), "clip": None, **changed,
    })  # fmt: skip


def run(what: Recipe, training: Training, store: Any = None, tell: Any = None) -> Run:
    setting = Setting(
        training=training, trained=True, checkpoint_seconds=0,
        train=lambda stage: as_batches(data(), training.batch_size, 0, stage, shuffle=True),
    )  # fmt: skip
    return Run(what, net(), setting, store, progress=tell)


def by_hand(tuned: bool, steps: int = 8) -> tuple[list[Tensor], Tensor, Tensor]:
    """The masks of both updates, the scores in the end and the weight, from the definitions alone.

    The whole data are one batch. With adapters the gradients of A and B are autograd's, of the network
    with W + s B A written out, and the gradient of W is estimated from them.
    """
    x, y = data()
    model, scale = net(), ALPHA / RANK
    w, v = model[0].weight.detach(), model[2].weight.detach()
    attached = net()
    attach(attached, LowRank(rank=RANK, alpha=ALPHA, layers=("0", "2")).adapter, 0, "dense")
    parts = {n: p.detach().clone() for n, p in attached.named_parameters() if "lora_" in n}
    pairs = [
        (parts[f"{layer}.lora_A.{NAME}.weight"].double(), parts[f"{layer}.lora_B.{NAME}.weight"].double())
        for layer in (0, 2)
    ] if tuned else []  # fmt: skip
    masks, score, alive = [], torch.zeros(HIDDEN).double(), torch.ones(HIDDEN, dtype=torch.bool)
    for step in range(steps):
        if step in (3, 6):
            stay = round((0.5 + 0.5 * (1 - step / 6) ** 3) * HIDDEN)
            ranked = score.masked_fill(~alive, -1).argsort(descending=True)
            alive = torch.zeros_like(alive)
            alive[ranked[:stay]] = True
            masks.append(alive)
            w = w * alive[:, None]
            pairs = [
                (a, b * alive[:, None]) if i == 0 else (a, b) for i, (a, b) in enumerate(pairs)
            ]
        leaves = [t.clone().requires_grad_() for t in (*sum(pairs, ()),)] or [
            t.clone().requires_grad_() for t in (w, v)
        ]
        if tuned:
            a, b, c, d = leaves
            out = torch.tanh(x @ (w + scale * b @ a).T) @ (v + scale * d @ c).T
        else:
            out = torch.tanh(x @ leaves[0].T) @ leaves[1].T
        slopes = list(torch.autograd.grad(F.cross_entropy(out, y), leaves))
        if tuned:
            slopes[1] = slopes[1] * alive[:, None]
            a, b, to_a, to_b = leaves[0].detach(), leaves[1].detach(), slopes[0], slopes[1]
            guess, full = to_b @ a + b @ to_a - to_b @ to_a, w + scale * b @ a
            moved = [(t - RATE * s).detach() for t, s in zip(leaves, slopes, strict=True)]
            pairs = [(moved[0], moved[1]), (moved[2], moved[3])]
        else:
            guess, full = slopes[0] * alive[:, None], w
            w, v = w - RATE * guess, v - RATE * slopes[1]
        if step < 6:
            score = DECAY * score + (1 - DECAY) * (guess * full).abs().sum(1)
    return masks, score, w + scale * pairs[0][1] @ pairs[0][0] if tuned else w


@pytest.mark.parametrize("tuned", [True, False], ids=["adapters", "weights"])
def test_scores_masks_and_weights_are_those_of_the_definition(tuned: bool) -> None:
    layers = LowRank(rank=RANK, alpha=ALPHA, layers=("0", "2")) if tuned else None
    seen: list[dict[str, Any]] = []
    one = run(recipe(tuning=layers), plain(), tell=seen.append)
    outcome = execute(one)
    masks, score, weight = by_hand(tuned)
    assert [e["density"] for e in seen if e["kind"] == "pruned"] == [
        float(m.double().mean()) for m in masks
    ]
    assert torch.equal(outcome.masks["0.weight"].any(1), masks[-1])
    (known,) = one.followed.values()
    assert torch.allclose(known, score, rtol=1e-5)  # peft keeps its adapters in float32
    found = outcome.model[0].weight.detach()  # type: ignore[index]
    assert torch.allclose(found, weight, rtol=1e-4, atol=1e-6)
    assert not found[~masks[-1]].any()


def test_balanced_gives_every_tensor_the_same_say() -> None:
    model, batches = make()
    target = neurons(model)
    criterion = Balanced()
    stats = collect(model, criterion.required(), (target,), batches, loss)
    found = criterion.score(ModelView(model, (target,), None, stats), target)
    wanted = torch.zeros(UNITS).double()
    for name, dim in (("gate.weight", 0), ("up.weight", 0), ("down.weight", 1)):
        w = model.get_parameter(name)
        slopes = [torch.autograd.grad(loss(model, b), w)[0] for b in batches]
        part = (w * torch.stack(slopes).abs().mean(0)).abs().sum(1 - dim)
        wanted += part / part.square().sum().sqrt()
    assert torch.allclose(found, wanted.detach())


def test_frozen_weights_come_back_to_the_last_bit_and_what_goes_is_gone_everywhere() -> None:
    model = tiny_llama(1)
    names = [n for n, _ in model.named_parameters()]
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    attach(model, LowRank(rank=3).adapter, 0, "dense")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_()
    wanted = model(**tokens()).logits
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    with merged_meanwhile(model, names, None):
        assert [n for n, _ in model.named_parameters()] == names
        assert all(p.requires_grad for p in model.parameters())
        assert torch.allclose(model(**tokens()).logits, wanted, atol=1e-4)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == trained
    assert len(adapted(model)) == 7
    for name, p in model.named_parameters():
        own = name.replace(".base_layer.", ".")
        assert own not in before or torch.equal(p, before[own])


def test_what_is_raised_while_all_is_merged_leaves_the_network_adapted_and_masked() -> None:
    model = net()
    attach(model, LowRank(rank=RANK, layers=("0", "2")).adapter, 0, "dense")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.fill_(0.5)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    rows = (torch.arange(HIDDEN) < 4)[:, None]

    def failing_update() -> None:
        with merged_meanwhile(model, ["0.weight", "2.weight"], None):
            HardMasks(model, {"0.weight": rows.expand(HIDDEN, 5)})
            raise Killed

    with pytest.raises(Killed):
        failing_update()
    left = dict(model.named_parameters())
    assert left.keys() == before.keys()
    assert {n for n, p in left.items() if p.requires_grad} == {n for n in left if "lora_" in n}
    for name, p in left.items():
        masked = name in {"0.base_layer.weight", "0.lora_B.default.weight"}
        assert torch.equal(p, before[name] * rows if masked else before[name]), name


def test_a_step_multiplies_adapters_once_however_many_members_lie_in_a_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fused projections: heads have three slices of one weight, neurons two."""
    from transformers import Phi3Config, Phi3ForCausalLM

    shape = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "use_cache": False,
        "pad_token_id": 0,
    }
    made: list[str] = []
    for name in ("merged", "estimate"):
        own = getattr(adapters, name)
        monkeypatch.setattr(
            following, name, lambda layer, own=own, name=name: made.append(name) or own(layer)
        )
    what = sc.recipe("loraprune", density=0.5, first=0, last=0, every="2it").model_copy(
        update={"criterion": Averaged(inner=CoupledTaylor())}
    )
    result = sc.prune(
        Phi3ForCausalLM(Phi3Config(**shape, **heads)), what, data=tokens(16), example=tokens(2),
        training=LLAMA, trained=True,
    )  # fmt: skip
    assert sorted(len(t.members) for t in result.targets) == [3, 4]
    steps, weights = 5, 4  # of six steps the last one comes after the last update
    assert Counter(made) == {"merged": steps * weights, "estimate": steps * weights}


def test_a_killed_run_goes_on_between_two_updates_and_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    what = recipe(tuning=LowRank(rank=RANK, layers=("0", "2")))
    training = plain(batch_size=6, length="8it", optimiser=AdamW(), lr=0.01)
    whole = run(what, training)
    execute(whole)
    kill(lambda store: run(what, training, store), tmp_path, checkpoints=5)
    seen: list[dict[str, Any]] = []
    again = run(what, training, FolderStore(tmp_path), seen.append)
    execute(again)
    assert seen[0]["kind"] == "resumed"
    states = (whole.model.state_dict(), again.model.state_dict())
    for one, two in (states, (whole.followed, again.followed)):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)


def test_loraprune_takes_out_neurons_and_heads_and_leaves_no_trace_of_adapters() -> None:
    result = sc.prune(
        tiny_llama(1), "loraprune", density=0.5, first=0, last=0, every="2it", data=tokens(16),
        example=tokens(2), training=LLAMA, trained=True,
    )  # fmt: skip
    assert {int(m.sum()) for m in result.units.values()} == {1, 12}
    parameters = dict(result.model.named_parameters())
    assert parameters.keys() == dict(tiny_llama(1).named_parameters()).keys()
    assert all(not parameters[n].detach()[~mask].any() for n, mask in result.masks.items())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tuning": LowRank(), "walk": "layers", "criterion": Magnitude()}, "walk 'layers' cannot go"),
        ({"tuning": LowRank(), "schedule": Soft(density=0.5)}, "holds nothing out"),
        ({"tuning": LowRank(), "recovery": RewindWeights()}, "goes back"),
        ({"walk": "layers"}, "use walk 'whole'"),
    ],
)  # fmt: skip
def test_what_cannot_go_together_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        recipe(**changed)


def test_what_a_step_does_not_show_is_refused() -> None:
    with pytest.raises(PlanError, match="needs input_square"):
        Averaged(inner=Wanda())
    with pytest.raises(PlanError, match="criterion 'averaged' works while the network trains"):
        sc.prune(net(), recipe(schedule=OneShot(density=0.5)), data=data())
    with pytest.raises(PlanError, match="tuning 'low-rank' works while"):
        sc.prune(
            net(), recipe(tuning=LowRank(), criterion=Magnitude(), schedule=OneShot(density=0.5)), data=data()
        )  # fmt: skip
    early = recipe(schedule=OneShot(density=0.5, at="0it"))
    with pytest.raises(PlanError, match="has seen no step"):
        sc.prune(net(), early, data=data(), training=plain())
    blind = recipe(tuning=LowRank(layers=("2",)))
    with pytest.raises(PlanError, match=r"nothing of '0\.weight\[rows\]' trains"):
        sc.prune(net(), blind, data=data(), training=plain())
    single = recipe(tuning=LowRank(), structure=Weights(), criterion=Magnitude())
    with pytest.raises(PlanError, match="single weights removed"):
        sc.prune(net(), single, data=data(), training=plain())
