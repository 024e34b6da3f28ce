"""Every pressure's gradient by hand, and as the derivative of the penalty its card names."""

import math

import pytest
import torch

from secateur.core.layout import along
from secateur.core.types import Member, Target
from secateur.pressure import GroupLasso, GroupShrinkage, Growing, L1Bn

UNIT = Target(
    "hidden", "neurons", (3,),
    (
        Member("a.weight", along((3, 2), 0)),
        Member("a.bias", along((3,), 0)),
        Member("norm.weight", along((3,), 0), role="scale"),
        Member("b.weight", along((1, 3), 1), reads=1),
    ),
)  # fmt: skip
W = {
    "a.weight": torch.tensor([[3.0, -4.0], [0.0, 0.0], [1.0, 0.0]]),
    "a.bias": torch.tensor([9.0, 9.0, 9.0]),
    "norm.weight": torch.tensor([-2.0, 0.0, 0.5]),
    "b.weight": torch.tensor([[2.0, 0.0, -1.0]]),
}


def near(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.allclose(found[name], torch.tensor(values, dtype=torch.float32), atol=1e-6), (
            name
        )


def test_l1_on_scales():
    near(L1Bn(strength=0.1).gradient(W, (UNIT,), 0, {}), {"norm.weight": [-0.1, 0.0, 0.1]})


def test_group_lasso_filters_and_columns_apart():
    near(
        GroupLasso(strength=0.5).gradient(W, (UNIT,), 0, {}),
        {"a.weight": [[0.3, -0.4], [0, 0], [0.5, 0]], "b.weight": [[0.5, 0, -0.5]]},
    )


def test_group_shrinkage_pushes_the_smallest_hardest():
    """I = 25 + 4 + 4 = 33, 0, 1 + 0.25 + 1 = 2.25: γ = 1, 16, 2^(4 · 30.75 / 33)."""
    third = 2 ** (4 * 30.75 / 33)
    near(
        GroupShrinkage(strength=0.1).gradient(W, (UNIT,), 0, {}),
        {
            "a.weight": [[0.3, -0.4], [0, 0], [0.1 * third, 0]],
            "norm.weight": [-0.2, 0, 0.05 * third],
            "b.weight": [[0.2, 0, -0.1 * third]],
        },
    )


@pytest.mark.parametrize(("progress", "height"), [(0, 0), (0.35, 0.5), (0.7, 1), (1, 1)])
def test_growing_marks_at_the_start_and_grows(progress, height):
    pressure = Growing(density=1 / 3, strength=2.0)
    decided = pressure.start(W, (UNIT,))
    assert decided["hidden"].tolist() == [False, True, True]
    later = W | {"a.weight": torch.tensor([[0.0, 0.0], [5.0, 1.0], [1.0, 7.0]])}
    found = pressure.gradient(later, (UNIT,), progress, decided)
    near(found, {"a.weight": [[0, 0], [10 * height, 2 * height], [2 * height, 14 * height]]})


def sizes(w):
    """Σ of squares over weights and scale of each unit."""
    return w["a.weight"].square().sum(1) + w["norm.weight"].square() + w["b.weight"][0].square()


PENALTIES = {
    L1Bn(strength=0.3): lambda w, fixed: 0.3 * w["norm.weight"].abs().sum(),
    GroupLasso(strength=0.3): lambda w, fixed: 0.3
    * (w["a.weight"].norm(dim=1).sum() + w["b.weight"].norm(dim=0).sum()),
    GroupShrinkage(strength=0.3, alpha=2.0): lambda w, fixed: 0.15
    * (
        torch.exp2(2 * (sizes(fixed).max() - sizes(fixed)) / (sizes(fixed).max() - sizes(fixed).min()))
        * sizes(w)
    ).sum(),
    Growing(density=0.4): lambda w, fixed: 0.5
    * w["a.weight"][fixed["a.weight"].abs().sum(1).argsort()[:2]].square().sum(),
}  # fmt: skip


@pytest.mark.parametrize("pressure", PENALTIES, ids=str)
def test_it_is_the_derivative_of_its_penalty(pressure):
    rng = torch.Generator().manual_seed(4)
    w = {
        name: torch.randn(value.shape, generator=rng).requires_grad_() for name, value in W.items()
    }
    fixed = {name: value.detach().clone() for name, value in w.items()}
    PENALTIES[pressure](w, fixed).backward()
    found = pressure.gradient(fixed, (UNIT,), 1.0, pressure.start(fixed, (UNIT,)))
    for name, value in w.items():
        own = found.get(name, torch.zeros_like(value))
        expected = torch.zeros_like(value) if value.grad is None else value.grad
        assert torch.allclose(own, expected, atol=1e-6), name


def test_equal_units_are_pushed_alike():
    same = {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(3), "b.weight": torch.ones(1, 3)}
    same["norm.weight"] = torch.ones(3)
    found = GroupShrinkage(strength=1.0).gradient(same, (UNIT,), 0, {})
    assert all(bool((value == 1).all()) for value in found.values())
    assert math.isclose(float(found["a.weight"].sum()), 6)
