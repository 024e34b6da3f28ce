"""The mix of two kinds against all mixes there are."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from secateur.allocation import Knapsack
from secateur.core.errors import PlanError
from secateur.core.layout import along
from secateur.core.types import Member, Target
from secateur.scope import Tensorwise

KINDS = {"a": ("heads", 3), "b": ("neurons", 4), "c": ("heads", 2), "d": ("neurons", 3)}
PRICE = {"heads": 7.0, "neurons": 2.0}
TARGETS = tuple(
    Target(name, kind, (n,), (Member(name, along((n, 2), 0)),)) for name, (kind, n) in KINDS.items()
)


class Price:
    unit = "MACs"
    whole = 10 + 5 * 7.0 + 7 * 2.0

    def __call__(self, counts):
        return 10 + sum(PRICE[KINDS[name][0]] * n for name, n in counts.items())


class View:
    def __init__(self):
        self.targets = self.every = TARGETS
        self.costs = {"macs": Price()}
        self.progress = 1.0


def scores(seed):
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.rand(n, generator=rng) for name, (_, n) in KINDS.items()}


def worth(values, keep):
    each = zip(values.values(), keep, strict=True)
    return sum(float(v.sort(descending=True).values[:k].sum()) for v, k in each)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("limit", [0.5, 0.6, 0.8, 0.95])
def test_no_other_numbers_within_the_budget_are_worth_more(seed, limit):
    values, groups = scores(seed), Tensorwise().groups(TARGETS)
    keep = Knapsack(limit=limit).keep(values, groups, None, View()).tolist()
    price, names = Price(), list(KINDS)
    assert price(dict(zip(names, keep, strict=True))) <= limit * price.whole
    fits = [
        counts
        for counts in itertools.product(*[range(1, n + 1) for _, n in KINDS.values()])
        if price(dict(zip(names, counts, strict=True))) <= limit * price.whole
    ]
    assert worth(values, keep) == pytest.approx(max(worth(values, c) for c in fits))


def test_one_kind_alone_is_ranked_and_cut():
    values = {"b": torch.tensor([1.0, 4.0, 3.0, 0.5]), "d": torch.tensor([0.1, 0.2, 5.0])}
    view = View()
    view.targets = view.every = tuple(t for t in TARGETS if t.kind == "neurons")
    groups = Tensorwise().groups(view.targets)
    keep = Knapsack(limit=18.5, relative=False).keep(values, groups, None, view)
    assert keep.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("limit", "relative", "match"),
    [(0.1, True, "closest possible"), (80.0, False, "nothing to prune")],
)
def test_budgets_that_cannot_be_are_refused(limit, relative, match):
    groups = Tensorwise().groups(TARGETS)
    with pytest.raises(PlanError, match=match):
        Knapsack(limit=limit, relative=relative).check(groups, None, TARGETS, View().costs)


def test_what_fits_to_the_bit_stays():
    """In float64 22 · (15 / 22) < 15."""
    price, allocator = SimpleNamespace(whole=22), Knapsack(limit=15, relative=False)
    assert price.whole * (15 / 22) < 15
    assert allocator.due(price, 1.0) == 15
    assert allocator.due(price, 0.5) == pytest.approx((22 * 15) ** 0.5)
