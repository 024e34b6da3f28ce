"""The list of operations of a run, for each kind of schedule and recovery."""

import pytest

from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.engine.program import Evaluate, Prune, Restore, Snapshot, Train, build
from secateur.methods.at_init import snip, synflow
from secateur.methods.basic import dense, magnitude
from secateur.methods.run_time import fbs
from secateur.methods.tickets import han, lottery_ticket, random_reinit, random_ticket
from secateur.methods.while_training import gradual_magnitude, rigl


def kinds(ops: list) -> list[str]:
    return [type(op).__name__ for op in ops]


def test_dense_trains_and_is_evaluated_once() -> None:
    assert kinds(build(dense(), 10, 50)) == ["Snapshot", "Train", "Evaluate"]


def test_pruning_at_init_comes_before_the_first_step() -> None:
    ops = build(snip(density=0.1), 10, 50)
    assert kinds(ops) == ["Snapshot", "Prune", "Train", "Evaluate"]
    assert ops[2] == Train("dense", 0, 50, fresh=True)


def test_synflow_prunes_a_hundred_times_without_training_between() -> None:
    ops = build(synflow(density=0.01), 10, 50)
    assert kinds(ops) == ["Snapshot", *["Prune"] * 100, "Train", "Evaluate"]
    assert ops[100].update.density == 0.01


def test_lottery_ticket_rewinds_and_trains_to_the_end_each_round() -> None:
    ops = build(lottery_ticket(rate=0.2, rounds=2, rewind_to="2ep"), 10, 50)
    assert kinds(ops) == [
        *["Snapshot", "Train", "Snapshot", "Train", "Evaluate"],
        *["Prune", "Evaluate", "Restore", "Train", "Evaluate"] * 2,
    ]
    assert [op.step for op in ops if isinstance(op, Snapshot)] == [0, 20]
    trains = [op for op in ops if isinstance(op, Train)]
    assert [(t.start, t.stop, t.fresh) for t in trains] == [
        (0, 20, True),
        (20, 50, False),
        (20, 50, True),
        (20, 50, True),
    ]
    assert [t.stage for t in trains] == ["dense", "dense", "round-1", "round-2"]
    assert [op.update.density for op in ops if isinstance(op, Prune)] == pytest.approx([0.8, 0.64])


def test_han_fine_tunes_at_a_constant_rate() -> None:
    ops = build(han(rounds=1, fine_tune="3ep", lr_scale=0.1), 10, 50)
    assert Train("round-1", 0, 30, constant=True, lr_scale=0.1) in ops


def test_a_recovery_follows_the_training_where_all_is_pruned_by_then() -> None:
    ops = build(fbs(end="20it", every="10it", fine_tune="3ep"), 10, 50)
    assert kinds(ops) == [
        *["Snapshot", "Train", "Prune", "Train", "Prune", "Train", "Evaluate"],
        *["Evaluate", "Restore", "Train", "Evaluate"],
    ]
    assert ops[-2] == Train("round-2", 0, 30, constant=True, lr_scale=0.1)


def test_random_ticket_shuffles_and_rewinds() -> None:
    restore = next(op for op in build(random_ticket(rounds=1), 10, 50) if isinstance(op, Restore))
    assert restore.plan.shuffle_masks
    assert restore.plan.weights == "rewind"


def test_the_controls_of_a_ticket_find_the_ticket_first() -> None:
    for made in (random_ticket(rounds=3), random_reinit(rounds=3)):
        plans = [op.plan for op in build(made, 10, 50) if isinstance(op, Restore)]
        assert [p.weights for p in plans[:-1]] == ["rewind", "rewind"]
        assert not any(p.shuffle_masks for p in plans[:-1])
        assert plans[-1].shuffle_masks or plans[-1].weights == "reinit"


def test_a_trained_model_is_measured_before_and_after() -> None:
    ops = build(magnitude(density=0.5), 0, 0)
    assert ops == [Snapshot(0), Evaluate(0, "trained"), ops[2], Evaluate(1, "pruned")]
    assert isinstance(ops[2], Prune)


def test_gradual_pruning_interrupts_one_training() -> None:
    ops = build(gradual_magnitude(density=0.1, begin="1ep", end="3ep", every="1ep"), 10, 50)
    trains = [op for op in ops if isinstance(op, Train)]
    assert [(t.start, t.stop, t.fresh) for t in trains] == [
        (0, 20, True),
        (20, 30, False),
        (30, 50, False),
    ]


def test_only_the_first_update_of_sparse_training_is_first() -> None:
    prunes = [op for op in build(rigl(every="1ep"), 10, 50) if isinstance(op, Prune)]
    assert [op.first for op in prunes] == [True, *[False] * (len(prunes) - 1)]
    assert [op.round for op in prunes] == list(range(1, len(prunes) + 1))


@pytest.mark.parametrize("recipe", [lottery_ticket(), han(), rigl()], ids=lambda r: r.method)
def test_methods_that_train_need_training(recipe: Recipe) -> None:
    with pytest.raises(PlanError, match="train"):
        build(recipe, 0, 0)


def test_a_trained_network_skips_the_main_training() -> None:
    ops = build(magnitude(density=0.5, fine_tune="2ep"), 10, 50, trained=True)
    assert kinds(ops) == [
        "Snapshot",
        "Evaluate",
        "Prune",
        "Evaluate",
        "Restore",
        "Train",
        "Evaluate",
    ]
    assert ops[5] == Train("round-1", 0, 20, constant=True, lr_scale=0.1)


def test_a_trained_network_is_trained_on_where_the_method_works_during_training() -> None:
    ops = build(gradual_magnitude(density=0.1), 10, 50, trained=True)
    assert sum(op.stop - op.start for op in ops if isinstance(op, Train)) == 50


def test_a_trained_network_cannot_rewind_its_weights() -> None:
    with pytest.raises(PlanError, match="early weights"):
        build(lottery_ticket(), 10, 50, trained=True)


def test_rounds_with_nothing_between_them_are_measured_once() -> None:
    ops = build(synflow(density=0.01), 0, 0)
    assert kinds(ops) == ["Snapshot", "Evaluate", *["Prune"] * 100, "Evaluate"]
