"""What every recovery promises: a plan the engine can carry out without asking who made it."""

from __future__ import annotations

import pytest

from secateur.core.axes import Recovery
from secateur.core.types import RecoveryPlan
from tests.contracts.samples import cases

ALL = cases(Recovery)


@pytest.mark.parametrize("recovery", ALL)
def test_the_plan_is_complete(recovery: Recovery) -> None:
    plan = recovery.plan()
    assert isinstance(plan, RecoveryPlan)
    assert plan == recovery.plan()
    assert not plan.idle, "a recovery that does nothing is None"
    assert plan.lr_scale > 0
    assert (plan.length is not None) == (plan.schedule == "constant")
    assert plan.length is None or plan.length.value > 0


@pytest.mark.parametrize("recovery", ALL)
def test_no_field_of_the_plan_is_ignored(recovery: Recovery) -> None:
    plan = recovery.plan()
    if plan.rewind_to.value > 0:
        assert plan.weights == "rewind" or plan.schedule == "restart"
    if plan.weights == "reinit":
        assert plan.schedule == "restart"
    if plan.schedule == "none":
        assert plan.lr_scale == 1
