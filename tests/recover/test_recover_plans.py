"""Each recovery's plan, in the words of its paper."""

from __future__ import annotations

import math

import pytest

from secateur.core.errors import PlanError
from secateur.core.time import START, Time
from secateur.core.types import Adapter, RecoveryPlan
from secateur.recover import FineTune, FromScratch, Lora, RandomTicket, RewindLR, RewindWeights


def test_fine_tuning_keeps_the_weights_at_a_small_constant_rate() -> None:
    plan = FineTune(length="100ep").plan()
    assert plan == RecoveryPlan(
        weights="keep", schedule="constant", length=Time(100, "ep"), lr_scale=0.1
    )
    assert plan.every_update
    assert not FineTune(length="1ep", every_update=False).plan().every_update


def test_the_lottery_ticket_rewinds_weights_and_schedule() -> None:
    plan = RewindWeights().plan()
    assert (plan.weights, plan.rewind_to, plan.schedule) == ("rewind", START, "restart")
    assert plan.lr_scale == 1
    assert not plan.shuffle_masks
    assert RewindWeights(to="500it").plan().rewind_to == Time(500, "it")


def test_rate_rewinding_differs_from_weight_rewinding_in_the_weights_alone() -> None:
    rate, weights = RewindLR(to="5%").plan(), RewindWeights(to="5%").plan()
    assert rate == RecoveryPlan(weights="keep", rewind_to=Time(5, "%"), schedule="restart")
    assert (rate.rewind_to, rate.schedule) == (weights.rewind_to, weights.schedule)


def test_the_random_ticket_is_the_lottery_ticket_with_shuffled_masks() -> None:
    random, winning = RandomTicket(to="500it").plan(), RewindWeights(to="500it").plan()
    assert random.shuffle_masks
    assert (random.weights, random.rewind_to, random.schedule) == (
        winning.weights, winning.rewind_to, winning.schedule,
    )  # fmt: skip


def test_from_scratch_draws_new_weights_under_the_same_masks() -> None:
    plan = FromScratch().plan()
    ticket = RecoveryPlan(weights="rewind", schedule="restart")
    assert plan == RecoveryPlan(weights="reinit", schedule="restart", rounds=ticket)
    assert not plan.shuffle_masks


@pytest.mark.parametrize("cls", [RewindWeights, RewindLR, RandomTicket])
def test_a_rewind_to_the_end_is_refused(cls: type[RewindWeights]) -> None:
    with pytest.raises(PlanError, match="leaves nothing to train"):
        cls(to="100%")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"length": "0ep"}, "trains nothing"),
        ({"length": 10}, "has no unit"),
        ({}, "needs 'length'"),
        ({"length": "1ep", "lr_scale": 0}, "lr_scale"),
        ({"length": "1ep", "lr_scale": math.inf}, "lr_scale"),
    ],
)
def test_senseless_fine_tuning_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError) as error:
        FineTune(**fields)
    assert said in str(error.value)


def test_adapters_train_at_a_constant_rate_and_nothing_else() -> None:
    plan = Lora(length="2ep", rank=4, alpha=8.0, layers=("*.q_proj",)).plan()
    assert plan.adapter == Adapter(rank=4, alpha=8.0, dropout=0.0, layers=("*.q_proj",))
    assert (plan.schedule, plan.length, plan.lr_scale) == ("constant", Time(2, "ep"), 1.0)
    assert FineTune(length="2ep").plan().adapter is None
    with pytest.raises(PlanError, match="recovery 'lora': a length of 0"):
        Lora(length="0ep")
