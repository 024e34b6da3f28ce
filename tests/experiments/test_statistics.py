"""Statistics against numbers worked out by hand, against scipy, and against enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from secateur.core.errors import DataError, NumberError
from secateur.experiments.results import RunResult
from secateur.experiments.statistics import (
    Summary,
    barrier,
    by_digest,
    curve,
    differing,
    flat,
    mask_overlap,
    paired,
    pareto,
    spearman,
)

values = st.lists(st.floats(0, 1), min_size=2, max_size=8)


def run(seed: int, *points: tuple[int, float, float], digest: str = "d", **more: Any) -> RunResult:
    """A run with (round, density, accuracy) points; moments by number within a round."""
    plain = [
        {
            "round": number, "density": density, "sparsity": 1 - density, "params": 10, "nonzero": 5,
            "test": {"accuracy": accuracy, "n": 10},
        }
        for number, density, accuracy in points
    ]  # fmt: skip
    fields = {"experiment": "e", "label": "l", "method": "m", "config": {}, "seconds": 1.0, **more}
    return RunResult(digest=digest, seed=seed, points=plain, **fields)


def test_summary_of_three_by_hand():
    summary = Summary((1.0, 2.0, 6.0))  # mean 3, s² = (4 + 1 + 9) / 2 = 7, t(2) = 4.302653
    assert summary.mean == 3.0
    assert summary.deviation == pytest.approx(7**0.5)
    assert summary.half == pytest.approx(4.302652729911275 * (7 / 3) ** 0.5)
    assert summary.low == pytest.approx(3 - summary.half)
    assert summary.high == pytest.approx(3 + summary.half)


def test_one_value_has_no_interval():
    summary = Summary((0.5,))
    assert (summary.mean, summary.n) == (0.5, 1)
    assert (summary.half, summary.low, summary.high, summary.deviation) == (None,) * 4


def test_no_value_has_no_mean():
    with pytest.raises(DataError, match="no values"):
        Summary(())


@given(values, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_that_of_scipy(numbers, level):
    summary = Summary(tuple(numbers), level)
    error = stats.sem(numbers)
    if error < 1e-12:
        assert summary.half == pytest.approx(0, abs=1e-9)
        return
    low, high = stats.t.interval(level, len(numbers) - 1, np.mean(numbers), error)
    assert summary.low == pytest.approx(low, abs=1e-9)
    assert summary.high == pytest.approx(high, abs=1e-9)


def test_paired_differences_use_common_seeds_only():
    difference = paired({1: 0.9, 2: 0.8, 3: 0.1}, {1: 0.8, 2: 0.6, 4: 0.0})
    assert difference is not None
    assert difference.values == pytest.approx((0.1, 0.2))
    assert paired({1: 0.9}, {2: 0.9}) is None


def test_pairing_removes_what_seeds_share():
    shared = {seed: 0.05 * seed for seed in range(5)}
    better = {seed: value + 0.01 for seed, value in shared.items()}
    assert paired(better, shared).half == pytest.approx(0, abs=1e-9)
    assert Summary(tuple(better.values())).half > 0.05


def test_curve_matches_points_by_round():
    runs = [run(1, (0, 1.0, 0.9), (1, 0.5, 0.8)), run(2, (0, 1.0, 0.7), (1, 0.4, 0.6))]
    dense, pruned = curve(runs)
    assert dense.accuracy.values == (0.9, 0.7)
    assert (pruned.round, pruned.by_seed) == (1, {1: 0.8, 2: 0.6})
    assert pruned.density.mean == pytest.approx(0.45)
    assert pruned.names == ("d/1", "d/2")


def test_the_last_state_of_a_round_counts():
    [point] = curve([run(1, (3, 0.5, 0.2), (3, 0.5, 0.8))])
    assert point.accuracy.values == (0.8,)


def test_configurations_join_into_one_curve_with_one_dense_point():
    runs = [
        run(1, (0, 1.0, 0.9), (1, 0.5, 0.8), digest="a"),
        run(1, (0, 1.0, 0.9), (1, 0.1, 0.6), digest="b"),
        run(2, (0, 1.0, 0.7), (1, 0.1, 0.5), digest="b"),
    ]
    points = curve(runs)
    assert [point.density.mean for point in points] == [1.0, 0.5, 0.1]
    assert points[0].by_seed == {1: 0.9, 2: 0.7}
    assert points[0].names == ("a/1", "b/2")
    assert points[2].by_seed == {1: 0.6, 2: 0.5}


def test_points_without_the_metric_are_left_out():
    assert curve([run(1, (0, 1.0, 0.9))], "val") == ()


def test_mean_of_a_field_needs_every_seed():
    [point] = curve([run(1, (1, 0.5, 0.9)), run(2, (1, 0.5, 0.9))])
    assert point.mean("nonzero") == 5
    assert point.mean("macs") is None


def test_runs_group_by_configuration():
    groups = by_digest(
        [run(1, (0, 1, 1), digest="a"), run(1, (0, 1, 1)), run(2, (0, 1, 1), digest="a")]
    )
    assert {digest: [one.seed for one in runs] for digest, runs in groups.items()} == {
        "a": [1, 2],
        "d": [1],
    }


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_pareto_front_is_what_nothing_dominates(points):
    marks = pareto(points)
    for point, mark in zip(points, marks, strict=True):
        beaten = any(
            other[0] >= point[0] and other[1] >= point[1] and sum(other) > sum(point)
            for other in points
        )
        assert mark == (not beaten)


def test_overlap_by_hand():
    a = {"w": torch.tensor([1, 1, 1, 0, 0, 0]).bool()}
    b = {"w": torch.tensor([0, 1, 1, 1, 1, 0]).bool()}
    overlap = mask_overlap(a, b)
    assert overlap.jaccard == pytest.approx(2 / 5)
    assert overlap.coefficient == pytest.approx(2 / 3)
    assert overlap.expected_both == pytest.approx(3 * 4 / 6)
    assert overlap.chance_jaccard == pytest.approx(2 / 5)


def test_chance_is_the_mean_over_all_masks_of_equal_counts():
    def masks(kept: int) -> list[torch.Tensor]:
        places = itertools.combinations(range(5), kept)
        return [
            torch.zeros(5, dtype=torch.bool).index_fill(0, torch.tensor(p), True) for p in places
        ]

    fixed = masks(2)[3]
    every = [mask_overlap({"w": fixed}, {"w": mask}) for mask in masks(3)]
    mean = sum(overlap.both for overlap in every) / len(every)
    assert mean == pytest.approx(every[0].expected_both)


@settings(max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_overlap_is_symmetric_and_whole_with_itself(bits, random):
    a = {"w": torch.tensor(bits)}
    b = {"w": torch.tensor([random.random() < 0.5 for _ in bits])}
    assert mask_overlap(a, b).jaccard == mask_overlap(b, a).jaccard
    assert mask_overlap(a, a).jaccard == mask_overlap(a, a).coefficient == 1.0


def test_masks_of_different_networks_are_refused():
    with pytest.raises(DataError, match="only one has a, b"):
        mask_overlap({"a": torch.ones(2).bool()}, {"b": torch.ones(2).bool()})


def test_spearman_by_hand_and_with_ties():
    assert spearman([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(1 - 6 * 4 / (4 * 15))
    assert spearman([1, 2, 2, 3], [1, 3, 3, 9]) == 1.0


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=9))
def test_spearman_is_the_correlation_of_ranks(pairs):
    a, b = zip(*pairs, strict=True)
    if len(set(a)) == 1 or len(set(b)) == 1:
        with pytest.raises(NumberError):
            spearman(a, b)
        return
    wanted = np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1]
    assert spearman(a, b) == pytest.approx(wanted, abs=1e-9)


def test_spearman_needs_pairs():
    with pytest.raises(DataError, match="2 and 3"):
        spearman([1, 2], [1, 2, 3])


def test_barrier_is_height_above_the_chord():
    assert barrier([0, 0.5, 1], [1.0, 1.5, 2.0]) == 0.0
    assert barrier([0, 0.25, 1], [0.0, 3.0, 4.0]) == 2.0


def test_settings_that_differ_are_named():
    a = {"recipe": {"rounds": 1, "scope": "model"}, "data": "x"}
    b = {"recipe": {"rounds": 9, "scope": "model", "extra": True}, "data": "x"}
    assert differing([a, b]) == ["recipe.rounds", "recipe.extra"]
    assert flat(a) == {"recipe.rounds": 1, "recipe.scope": "model", "data": "x"}
