"""Statistics over seeds: means with intervals, paired differences, curves, fronts, overlaps."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from torch import Tensor

from ..core.errors import DataError, NumberError
from ..core.extras import need
from .results import Point, RunResult

Metric = Literal["test", "val"]
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Summary:
    """Mean of values, one per seed, with a Student-t interval where there are two or more.

        mean ± t_{(1 + level) / 2, n − 1} · s / √n

    with n the number of `values` and s their standard deviation (divisor n − 1). One value has no
    interval: `half`, `low` and `high` are None.

    >>> summary = Summary((0.90, 0.92))
    >>> round(summary.mean, 4), round(summary.half, 4)
    (0.91, 0.1271)
    >>> Summary((0.9,)).half is None
    True
    """

    values: tuple[float, ...]
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.values:
            raise DataError("a mean of no values was asked for; give at least one")

    @property
    def n(self) -> int:
        """How many values."""
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        """The arithmetic mean."""
        return math.fsum(self.values) / self.n

    @cached_property
    def deviation(self) -> float | None:
        """The standard deviation s."""
        if self.n < 2:
            return None
        squares = math.fsum((value - self.mean) ** 2 for value in self.values)
        return math.sqrt(squares / (self.n - 1))

    @cached_property
    def half(self) -> float | None:
        """Half the width of the interval."""
        if self.deviation is None:
            return None
        return student_t((1 + self.level) / 2, self.n - 1) * self.deviation / math.sqrt(self.n)

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half


def student_t(quantile: float, freedom: int) -> float:
    """The quantile of Student's t distribution with `freedom` degrees of freedom.

    >>> round(student_t(0.975, 2), 3)
    4.303
    """
    stats = need("scipy.stats", "an interval")
    return float(stats.t.ppf(quantile, freedom))


def paired(first: Mapping[K, float], second: Mapping[K, float]) -> Summary | None:
    """The differences first − second over the keys (seeds) both have; None where they share none.

    A seed fixes the initial weights and the data order, so the difference of a pair varies less
    than the difference of two means.

    >>> round(paired({42: 0.9, 43: 0.8}, {42: 0.7, 43: 0.7, 44: 0.1}).mean, 9)
    0.15
    """
    common = sorted(first.keys() & second.keys(), key=str)
    differences = tuple(first[key] - second[key] for key in common)
    return Summary(differences) if differences else None


def by_digest(runs: Iterable[RunResult]) -> dict[str, tuple[RunResult, ...]]:
    """The runs of each configuration, one per seed, in the order they came."""
    groups: dict[str, tuple[RunResult, ...]] = {}
    for run in runs:
        groups[run.digest] = (*groups.get(run.digest, ()), run)
    return groups


@dataclass(frozen=True)
class CurvePoint:
    """One place of a curve: the same round of the same configuration over seeds.

    Attributes:
        runs: seed -> the run it was measured in.
        points: seed -> the measured state.
        metric: which evaluation accuracies come from.
    """

    runs: Mapping[int, RunResult]
    points: Mapping[int, Point]
    metric: Metric = "test"

    @property
    def round(self) -> int:
        """Updates done so far."""
        return next(iter(self.points.values())).round

    @cached_property
    def density(self) -> Summary:
        """Kept share over seeds."""
        return Summary(tuple(point.density for point in self.points.values()))

    @cached_property
    def sparsity(self) -> Summary:
        """Removed share over seeds."""
        return Summary(tuple(point.sparsity for point in self.points.values()))

    @property
    def whole(self) -> bool:
        """Whether it is the dense network."""
        return all(point.whole for point in self.points.values())

    @property
    def at_run_time(self) -> bool:
        """Whether layers decide for every input, so that densities are of MACs, not of weights."""
        return any(point.at_run_time for point in self.points.values())

    @cached_property
    def by_seed(self) -> dict[int, float]:
        """Seed -> accuracy."""
        return {seed: accuracy(point, self.metric) for seed, point in self.points.items()}

    @cached_property
    def accuracy(self) -> Summary:
        """Accuracy over seeds."""
        return Summary(tuple(self.by_seed.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """`digest/seed` of every run it comes from."""
        return tuple(run.name for run in self.runs.values())

    def mean(self, field: str) -> float | None:
        """Mean over seeds of a numeric field of the points; None where any seed lacks it."""
        values = [getattr(point, field) for point in self.points.values()]
        return None if any(value is None for value in values) else math.fsum(values) / len(values)


def accuracy(point: Point, metric: Metric) -> float:
    """The accuracy of a point that is known to have been evaluated on `metric`."""
    score = getattr(point, metric)
    if score is None:
        raise DataError(f"a point of round {point.round} has no {metric} evaluation")
    return float(score.accuracy)


def final_points(run: RunResult, metric: Metric) -> dict[int, Point]:
    """Round -> the last state of it that was evaluated on `metric`: after recovery, if there is any."""
    return {point.round: point for point in run.points if getattr(point, metric) is not None}


def curve(runs: Sequence[RunResult], metric: Metric = "test") -> tuple[CurvePoint, ...]:
    """The curve of one method: points of runs matched by configuration and round, dense first.

    Dense states of several configurations are one training and become one point; a network whose weights
    take few values is none of them, though all be there.

    Args:
        runs: of one method, any configurations and seeds.
        metric: `test` or `val`.
    """
    cells: dict[tuple[str, int], dict[int, tuple[RunResult, Point]]] = {}
    for run in runs:
        for point in (*_dense(run, metric), *final_points(run, metric).values()):
            key = ("dense", 0) if point.whole else (run.digest, point.round)
            cells.setdefault(key, {}).setdefault(run.seed, (run, point))
    points = [_curve_point(cell, metric) for cell in cells.values()]
    return tuple(sorted(points, key=lambda point: (-point.density.mean, not point.whole)))


def _dense(run: RunResult, metric: Metric) -> tuple[Point, ...]:
    """The last dense state of the first round that has one; weights may be coded later in that round."""
    found = [p for p in run.points if p.whole and getattr(p, metric) is not None]
    return tuple(p for p in found if p.round == found[0].round)[-1:]


def _curve_point(cell: Mapping[int, tuple[RunResult, Point]], metric: Metric) -> CurvePoint:
    """With seeds in order."""
    seeds = sorted(cell)
    return CurvePoint({s: cell[s][0] for s in seeds}, {s: cell[s][1] for s in seeds}, metric)


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (sparsity, accuracy) pairs no other pair beats in both; equal pairs are both kept.

    >>> pareto([(0.5, 0.9), (0.9, 0.8), (0.8, 0.7)])
    [True, True, False]
    """
    return [not any(_beats(other, point) for other in points) for point in points]


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a != b


@dataclass(frozen=True)
class Overlap:
    """What two masks have in common, and what independent masks would have.

    Attributes:
        both: weights kept by both; `expected_both` for independent masks.
        first, second: weights kept by each.
    """

    both: float
    expected_both: float
    first: int
    second: int

    @property
    def jaccard(self) -> float:
        """|A ∩ B| / |A ∪ B|."""
        return _share(self.both, self.first + self.second - self.both)

    @property
    def coefficient(self) -> float:
        """|A ∩ B| / min(|A|, |B|)."""
        return _share(self.both, min(self.first, self.second))

    @property
    def chance_jaccard(self) -> float:
        """Jaccard of the expected intersection."""
        return _share(self.expected_both, self.first + self.second - self.expected_both)

    @property
    def chance_coefficient(self) -> float:
        """Overlap coefficient of the expected intersection."""
        return _share(self.expected_both, min(self.first, self.second))


def _share(part: float, whole: float) -> float:
    """part / whole; two empty masks are equal."""
    return part / whole if whole else 1.0


def mask_overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Overlap:
    """Compare two sets of bool masks of the same tensors.

    Independent masks that keep a_l and b_l of the n_l weights of layer l have
    Σ_l a_l b_l / n_l weights in common on average (the mean of the hypergeometric distribution),
    so that a method is not credited with what equal layer densities give anyone.
    """
    if first.keys() != second.keys():
        odd = ", ".join(sorted(first.keys() ^ second.keys())[:3])
        raise DataError(f"masks of different tensors cannot be compared: only one has {odd}")
    both = expected = kept_first = kept_second = 0.0
    for name, mask in first.items():
        a, b = int(mask.sum()), int(second[name].sum())
        both += int((mask & second[name]).sum())
        expected += a * b / mask.numel()
        kept_first, kept_second = kept_first + a, kept_second + b
    return Overlap(both, expected, int(kept_first), int(kept_second))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's ρ: the correlation of the ranks, ties sharing their mean rank.

    >>> spearman([1, 2, 3], [10, 30, 20])
    0.5
    """
    stats = need("scipy.stats", "a test")
    if len(first) != len(second) or len(first) < 2:
        raise DataError(f"ranks of {len(first)} and {len(second)} values cannot be correlated")
    if len(set(first)) == 1 or len(set(second)) == 1:
        raise NumberError("the ranks of equal values do not correlate with anything")
    return round(float(stats.spearmanr(first, second).statistic), 12)


def barrier(alphas: Sequence[float], losses: Sequence[float]) -> float:
    """max over α of L(α) − [(1 − α) L(0) + α L(1)], Frankle et al. 2020, arXiv 1912.05671.

    >>> barrier([0, 0.5, 1], [1.0, 3.0, 2.0])
    1.5
    """
    pairs = zip(alphas, losses, strict=True)
    return max(loss - ((1 - a) * losses[0] + a * losses[-1]) for a, loss in pairs)


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Dotted names of the settings in which configurations differ."""
    flats = [flat(config) for config in configs]
    names = dict.fromkeys(name for one in flats for name in one)
    return [name for name in names if len({repr(one.get(name)) for one in flats}) > 1]


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names.

    >>> flat({"recipe": {"rounds": 3, "scope": "model"}})
    {'recipe.rounds': 3, 'recipe.scope': 'model'}
    """
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = value
    return out
