"""Learning rates as pure functions give what torch's stateful schedulers give."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler as torch_lr

from secateur.core.component import from_dict
from secateur.core.errors import PlanError
from secateur.core.time import Time
from secateur.engine.train import Constant, Cosine, LearningRate, OneCycle, Steps, Warmup

EPOCH = 5


def theirs(make, total: int, lr: float = 0.4) -> list[float]:
    """The learning rates of a torch scheduler stepped after every optimiser step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    out = []
    for step in range(total):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total - 1:
            scheduler.step()
    return out


def ours(schedule: LearningRate, total: int, lr: float = 0.4) -> list[float]:
    return [lr * schedule.factor(step, total, EPOCH) for step in range(total)]


@pytest.mark.parametrize("total", [1, 2, 40, 133])
def test_cosine_is_cosine_annealing_of_every_step(total):
    got = theirs(lambda o: torch_lr.CosineAnnealingLR(o, T_max=total, eta_min=0.04), total)
    assert ours(Cosine(final=0.1), total) == pytest.approx(got, rel=1e-9)


def test_steps_are_multi_step_of_epochs():
    schedule = Steps(at=("2ep", "4ep", "60%"), by=0.2)
    got = theirs(lambda o: torch_lr.MultiStepLR(o, [10, 20, 24], gamma=0.2), 40)
    assert ours(schedule, 40) == pytest.approx(got, rel=1e-12)
    assert len(set(got)) == 4


@pytest.mark.parametrize("total", [7, 10, 40, 133])
@pytest.mark.parametrize(
    "options", [{}, {"pct_start": 0.45, "div_factor": 10, "final_div_factor": 50}]
)
def test_one_cycle_is_one_cycle(total, options):
    got = theirs(
        lambda o: torch_lr.OneCycleLR(o, 0.4, total_steps=total, cycle_momentum=False, **options),
        total,
    )
    assert ours(OneCycle(**options), total) == pytest.approx(got, rel=1e-9)


@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_one_cycle_of_a_handful_of_steps_stays_in_its_bounds(total):
    for factor in ours(OneCycle(), total, lr=1.0):
        assert 0 < factor <= 1


def test_warm_up_multiplies_the_schedule_it_wraps():
    def make(optimizer):
        ramp = torch_lr.LinearLR(optimizer, start_factor=0.1, total_iters=10)
        return torch_lr.ChainedScheduler(
            [ramp, torch_lr.MultiStepLR(optimizer, [5, 15], gamma=0.5)]
        )

    schedule = Warmup(then=Steps(at=("1ep", "3ep"), by=0.5), length="2ep", start=0.1)
    assert ours(schedule, 30) == pytest.approx(theirs(make, 30), rel=1e-9)


def test_warm_up_of_no_length_is_the_schedule_itself():
    assert ours(Warmup(then=Cosine(), length="0it"), 9) == ours(Cosine(), 9)


def test_constant_is_constant():
    assert set(ours(Constant(), 5)) == {0.4}


@pytest.mark.parametrize("name", list(LearningRate.registry))
def test_every_schedule_round_trips_and_is_positive(name):
    made = from_dict(LearningRate, name)
    assert from_dict(LearningRate, made.to_dict()) == made
    assert hash(made) == hash(from_dict(LearningRate, name))
    factors = [made.factor(step, 1000, 5) for step in range(1000)]
    assert all(0 < f <= 1 for f in factors)


def test_scaling_moves_times_in_proportion_inside_wrappers_too():
    scaled = Warmup(then=Steps(at=("60ep", "50%")), length="100it").scaled(0.01)
    assert scaled.length == Time(1, "it")
    assert scaled.then == Steps(at=(Time(0.6, "ep"), Time(50, "%")))


def test_mistakes_are_named():
    with pytest.raises(PlanError, match="did you mean 'one-cycle'"):
        from_dict(LearningRate, "one_cycle")
    with pytest.raises(PlanError, match="has no unit"):
        Steps(at=(60,))
