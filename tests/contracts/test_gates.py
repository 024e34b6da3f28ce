"""What every gate and every initialiser promises: resumable to the bit, weights untouched, plain state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from engine.train.train_fakes import Points, net, same, training
from safetensors.torch import load, save
from torch import Tensor, nn

from secateur.core.layout import along, whole
from secateur.core.training import Gate, Initial, Pressure
from secateur.core.types import Masks, Member, Target
from secateur.engine.train import Trainer
from secateur.engine.train.gated import Gated
from secateur.materialise import HardMasks
from secateur.pressure import GroupLasso
from tests.contracts.samples import answers, cases, samples

PLAIN = [pytest.param(samples(cls)[0], id=cls.name) for cls in answers(Gate)]


def neurons() -> tuple[Target, ...]:
    """The hidden neurons of the network, with everything that goes with them."""
    members = (
        Member("0.weight", along((8, 4), 0)), Member("0.bias", along((8,), 0)),
        Member("1.weight", along((8,), 0), role="scale"), Member("4.weight", along((3, 8), 1), reads=1),
    )  # fmt: skip
    return (Target("0", "neurons", (8,), members),)


def both() -> tuple[Target, ...]:
    """Rows and single weights of the same tensor: two targets own every element of it."""
    member = Member("4.weight", whole((3, 8)), reads=1)
    return (*neurons(), Target("4.weight", "weights", (3, 8), (member,), ("out", "in")))


def choose_by(model: nn.Module, targets: tuple[Target, ...]):  # type: ignore[no-untyped-def]
    """Half of the units by score, or by the size of the weights."""

    def choose(scores: Mapping[str, Tensor], step: int) -> Masks:
        found = dict(scores) or {t.name: size(model, t) for t in targets}
        return {name: score >= score.flatten().median() for name, score in found.items()}

    return choose


def size(model: nn.Module, target: Target) -> Tensor:
    parts = [m.layout.matrix(model.get_parameter(m.param).detach()) for m in target.members]
    return torch.cat([p.square() for p in parts], 1).sum(1).view(target.shape)


def make(gate: Gate, pressure: Pressure | None = None, **how: Any) -> Trainer:
    model, targets = net(), both()
    masks = HardMasks(model, {"0.weight": torch.ones(8, 4, dtype=torch.bool)})
    gated = Gated(model, gate, targets, choose_by(model, targets), 12, seed=5, stage="dense")
    return Trainer(
        model, training(**how), Points(), masks=masks, seed=5, stage="dense", gated=gated,
        pressure=pressure, targets=targets[:1],
    )  # fmt: skip


@pytest.mark.parametrize("gate", PLAIN)
def test_resuming_at_any_step_is_bit_identical(gate: Gate) -> None:
    def again() -> Trainer:
        return make(gate, GroupLasso(strength=0.01), accumulate=2, clip=0.5)

    once, states = again(), {}
    once.run(0, 12, on_step=lambda s: states.update({s: once.state()}))
    end = once.state()[0]
    assert any(name.startswith("gate.") for name in end) == gate.learns
    for split in (1, 9):
        tensors, meta = states[split]
        later = again()
        later.load(load(save(tensors)), meta)
        later.run(split, 12)
        assert same(later.state()[0], end), f"resumed at step {split}"


@pytest.mark.parametrize("gate", PLAIN)
def test_the_weights_come_back_to_the_bit_also_after_an_error(gate: Gate) -> None:
    trainer = make(gate)
    trainer.run(0, 3)
    assert trainer.gated is not None
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    with trainer.gated.standing_in(3):
        moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    acting = {m.param for t in both() for m in t.members if gate.acts(m)}
    assert moved <= acting
    assert ({"4.weight"} & acting or acting) <= moved
    with pytest.raises(ZeroDivisionError), trainer.gated.standing_in(3):
        raise ZeroDivisionError
    assert all(torch.equal(p, before[n]) for n, p in trainer.model.named_parameters())


@pytest.mark.parametrize("gate", PLAIN)
def test_its_slope_is_the_derivative_by_its_factor(gate: Gate) -> None:
    """Of a loss that is a sum of w · factor with weights of its own, by differences."""
    trainer = make(gate)
    model, gated = trainer.model.double(), trainer.gated
    assert gated is not None
    pull = {n: torch.randn(p.shape).double() for n, p in model.named_parameters()}

    def loss() -> Tensor:
        return sum(
            ((p * pull[n]).sum() + p.square().sum() for n, p in model.named_parameters()),
            torch.zeros(()),
        )

    with gated.standing_in(2):
        loss().backward()
    found = {t.name: gated._slope(t) for t in both()}
    factors = gated.factors(2)
    for target in both():
        for unit in (0, 5):
            ends = []
            for change in (1e-4, -1e-4):
                moved = factors[target.name].double().clone().flatten()
                moved[unit] += change
                gated.factors = lambda step, m=moved, t=target: {**factors, t.name: m.view(t.shape)}  # type: ignore[method-assign, misc]
                with gated.standing_in(2):
                    ends.append(float(loss().detach()))
            slope = (ends[0] - ends[1]) / 2e-4
            assert float(found[target.name].flatten()[unit]) == pytest.approx(
                slope, rel=1e-3, abs=1e-5
            )


@pytest.mark.parametrize("gate", PLAIN)
def test_it_learns_and_frozen_weights_stay(gate: Gate) -> None:
    trainer = make(gate)
    assert trainer.gated is not None
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    first = dict(trainer.gated.learned)
    trainer.run(0, 12)
    stayed = all(torch.equal(p, before[n]) for n, p in trainer.model.named_parameters())
    assert stayed != gate.trains
    values = [name for name in first if name.startswith("value/")]
    assert bool(values) == gate.learns
    assert all(not torch.equal(trainer.gated.learned[name], first[name]) for name in values)


@pytest.mark.parametrize("initial", cases(Initial))
def test_new_weights_follow_the_generator_alone_and_keep_signals_in_size(initial: Initial) -> None:
    def drawn(seed: int, shape: tuple[int, ...]) -> Tensor:
        fan_in = shape[1] * (9 if len(shape) > 2 else 1)
        return initial.weights(shape, fan_in, torch.Generator().manual_seed(seed))

    for shape in ((40, 60), (60, 40), (30, 10, 3, 3)):
        one, two, other = drawn(1, shape), drawn(1, shape), drawn(2, shape)
        assert one.shape == shape
        assert one.dtype == torch.float32
        assert torch.equal(one, two)
        assert not torch.equal(one, other)
        assert abs(float(one.mean())) < 0.1 * float(one.std())


def test_both_registries_hold_something() -> None:
    assert len(PLAIN) + len(cases(Initial)) >= 7
