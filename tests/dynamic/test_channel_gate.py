"""Feature boosting and suppression against its formula, written out once more from the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc
from secateur.core.layout import along
from secateur.core.random import generator
from secateur.core.run_time import listening
from secateur.core.select import select
from secateur.core.types import Groups
from secateur.core.winners import _ranked_by_pairs, winners
from secateur.dynamic import ChannelGate, SlicedConv
from secateur.engine.run import Run, Setting
from secateur.measure.run_time import measure_run_time
from tests.engine.killed import undisturbed_and_killed
from tests.engine.test_execute import data, network, training


def draw(*words: object) -> torch.Generator:
    return generator(0, *words)


def gate(k: int = 3, norm: bool = True, strength: float = 0.0) -> ChannelGate:
    torch.manual_seed(1)
    conv, bn = nn.Conv2d(4, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6)
    nn.init.uniform_(bn.weight, 0.5, 1.5)
    nn.init.normal_(bn.bias)
    bn.running_mean.normal_()  # type: ignore[union-attr]
    made = ChannelGate(conv, bn if norm else None, draw, strength)
    made.keep.fill_(k)
    return made


def by_hand(made: ChannelGate, x: Tensor) -> Tensor:
    """One sample and channel at a time."""
    out = []
    for one in x:
        s = torch.stack([c.abs().sum() / c.numel() for c in one])
        g = (made.saliency.weight @ s + made.saliency.bias).clamp(min=0)
        best = sorted(range(len(g)), key=lambda c: (-float(g[c]), c))[: int(made.keep)]
        y = F.conv2d(one[None], made.conv.inner.weight, made.conv.inner.bias, 2, 1)
        if isinstance(made.norm, nn.BatchNorm2d):
            n = made.norm
            y = F.batch_norm(y, n.running_mean, n.running_var, n.weight, n.bias, False)
        out.append(
            sum(g[c] * F.one_hot(torch.tensor(c), len(g))[None, :, None, None] * y for c in best)
        )
    return torch.cat(out)  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_the_gate_is_the_papers_formula(k: int, norm: bool) -> None:
    made, x = gate(k, norm).eval(), torch.randn(5, 4, 7, 7)
    with torch.no_grad():
        torch.testing.assert_close(made(x), by_hand(made, x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(made(x[:1]), by_hand(made, x[:1]), rtol=1e-4, atol=1e-5)


class Activated(nn.BatchNorm2d):
    """A norm that does more, as those of timm."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


def test_a_norm_of_a_class_of_its_own_is_run_as_it_is() -> None:
    made, x = gate(3).eval(), torch.randn(2, 4, 7, 7)
    made.norm.__class__ = Activated
    with torch.no_grad():
        torch.testing.assert_close(made(x[:1]), made(x)[:1], rtol=1e-4, atol=1e-5)
        assert float(made(x[:1]).min()) == 0


def test_what_is_captured_on_one_input_has_no_choice_baked_in() -> None:
    made, x = gate(3).eval().requires_grad_(False), torch.randn(4, 4, 7, 7)
    traced = torch.jit.trace(made, x[:1], check_trace=False)
    torch.testing.assert_close(traced(x), made(x))


def test_a_layer_with_two_names_is_wrapped_under_both() -> None:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.b = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)
            self.every = nn.ModuleList([self.a, self.n, self.b])

        def forward(self, x: Tensor) -> Tensor:
            a, n, b = self.every
            return b(n(a(x)).relu()).mean((2, 3))

    net, x, recipe = Twins(), data(2)[0], sc.recipe("fbs")
    norm = net.n
    norm = net.n
    targets = recipe.structure.targets(net, x)
    recipe.materialise.apply(net, targets, {t.name: torch.arange(t.units) < 2 for t in targets})
    assert [type(m) for m in net.every] == [ChannelGate, nn.Identity, SlicedConv]
    assert (net.a, net.n, net.b) == tuple(net.every)
    assert net.a.norm is norm
    assert net.a.norm is norm
    assert int(net.every[0](x)[0].flatten(1).any(1).sum()) == 2


def test_no_inputs_need_nothing_and_are_not_measured() -> None:
    made = gate(3).eval()
    with listening(made) as heard:
        made(torch.zeros(0, 4, 6, 6))
    (work,) = heard[""]
    assert (len(work.done), work.dense) == (0, 9 * 9 * 4 * 6)
    with pytest.raises(sc.SecateurError, match="a batch of at least one"):
        sc.measure(made, torch.zeros(0, 4, 6, 6))


def test_saliencies_begin_he_normal_by_what_they_put_out() -> None:
    expected = torch.empty(6, 4).normal_(0, (2 / 6) ** 0.5, generator=draw("saliency"))
    torch.testing.assert_close(gate().saliency.weight.detach(), expected)


def test_a_saliency_of_zero_leaves_its_channel_out_and_all_of_them_leave_zero() -> None:
    made, x = gate(4).eval(), torch.rand(1, 4, 6, 6)
    with torch.no_grad():
        made.saliency.weight.zero_()
        made.saliency.bias.copy_(torch.tensor([1.0, -1, -1, 2, -1, -1]))
        with listening(made) as heard:
            out = made(x)
        assert int(heard[""][0].used) == 2
        assert heard[""][0].done.tolist() == [
            9 * 9 * 4 * 2
        ]  # kernel, positions, inputs, outputs wanted
        assert out.flatten(2).any(2)[0].tolist() == [True, False, False, True, False, False]
        made.saliency.bias.fill_(-1.0)
        assert not made(x).any()


def test_winners_are_those_of_the_one_selection() -> None:
    scores = torch.randint(0, 4, (50, 7), generator=draw()).float()  # with many ties
    layout = {"x": along(scores.shape, 0)}
    for k in range(1, 8):
        groups = Groups(layout, {"x": 0}, torch.full((50,), 7))
        chosen = select({"x": scores}, groups, torch.full((50,), k))["x"]
        assert torch.equal(winners(scores, torch.tensor(k)), chosen)
        assert torch.equal(_ranked_by_pairs(scores) < k, chosen)


def test_a_sliced_convolution_leaves_out_zero_inputs_and_counts_them() -> None:
    made = SlicedConv(nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect")).eval()
    x = torch.randn(2, 4, 5, 5)
    x[0, [1, 2]] = 0
    x[0, 3] = -1  # negative is not zero
    x[1] = 0
    with torch.no_grad(), listening(made) as heard:
        torch.testing.assert_close(made(x[:1]), made.inner(x[:1]))
        torch.testing.assert_close(made(x[1:]), made.inner(x[1:]))
        made(x)
    both = heard[""][-1]
    assert both.dense == 9 * 25 * 4 * 6
    assert (both.units, both.used.tolist()) == (4, [2, 0])
    assert both.done.tolist() == [9 * 25 * 2 * 6, 0]
    with pytest.raises(sc.SecateurError, match="groups 2"):
        SlicedConv(nn.Conv2d(4, 6, 3, groups=2))


def test_one_input_really_computes_fewer_products() -> None:
    """Counted operator by operator as torch runs them, not by the wrappers' own account."""
    made, x = gate(2).eval(), torch.randn(1, 4, 8, 8)
    x[0, 3] = 0
    macs = sc.measure(made, x).macs.total  # type: ignore[union-attr]
    assert macs == 9 * 16 * 3 * 2 + 4 * 6
    told = measure_run_time(made, [x, torch.cat([x] * 3)], most=3)
    assert (told.inputs, told.dense, told.needed.mean) == (3, 9 * 16 * 4 * 6, macs)


def test_the_penalty_is_the_mean_sum_of_saliencies_and_only_trains_gates() -> None:
    """What the training adds: the gradient with it minus the one without is λ ∂(mean Σ g)."""
    from secateur.core.run_time import penalties

    made, x = gate(6, strength=0.5).train(), torch.randn(3, 4, 6, 6)
    with penalties(made) as added:
        made(x)
    expected = 0.5 * made.saliencies(x).sum() / 3
    torch.testing.assert_close(sum(added), expected)
    with penalties(made.eval()) as added:
        made(x)
    assert added == []


def test_the_trainer_adds_the_penalty_whatever_the_parts() -> None:
    def end(strength: float, parts: int) -> Tensor:
        result = sc.prune(
            network()[3:], "fbs", density=1.0, strength=strength, every="1it",
            data=(torch.randn(32, 8, 4, 4, generator=draw()), data(32)[1]),
            training=training(length=sc.Time(2, "ep"), batch_size=32, accumulate=parts, lr=0.1),
        )  # fmt: skip
        return result.model.get_parameter("3.saliency.bias").detach()

    with_it, without, parts = end(1.0, 1), end(0.0, 1), end(1.0, 2)
    assert bool((with_it <= without).all())  # a channel that is never salient has no slope
    assert int((with_it < without - 0.05).sum()) >= 6
    torch.testing.assert_close(with_it, parts, rtol=1e-3, atol=1e-4)


def run(store: Any = None) -> Run:
    recipe = sc.recipe("fbs", density=0.5, every="2it", end="6it")
    x, y = data(32)
    batches = sc.api._training_batches((x, y), 8, 0)
    setting = Setting(
        training=training(length=sc.Time(8, "it"), batch_size=8), train=batches, example=x[:2],
        checkpoint_seconds=0, val=[(x, y)],
    )  # fmt: skip
    return Run(recipe, network(), setting, store)


@pytest.mark.parametrize("left", [3, 9])
def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path, left: int) -> None:
    whole, again = undisturbed_and_killed(run, tmp_path, left)
    drop = ("seconds",)
    points = [
        [{k: v for k, v in p.items() if k not in drop} for p in o.points] for o in (whole, again)
    ]
    assert points[0] == points[1]


def test_the_density_falls_in_steps_and_layers_keep_what_the_allocator_says() -> None:
    seen: list[float] = []
    x, y = data(32)
    recipe = sc.recipe("fbs", density=0.5, every="1ep", end="2ep").model_copy(
        update={"allocator": sc.recipe("erk", density=0.5).allocator}
    )
    result = sc.prune(
        network(), recipe, data=(x, y), training=training(),
        progress=lambda e: seen.append(e["density"]) if e["kind"] == "pruned" else None,
    )  # fmt: skip
    assert seen == [0.75, 0.5]
    keep = {n: int(v) for n, v in result.model.state_dict().items() if n.endswith("keep")}
    assert sum(keep.values()) == 8
    assert set(keep) == {"0.keep", "3.keep"}


def test_a_norm_that_reads_something_else_is_refused() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.b = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.n(self.a(x).relu())).mean((2, 3))

    with pytest.raises(sc.SecateurError, match="does not read what it puts out"):
        sc.plan(Between(), "fbs", data(2)[0])


def test_residual_width_and_empty_layers_are_refused() -> None:
    with pytest.raises(sc.SecateurError, match="one convolution writes"):
        sc.plan(network(), "fbs", data(2)[0], kinds=("neurons",))
    with pytest.raises(sc.SecateurError, match="no unit would stay"):
        sc.prune(network(), "fbs", density=0.05, every="2it", data=data(), training=training())
    with pytest.raises(sc.SecateurError, match="training"):
        sc.prune(network(), "fbs", data=data())


def test_an_average_of_the_weights_keeps_the_gates() -> None:
    result = sc.prune(network(), "fbs", every="2it", data=data(), training=training(ema=0.9))
    assert int(result.model.state_dict()["0.keep"]) == 4
