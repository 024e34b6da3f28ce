"""LAMP against a naive loop, and what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from secateur.core.errors import PlanError
from secateur.core.layout import along, whole
from secateur.core.types import Member, Target
from secateur.criteria import Grasp, Lamp, Magnitude, Supermask
from secateur.engine.view import ModelView


def view_of(weights, alive=None):
    net = nn.Linear(len(weights), 1, bias=False)
    net.weight.data = torch.tensor([weights], dtype=torch.float32)
    target = Target(
        "w", "weights", (1, len(weights)), (Member("weight", whole((1, len(weights)))),)
    )
    masks = None if alive is None else {"w": torch.tensor([alive])}
    return ModelView(net, (target,), masks), target


def naive(weights, alive):
    """The paper's definition, weight by weight: of equals the lower index counts as larger."""
    out = []
    for u, w in enumerate(weights):
        tail = sum(
            v * v
            for i, v in enumerate(weights)
            if alive[i] and (abs(v) > abs(w) or (abs(v) == abs(w) and i <= u))
        )
        out.append(w * w / tail if alive[u] and w else 0.0)
    return torch.tensor([out], dtype=torch.float64)


numbers = st.integers(-40, 40).map(lambda n: n / 8)  # exact in float32, with ties
pairs = st.lists(st.tuples(numbers, st.booleans()), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_against_a_naive_loop(pairs):
    weights, alive = map(list, zip(*pairs, strict=True))
    view, target = view_of(weights, alive)
    assert torch.allclose(Lamp().score(view, target), naive(weights, alive), rtol=1e-12, atol=0)


@settings(max_examples=30, deadline=None)
@given(pairs, st.sampled_from([2.0, 0.25, 64.0]))
def test_the_scale_of_a_layer_is_irrelevant(pairs, scale):
    weights = [w for w, _ in pairs]
    plain, scaled = view_of(weights), view_of([w * scale for w in weights])
    assert torch.allclose(Lamp().score(*plain), Lamp().score(*scaled))


def test_the_order_within_a_target_is_that_of_the_magnitudes():
    torch.manual_seed(0)
    view, target = view_of(torch.randn(500).tolist())
    score = Lamp().score(view, target)
    assert torch.equal(score.flatten().argsort(), view.weight("weight").abs().flatten().argsort())


def test_small_weights_beside_a_large_one_are_counted():
    """2^24 + 1 is no float32: the sums of a large layer need more."""
    view, target = view_of([4096.0, 1.0, -1.0])
    assert float(Lamp().score(view, target)[0, 2]) == 1 / (2**24 + 2)


def test_larger_units_use_the_inner_score_of_the_unit():
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, 2.0], [-1.0, 0.0]])
    target = Target("rows", "rows", (2,), (Member("weight", along((2, 2), 0)),))
    score = Lamp(inner=Magnitude()).score(ModelView(net, (target,)), target)
    assert torch.allclose(score, torch.tensor([1.0, 1 / 10]).double())


@pytest.mark.parametrize(
    "inner", [Supermask(keep="small_init"), Supermask(keep="magnitude_increase")]
)
def test_signed_scores_are_refused(inner):
    view, target = view_of([1.0, -2.0])
    view._stats = {"initial": {"weight": torch.tensor([[3.0, 4.0]])}}
    with pytest.raises(PlanError, match="signed"):
        Lamp(inner=inner).score(view, target)


def test_the_needs_are_those_of_the_inner_criterion():
    assert Lamp(inner=Grasp(temperature=3)).required() == {"hessian_gradient:3"}
    assert Lamp().required() == frozenset()
