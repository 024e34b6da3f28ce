"""Equal pieces: code that cuts a tensor by `chunk` or `split` goes on working."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from support_cuts import Split, cut_net
from torch import Tensor, nn

import secateur as sc
from secateur.allocation import ToBudget, Uniform, Widths
from secateur.core.errors import PlanError
from secateur.core.layout import along
from secateur.core.types import Member, Target, keep_all
from secateur.engine.view import ModelView
from secateur.scope import Tensorwise

X = torch.randn(2, 3, 8, 8)


def view(units: dict[str, int], even: dict[str, tuple[str, ...]]) -> ModelView:
    net = nn.ModuleDict({name: nn.Linear(1, n) for name, n in units.items()})
    targets = tuple(
        Target(
            n, "channels", (u,), (Member(f"{n}.weight", along((u, 1), 0)),), layer=n,
            even=even.get(n, ()),
        )
        for n, u in units.items()
    )  # fmt: skip
    return ModelView(net, targets, keep_all(targets))


class Uneven(Uniform):
    """Numbers of somebody's own."""

    def keep(self, scores, groups, density, view) -> Tensor:
        return torch.tensor([9, 4, 7, 3])


def kept(allocator: Widths, seen: ModelView) -> list[int]:
    scores = {t.name: torch.arange(t.units).float() for t in seen.targets}
    return allocator.keep(scores, Tensorwise().groups(seen.targets), 23 / 48, seen).tolist()


PAIR = {"a": ("a", "c"), "c": ("a", "c")}
UNITS = {"a": 12, "b": 12, "c": 12, "d": 12}


@pytest.mark.parametrize("step", [1, 3, 4])
def test_the_nearest_numbers_of_which_two_are_equal(step: int) -> None:
    """Against every choice: as near in all as can be, then the pair nearest to its sum."""
    got = kept(Widths(inner=Uneven(), round_to=step, even=True), view(UNITS, PAIR))
    wanted = [9, 4, 7, 3]
    numbers = range(0, 13, step) if step > 1 else range(13)
    choices = [c for c in product(numbers, repeat=4) if c[0] == c[2]]

    def badness(c: tuple[int, ...]) -> tuple[int, bool, int]:
        off = sum(c) - sum(wanted)
        pair = abs(c[0] + c[2] - wanted[0] - wanted[2])
        return abs(off), off > 0, pair + abs(c[1] - 4) + abs(c[3] - 3)

    assert got[0] == got[2]
    assert badness(tuple(got)) == min(map(badness, choices))


@pytest.mark.parametrize("other", ["", "elsewhere"])
def test_beside_what_keeps_its_size_or_is_not_pruned_a_piece_stays_whole(other: str) -> None:
    seen = view(UNITS, {"a": ("a", other)})
    assert kept(Widths(inner=Uneven(), even=True), seen)[0] == 12


def test_bounds_that_exclude_each_other_are_refused() -> None:
    floored = Widths(inner=Uneven(), even=True, floors={"c": 10})
    assert kept(floored, view(UNITS, PAIR))[0] == 10, "what one may not lose the other keeps"
    seen = view({**UNITS, "c": 6}, PAIR)
    with pytest.raises(PlanError, match="'a' cannot stay as wide as a, c within the bounds"):
        kept(Widths(inner=Uneven(), even=True, floors={"a": 9}), seen)


def test_who_is_together_is_told_to_a_budget() -> None:
    seen = view(UNITS, PAIR)
    groups = Tensorwise().groups(seen.targets)
    even = Widths(inner=Uniform(), even=True)
    assert even.together(groups, seen.targets).tolist() == [0, 1, 0, 3]
    assert ToBudget(inner=even, what="macs", limit=0.5).together(groups, seen.targets)[2] == 0
    assert Uniform().together(groups, seen.targets).tolist() == [0, 1, 2, 3]


class Priced:
    """A unit of `c` costs fifty of the others'."""

    unit, whole = "coins", 12 * 53.0

    def __call__(self, counts: dict[str, int]) -> float:
        return sum(n * (50 if name == "c" else 1) for name, n in counts.items())

    def measured(self, counts: dict[str, int]) -> None:
        return None


def test_where_one_piece_is_too_dear_to_grow_the_other_stops_with_it() -> None:
    seen = view(UNITS, PAIR)
    seen.costs = {"macs": Priced()}
    for even in (False, True):
        inner = Widths(inner=Uniform(), even=even) if even else Uniform()
        got = kept(ToBudget(inner=inner, what="macs", limit=0.47), seen)
        assert Priced()(dict(zip(UNITS, got, strict=True))) <= 0.47 * Priced.whole
        assert (got[0] == got[2]) is even
        assert got[1] > got[2], "the others go on growing"


def test_who_is_not_even_is_named_whichever_piece_was_cut() -> None:
    small = sc.shrink(cut_net("chunk"), X, keep={"0.first#2": range(3)})
    assert "code cuts '0.first#2'" in small.record["why"]
    beside_an_output = nn.Sequential(nn.Conv2d(3, 12, 1), Split())
    small = sc.shrink(beside_an_output, torch.randn(2, 3, 4, 4), keep={"0": range(4)})
    assert "code cuts '0'" in small.record["why"]


@pytest.mark.parametrize("how", ["chunk", "split"])
def test_the_axes_of_a_cut_know_each_other(how: str) -> None:
    coupled = sc.structure.Coupled()
    targets = {t.name: t for t in coupled.targets(cut_net(how), X)}
    (pieces,) = {t.even for t in targets.values() if t.even}
    assert set(pieces) == {"0.first", "0.first#2"}
    assert all(targets[name].even == pieces for name in pieces)


def test_pieces_of_different_size_and_of_one_axis_are_no_cut() -> None:
    targets = sc.structure.Coupled().targets(cut_net("unequal"), X)
    assert [t.even for t in targets] == [()] * len(targets)
    gated = nn.Sequential(nn.Linear(4, 12), nn.GLU(), nn.Linear(6, 2))
    targets = sc.structure.Coupled().targets(gated, torch.zeros(2, 4))
    assert [t.even for t in targets] == [()]


def test_a_piece_beside_one_that_keeps_its_size() -> None:
    net = nn.Sequential(nn.Conv2d(3, 12, 1), Split())
    (target,) = sc.structure.Coupled().targets(net, torch.randn(2, 3, 4, 4))
    assert sorted(target.even) == ["", target.name]


@pytest.mark.parametrize(
    "asked", [{"density": 0.5}, {"budget": {"macs": "50%"}}, {"density": 0.5, "round_to": 2}]
)
def test_modules_stay_ordinary_where_pieces_stay_equal(asked: dict[str, object]) -> None:
    torch.manual_seed(3)
    net = cut_net("chunk")
    with torch.no_grad():
        net[0].first.weight[[5, 8, 9, 10, 11]] /= 50  # of the first piece one, of the second four
    asked |= {"normalise": "none"}
    loose = sc.shrink(sc.prune(net, "group-norm", example=X, **asked), X)
    assert loose.record["level"] == "C"
    assert "'0.first' and what lies beside it" in loose.record["why"]
    assert "even=True" in loose.record["why"]
    tight = sc.shrink(sc.prune(net, "group-norm", example=X, even=True, **asked), X)
    assert tight.record["level"] == "A"
    assert tight.record["replaced"] == []
    assert tight.record["units"]["0.first"] == tight.record["units"]["0.first#2"]
    assert tight.record["units"]["0.first"][0] < 6
    assert "even" not in tight.record["why"]
    if "budget" in asked:
        dense, left = tight.record["macs"]
        assert 0.4 * dense < left <= 0.5 * dense
