"""Orders of inputs: dealt, assigned and judged as the paper says, against brute force on small matrices."""

from itertools import permutations

import pytest
import torch

import secateur as sc
from secateur.basis import SpreadInputs
from secateur.basis.spread import assigned, dealt
from secateur.core.errors import PlanError
from secateur.criteria import Ria, Wanda


def scores(rows=5, inputs=8, seed=0):
    return torch.rand(rows, inputs, generator=torch.Generator().manual_seed(seed)).double()


def stays(rows, order, n, m):
    """The retained sum by sorting every run of every row, written for its own sake."""
    total = 0.0
    for row in rows.tolist():
        for start in range(0, len(order), m):
            total += sum(sorted((row[i] for i in order[start : start + m]), reverse=True)[:n])
    return total


def test_inputs_are_dealt_back_and_forth():
    sums = torch.tensor([10.0, 80, 20, 70, 30, 60, 40, 50])
    assert dealt(sums, 4).tolist() == [[1, 7, 6, 0], [3, 5, 4, 2]]  # 80 50 40 10 and 70 60 30 20


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 2), (3, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_one_place_is_assigned_as_well_as_any_other_way(n, m, seed):
    rows, groups = scores(inputs=4 * m, seed=seed), torch.arange(4 * m).view(4, m)
    for place in range(m):
        best = 0.0
        for chosen in permutations(groups[:, place].tolist()):
            tried = groups.clone()
            tried[:, place] = torch.tensor(chosen)
            best = max(best, stays(rows, tried.flatten().tolist(), n, m))
        found = groups.clone()
        found[:, place] = assigned(rows, groups, place, n)
        assert sorted(found.flatten().tolist()) == list(range(4 * m))
        assert stays(rows, found.flatten().tolist(), n, m) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_is_near_the_best_of_all(seed):
    """Six inputs in runs of two: every order tried."""
    rows = scores(inputs=6, seed=seed)
    every = {stays(rows, order, 1, 2) for order in permutations(range(6))}
    found = SpreadInputs(rounds=3).order(rows, 1, 2).tolist()
    got, as_it_is = stays(rows, found, 1, 2), stays(rows, range(6), 1, 2)
    assert sorted(found) == list(range(6))
    assert got >= as_it_is
    assert got >= max(every) - 0.1 * (max(every) - min(every))


def test_every_round_keeps_at_least_as_much_and_the_first_more_than_dealing():
    rows = scores(rows=20, inputs=64)
    kept = [stays(rows, SpreadInputs(rounds=r).order(rows, 2, 4).tolist(), 2, 4) for r in range(4)]
    assert kept[0] < kept[1] <= kept[2] <= kept[3]


def test_many_groups_are_assigned_in_parts(monkeypatch):
    monkeypatch.setattr("secateur.basis.spread.MOST", 3)
    rows = scores(rows=20, inputs=64)
    found = SpreadInputs().order(rows, 2, 4).tolist()
    assert sorted(found) == list(range(64))
    assert stays(rows, found, 2, 4) > stays(rows, range(64), 2, 4)


def test_an_order_that_cannot_be_bettered_stays():
    rows = torch.ones(3, 8)
    assert SpreadInputs().order(rows, 2, 4).tolist() == list(range(8))
    with pytest.raises(PlanError, match=r"6 inputs cannot be spread over groups of 4"):
        SpreadInputs().order(torch.ones(2, 6), 2, 4)


def test_what_scores_is_the_recipe_s_criterion_or_wanda_where_the_solver_chooses():
    for method, judge in (("ria", Ria()), ("wanda", Wanda()), ("sparsegpt", Wanda())):
        recipe = sc.recipe(method, pattern="2:4", permute=True)
        assert recipe.basis.judge(recipe.criterion) == judge
        assert sc.recipe(method, pattern="2:4", permute=False).basis is None


@pytest.mark.parametrize(
    ("method", "options", "why"),
    [
        ("wanda", {}, r"N of M consecutive inputs stay, not to scope 'row'; give a pattern"),
        ("wanda", {"pattern": "2:4", "walk": "whole"}, r"use walk 'blocks'"),
        ("slicegpt", {}, r"has basis 'principal-axes.*takes no other"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(method, options, why):
    with pytest.raises(PlanError, match=why) as error:
        sc.recipe(method, permute=True, **options)
    assert "\n" not in str(error.value)
    with pytest.raises(PlanError, match="permute is yes or no"):
        sc.recipe("wanda", pattern="2:4", permute=3)
