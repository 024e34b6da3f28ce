"""DynaTran: cuts, their curve, and attention against formulas written out here."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.core.run_time import listening, run_time_layers, wrapped_again
from secateur.core.types import Target
from secateur.dynamic import Cut, ThresholdedAttention, ThresholdedLinear, set_sparsity
from secateur.dynamic.cut import cuts_of
from secateur.engine.run import Run, Setting
from secateur.materialise.activation_thresholds import run_watched
from secateur.models.vit import Attention
from tests.engine.killed import undisturbed_and_killed


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Tokens(nn.Module):
    """Numbers of tokens and a padding mask, as language models take them, to numbers of the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.attn, self.fc, self.head = Attention(8, 2, 0.0), nn.Linear(8, 8), nn.Linear(8, 11)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embed(input_ids) * (1 + 1000 * (1 - attention_mask[..., None]))  # padding is loud
        return self.head(self.fc(x + self.attn(x)).relu())


def network(kind: type[nn.Module] = Tokens) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return kind()


def batches(length: int = 12, pad: int = 0, seed: int = 1) -> list[dict[str, Tensor]]:
    out = []
    for i in range(4):
        ids = torch.randint(0, 11, (8, length), generator=torch.Generator().manual_seed(seed + i))
        mask = (torch.arange(length) < length - pad).long().expand(8, -1)
        out.append({"input_ids": ids, "attention_mask": mask})
    return out


def shares(model: nn.Module, data: list[dict[str, Tensor]]) -> float:
    """The share of zeros in all that is multiplied, from what the layers tell."""
    used = units = 0.0
    for batch in data:
        with torch.no_grad(), listening(model) as heard:
            model(**batch)
        for (work,) in heard.values():
            used, units = used + float(work.used.sum()), units + work.units * len(work.used)
    return 1 - used / units


@pytest.fixture(scope="module")
def pruned() -> sc.Result:
    return sc.prune(network(), "dynatran", sparsity=0.6, data=batches())


def test_a_cut_keeps_what_reaches_the_threshold_whatever_its_sign() -> None:
    cut = Cut(3)
    cut.threshold.fill_(0.5)
    x = torch.tensor([-0.5, -0.49, 0.0, 0.49, 0.5, 3.0, float("nan")])
    assert cut(x)[:-1].tolist() == [-0.5, 0, 0, 0, 0.5, 3.0]
    assert bool(cut(x)[-1].isnan())  # what went wrong stays visible


def test_the_threshold_lies_on_straight_lines_between_points() -> None:
    cut = Cut(3)
    cut.thresholds.copy_(torch.tensor([0.0, 1.0, 3.0]))
    cut.sparsities.copy_(torch.tensor([0.1, 0.5, 0.9]))
    for wanted, expected in (
        (0.0, 0.0),
        (0.1, 0.0),
        (0.3, 0.5),
        (0.5, 1.0),
        (0.8, 2.5),
        (0.9, 3.0),
    ):
        cut.aim(wanted)
        assert float(cut.threshold) == pytest.approx(expected)
    with pytest.raises(sc.SecateurError, match="beyond the calibrated curve"):
        cut.aim(0.95)


def test_linear_inputs_and_their_products_are_counted_by_hand() -> None:
    layer = ThresholdedLinear(nn.Linear(3, 5), 5, 2)
    layer.cut.threshold.fill_(1.0)
    x = torch.tensor([[[2.0, -0.5, -1.0], [0.1, 0.2, 0.3]], [[1.0, 1.0, 1.0], [0.0, 5.0, 0.0]]])
    with torch.no_grad(), listening(layer) as heard:
        y = layer(x)
    expected = x * torch.tensor([[[1, 0, 1], [0, 0, 0]], [[1, 1, 1], [0, 1, 0]]])
    torch.testing.assert_close(y, layer.inner(expected))
    (work,) = heard[""]
    assert (work.dense, work.units) == (30, 6)
    assert work.done.tolist() == [10, 20]
    assert work.used.tolist() == [2, 4]
    assert layer.out_features == 5  # what it lacks is the layer's


class Calls(nn.Module):
    """One call of attention as given."""

    def __init__(self, **told: Any) -> None:
        super().__init__()
        self.told = told

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **self.told)


LOWER = torch.ones(4, 4, dtype=torch.bool).tril()
CALLS: list[dict[str, Any]] = [
    {}, {"is_causal": True}, {"attn_mask": LOWER}, {"scale": 0.3}, {"enable_gqa": True},
    {"attn_mask": torch.zeros(4, 4).masked_fill(~LOWER, float("-inf"))},
    {"attn_mask": torch.cat([LOWER[:3], LOWER[:1] & False])},
]  # fmt: skip


@pytest.mark.parametrize("told", CALLS)
def test_attention_without_a_threshold_is_torchs(told: dict[str, Any]) -> None:
    q, k, v = normal(2, 4, 4, 6), normal(2, 2, 4, 6, seed=1), normal(2, 2, 4, 5, seed=2)
    if not told.get("enable_gqa"):
        k, v = k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)
    calls = Calls(**told)
    torch.testing.assert_close(ThresholdedAttention(calls, 2)(q, k, v), calls(q, k, v))


def test_what_attention_cuts_and_counts_one_number_at_a_time() -> None:
    layer = ThresholdedAttention(Calls(is_causal=True), 2)
    q, k, v = (normal(1, 1, 3, 2, seed=s) for s in (5, 6, 7))
    limits = {"query": 0.6, "key": 0.5, "probabilities": 0.4, "value": 0.7}
    for part, limit in limits.items():
        layer.cuts[part].threshold.fill_(limit)  # type: ignore[union-attr,operator]
    with listening(layer) as heard:
        found = layer(q, k, v)[0, 0]
    cut = lambda x, t: [[float(e) if abs(float(e)) >= t else 0.0 for e in r] for r in x]  # noqa: E731
    q_, k_, v_ = cut(q[0, 0], 0.6), cut(k[0, 0], 0.5), cut(v[0, 0], 0.7)
    products = 0
    for i in range(3):
        scores = []
        for j in range(3):
            products += sum(a != 0 and b != 0 for a, b in zip(q_[i], k_[j], strict=True))
            if j <= i:
                dot = sum(a * b for a, b in zip(q_[i], k_[j], strict=True))
                scores.append(dot / 2**0.5)
        (p,) = cut(torch.tensor([scores]).softmax(1), 0.4)
        for d in range(2):
            products += sum(p[j] != 0 and v_[j][d] != 0 for j in range(i + 1))
            assert float(found[i, d]) == pytest.approx(sum(p[j] * v_[j][d] for j in range(i + 1)))
    (work,) = heard[""]
    assert work.done.tolist() == [products]
    assert work.dense == 3 * 3 * (2 + 2)
    assert 0 < products < work.dense


def test_the_share_asked_for_is_met_on_other_data(pruned: sc.Result) -> None:
    assert abs(shares(pruned.model, batches()) - 0.6) < 0.02
    assert abs(shares(pruned.model, batches(seed=50)) - 0.6) < 0.03
    kinds = {type(m) for m in run_time_layers(pruned.model).values()}
    assert kinds == {ThresholdedLinear, ThresholdedAttention}
    assert len(run_time_layers(pruned.model)) == 6  # q, k, v, proj, fc and the attention itself
    assert len({float(c.threshold) for c in cuts_of(pruned.model)}) == 1


def test_the_curve_is_what_is_zero_with_the_cuts_at_work(pruned: sc.Result) -> None:
    model = copy.deepcopy(pruned.model)
    first = cuts_of(model)[0]
    for i in (0, 7, 15):
        for cut in cuts_of(model):
            cut.threshold.copy_(first.thresholds[i])
        assert shares(model, batches()) == pytest.approx(float(first.sparsities[i]), abs=1e-6)
    assert bool((first.sparsities.diff() >= 0).all())


def test_it_is_aimed_elsewhere_without_data(pruned: sc.Result) -> None:
    model = copy.deepcopy(pruned.model)
    for wanted in (0.3, 0.8):
        set_sparsity(model, wanted)
        assert abs(shares(model, batches()) - wanted) < 0.03
    for none in (1.0, float("nan"), "half"):
        with pytest.raises(sc.SecateurError, match="share from 0 to below 1"):
            set_sparsity(model, none)  # type: ignore[arg-type]
    with pytest.raises(sc.SecateurError, match="0 cuts"):
        set_sparsity(network(), 0.5)


def test_padding_is_left_out_of_the_calibration() -> None:
    """Loud padding would raise the threshold; the keys it has are seen, since nothing masks them."""
    data = batches(pad=4)
    found = [
        sc.prune(network(), "dynatran", sparsity=0.6, attention=False, include=names, data=d).model
        for names in (("attn.q.weight",),)
        for d in (data, [{k: v[:, :8] for k, v in b.items()} for b in data])
    ]
    padded, short = (cuts_of(model)[0] for model in found)
    torch.testing.assert_close(padded.sparsities, short.sparsities)
    assert float(padded.threshold) == float(short.threshold)


def test_every_cut_is_told_real_tokens_alone(pruned: sc.Result) -> None:
    cuts, seen = {m: n for n, m in pruned.model.named_modules() if isinstance(m, Cut)}, {}

    def watch(cut: Cut, x: Tensor, y: Tensor, there: Tensor | None) -> None:
        seen[cuts[cut].rpartition(".")[2]] = x
        assert x.shape == y.shape

    (batch,) = batches(pad=4)[:1]
    with torch.no_grad():
        run_watched(pruned.model, list(cuts), [batch], watch)
    assert {name: x.numel() for name, x in seen.items()} == {
        "cut": 64 * 8, "query": 64 * 8, "key": 64 * 8, "value": 64 * 8, "probabilities": 64 * 2 * 12,
    }  # fmt: skip
    assert seen["query"].abs().max() < 100
    assert all(cut.watch is None for cut in cuts)


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    def run(store: Any = None) -> Run:
        setting = Setting(
            scoring=batches(), example=batches()[0], val=batches(), checkpoint_seconds=0
        )
        return Run(sc.recipe("dynatran"), network(), setting, store)

    whole, again = undisturbed_and_killed(run, tmp_path, checkpoints=1)
    assert whole.points[-1]["run_time"] == again.points[-1]["run_time"]


class Own(Attention):
    """A softmax of its own."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(layer(x)) for layer in (self.q, self.k, self.v))
        return self.proj(((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_what_cannot_be_reached_is_refused() -> None:
    x = normal(2, 5, 8)
    with pytest.raises(sc.SecateurError, match="softmax of its own"):
        sc.plan(nn.Sequential(Own(8, 2, 0.0), nn.Linear(8, 2)), "dynatran", x)
    joint = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 2))
    with pytest.raises(sc.SecateurError, match="inside one function"):
        sc.plan(joint, "dynatran", x)
    shared = nn.Linear(8, 8)
    with pytest.raises(sc.SecateurError, match="runs 2 times"):
        sc.plan(nn.Sequential(shared, shared, nn.Linear(8, 2)), "dynatran", x)
    with pytest.raises(sc.SecateurError, match="no linear layer"):
        sc.plan(nn.Sequential(nn.Conv1d(5, 5, 1), nn.Conv1d(5, 5, 1)), "dynatran", x)
    with pytest.raises(sc.SecateurError, match="give an example"):
        sc.plan(network(), "dynatran")
    with pytest.raises(sc.SecateurError, match="nothing that a layer reads"):
        sc.recipe("dynatran").materialise.places(
            network(), sc.recipe("magnitude").structure.targets(network())
        )


def test_selectors_name_attentions_as_well_as_weights() -> None:
    def found(**told: Any) -> tuple[Target, ...]:
        return sc.recipe("dynatran", **told).structure.targets(network(), batches()[0])

    def named(**told: Any) -> list[str]:
        return [t.name for t in found(**told)]

    weights = [f"attn.{part}.inputs" for part in ("q", "k", "v", "proj")] + ["fc.inputs"]
    assert named() == [*weights, "attn.attention"]
    assert found()[-1].shape == (8,)  # heads times their width
    assert named(include=("fc.weight",)) == ["fc.inputs"]
    assert named(include=("*.attention",)) == ["attn.attention"]
    assert named(exclude=("attn.*",)) == ["fc.inputs"]
    assert named(exclude=("attn.attention", "fc.weight")) == weights[:4]
    with pytest.raises(sc.SecateurError, match=r"unknown parameter 'attn\.attn'"):
        named(exclude=("attn.attn",))
    result = sc.prune(network(), "dynatran", include=("*.attention",), points=2, data=batches())
    assert {type(m) for m in run_time_layers(result.model).values()} == {ThresholdedAttention}


def test_what_has_cuts_already_or_is_wrapped_twice_is_refused(pruned: sc.Result) -> None:
    with pytest.raises(sc.SecateurError, match="'attn' decides for every input already"):
        sc.plan(pruned.model, "dynatran", batches()[0])
    with pytest.raises(sc.SecateurError, match="'attn' decides for every input already"):
        sc.prune(pruned.model, "l1-filters", density=0.5, example=batches()[0])
    told = {"by": "activation-thresholds", "places": [{"kind": "attention", "layer": "attn"}] * 2}
    with pytest.raises(sc.SecateurError, match="wrapped, once"):
        wrapped_again(network(), told)  # type: ignore[arg-type]


def test_numbers_that_are_not_finite_are_no_data() -> None:
    broken = network()
    broken.get_parameter("embed.weight").data[3, 0] = float("nan")
    with pytest.raises(sc.SecateurError, match="not finite"):
        sc.prune(broken, "dynatran", data=batches())


def test_masks_that_the_network_carries_are_told_of_truly() -> None:
    masked = sc.prune(network(), "magnitude", sparsity=0.5).model
    assert "they stay zero" in str(sc.plan(masked, "dynatran", batches()[0]))
    assert "carried=True" not in str(sc.plan(masked, "dynatran", batches()[0]))


def test_data_are_needed_and_the_plan_says_so() -> None:
    told = str(sc.plan(network(), "dynatran", batches()[0]))
    assert "how much is set on data" in told
    with pytest.raises(sc.SecateurError, match="finds its threshold on data"):
        sc.prune(network(), "dynatran", example=batches()[0])


def test_attention_left_alone_is_not_wrapped() -> None:
    result = sc.prune(network(), "dynatran", attention=False, data=batches())
    assert {type(m) for m in run_time_layers(result.model).values()} == {ThresholdedLinear}
