"""A pressure in training: once per step, at full precision, bit-identical after a kill."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from train_fakes import Points, hidden, keep, net, same, training

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.random import generator
from secateur.core.types import Target
from secateur.engine.program import Train, build
from secateur.engine.train import Trainer
from secateur.engine.train.push import Push
from secateur.materialise import HardMasks
from secateur.pressure import GroupLasso, GroupShrinkage, Growing, L1Bn

HIDDEN = hidden()
PRESSURES = [
    L1Bn(strength=0.02), GroupLasso(strength=0.02), GroupShrinkage(strength=0.01),
    Growing(density=0.5, begin=0.4), Growing(density=0.5, by="chance"),
]  # fmt: skip
HOW = {
    "plain": {},
    "parts-average": {"accumulate": 3, "ema": 0.9},
    "bf16-clip": {"precision": "bf16", "clip": 0.5},
}


def make(pressure, how="plain", masked=True):
    model = net()
    masks = HardMasks(model, keep()) if masked else None
    return Trainer(
        model, training(**HOW[how]), Points(), masks=masks, seed=5, stage="dense",
        pressure=pressure, targets=(HIDDEN,),
    )  # fmt: skip


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("pressure", PRESSURES, ids=str)
def test_resuming_at_any_step_is_bit_identical(pressure, how):
    whole, states = make(pressure, how), {}
    whole.run(0, 12, on_step=lambda s: states.update({s: whole.state()}))
    end = whole.state()[0]
    for split in (1, 5, 6, 11):
        tensors, meta = states[split]
        again = make(pressure, how)
        again.load(load(save(tensors)), meta)
        again.run(split, 12)
        assert same(again.state()[0], end), f"resumed at step {split}"


@pytest.mark.parametrize("pressure", PRESSURES, ids=str)
def test_it_acts_and_masks_hold(pressure):
    pushed, free = make(pressure), make(None)
    pushed.run(0, 12)
    free.run(0, 12)
    assert not same(pushed.state()[0], free.state()[0])
    for name, mask in keep().items():
        assert bool((pushed.model.get_parameter(name)[~mask] == 0).all())


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_once_a_step_whatever_the_parts(parts):
    """One step of plain SGD, without dropout, norm and decay: w - lr (g + λ w / ‖w‖)."""
    found = []
    for pressure in (None, GroupLasso(strength=0.5)):
        model = net(dropout=0.0, norm=False)
        plan = training(accumulate=parts, lr=0.1, weight_decay=0.0, schedule={"name": "constant"},
                        optimiser={"name": "sgd", "momentum": 0.0})  # fmt: skip
        target = (Target("0", "neurons", (8,), (HIDDEN.members[0],)),)
        trainer = Trainer(model, plan, Points(), seed=5, pressure=pressure, targets=target)
        trainer.run(0, 1)
        found.append(model[0].weight.detach().clone())
    before = net(dropout=0.0, norm=False)[0].weight.detach()
    expected = -0.1 * 0.5 * before / before.norm(dim=1, keepdim=True)
    assert torch.allclose(found[1] - found[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "pressure", [L1Bn(strength=1e-3), GroupLasso(strength=1e-3), GroupShrinkage(strength=1e-3),
                 Growing(density=0.5, strength=1e-3)], ids=str,
)  # fmt: skip
def test_under_autocast_a_push_keeps_its_digits(pressure):
    """The network computes in bfloat16, which has 8 bits; a push of a thousandth arrives whole."""
    ends = {}
    for pushed in (None, pressure):
        model = net(dropout=0.0)
        plan = training(precision="bf16", lr=0.1, weight_decay=0.0, schedule={"name": "constant"},
                        optimiser={"name": "sgd", "momentum": 0.0})  # fmt: skip
        trainer = Trainer(model, plan, Points(), seed=5, pressure=pushed, targets=(HIDDEN,))
        trainer.run(3, 4)
        ends[pushed] = {name: p.detach().clone() for name, p in model.named_parameters()}
    weights = {name: p.detach() for name, p in net(dropout=0.0).named_parameters()}
    push = pressure.gradient(weights, (HIDDEN,), 3 / 11, pressure.start(weights, (HIDDEN,)))
    for name, after in ends[pressure].items():
        expected = -0.1 * push.get(name, torch.zeros_like(after))
        assert torch.allclose(after - ends[None][name], expected, rtol=1e-3, atol=2e-7), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pressure", PRESSURES, ids=str)
def test_half_parameters_get_the_push_of_float32_rounded_once(pressure, dtype):
    """Of the gradient 0.03 and the push together, as float32 has them; without a gradient the push."""
    half, full = (net(norm=True).to(dtype), net(norm=True).to(dtype).float())
    for start in (0.03, None):
        for model in (half, full):
            for p in model.parameters():
                p.grad = None if start is None else torch.full_like(p, start)
            Push(model, pressure, (HIDDEN,), 10, None).add(9)
        pushed = [n for n, p in full.named_parameters() if p.grad is not None]
        assert pushed
        for name in pushed:
            found, expected = half.get_parameter(name).grad, full.get_parameter(name).grad
            rounded = torch.tensor(start or 0.0, dtype=dtype).float() - (start or 0.0)
            assert found.dtype == dtype
            assert torch.equal(found, (expected + rounded).to(dtype)), name


def test_a_foreign_pressure_cannot_move_what_masks_prune():
    class Stubborn(GroupLasso):
        """Pushes everything by one."""

        name = "stubborn"

        def gradient(self, weights, targets, progress, decided):
            return {"0.weight": torch.ones_like(weights["0.weight"])}

    trainer = make(Stubborn())
    trainer.run(0, 4)
    assert bool((trainer.model[0].weight[~keep()["0.weight"]] == 0).all())


def test_growing_waits_for_its_beginning():
    pushed, free = make(Growing(density=0.5, begin=0.5)), make(None)
    pushed.run(0, 5)
    free.run(0, 5)
    assert same(pushed.state()[0], free.state()[0])
    pushed.run(5, 8)
    assert any(name.startswith("pressure.") for name in pushed.state()[0])


def test_what_chance_marks_is_what_goes_and_follows_the_seed():
    """Dual lottery: exactly the marked weights are out, whatever their size has become."""
    torch.manual_seed(0)
    x, y = torch.randn(32, 4), torch.randint(3, (32,))
    plan = training(length="3ep", batch_size=8)
    found = []
    for seed in (0, 0, 1):
        seen = []
        result = sc.prune(net(), "dual-lottery", density=0.5, strength=0.01, data=(x, y), training=plan,
                          seed=seed, progress=lambda e, seen=seen: seen.append(e["kind"]))  # fmt: skip
        draw = torch.rand(
            (8, 4), generator=generator(seed, "pressure", "dense", "mark", "0.weight")
        )
        assert torch.equal(result.masks["0.weight"], draw >= draw.flatten().sort().values[16])
        assert seen.count("pruned") == 1
        found.append(result.model.state_dict())
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_marks_and_an_average_of_weights_do_not_go_together():
    x, y = torch.randn(32, 4), torch.randint(3, (32,))
    with pytest.raises(PlanError, match="drop ema"):
        sc.prune(net(), "dual-lottery", data=(x, y), training=training(ema=0.9))


def test_a_trained_network_is_trained_again_for_the_pressure():
    recipe = sc.recipe("network-slimming", density=0.5)
    ops = build(recipe, 4, 12, trained=True)
    assert [op for op in ops if isinstance(op, Train)] == [Train("dense", 0, 12)]
    assert not any(
        isinstance(op, Train) for op in build(sc.recipe("l1-filters"), 4, 12, trained=True)
    )


def test_what_nothing_trains_is_refused():
    recipe = sc.recipe("network-slimming", density=0.5)
    with pytest.raises(PlanError, match="l1-bn"):
        build(recipe, 0, 0)
    with pytest.raises(PlanError, match="no recovery that trains"):
        sc.Recipe(**{**dict(recipe), "pressure": L1Bn(during="recovery")})
    both = {**dict(sc.recipe("l1-filters", fine_tune="2ep")), "pressure": L1Bn(during="recovery")}
    assert sc.Recipe(**both).pushes("recovery")
    assert not sc.Recipe(**both).pushes("training")


def test_networks_without_batch_norms_are_refused_before_training():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3), torch.nn.Flatten()
    )
    with pytest.raises(PlanError, match="group-lasso"):
        sc.plan(model, "network-slimming", example=torch.zeros(2, 1, 6, 6))


@pytest.mark.parametrize("method", ["network-slimming", "ssl", "greg", "depgraph-sparse"])
def test_the_methods_train_prune_and_shrink(method):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(32, 3),
    )  # fmt: skip
    x, y = torch.randn(32, 1, 6, 6), torch.randint(3, (32,))
    plan = sc.preset("short").model_copy(
        update={"length": training(length="3ep").length, "batch_size": 8}
    )
    result = sc.prune(model, method, density=0.5, data=(x, y), training=plan, fine_tune="1ep")
    small = sc.shrink(result, x[:2])
    assert sum(len(units) for units in small.kept.values()) == 8
    assert small.record["difference"] < 1e-4
