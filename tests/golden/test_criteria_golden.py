"""Every criterion by hand on eight weights."""

import math

import pytest
import torch
from torch import nn

from secateur.core.axes import Criterion, ElementCriterion
from secateur.core.layout import along, whole
from secateur.core.types import Member, Target
from secateur.criteria import (
    FirstMember,
    Force,
    Gradient,
    Grasp,
    Lamp,
    Magnitude,
    Obd,
    Random,
    Relative,
    Ria,
    Snip,
    Supermask,
    SynFlow,
    Taylor,
    Wanda,
)
from secateur.engine.view import ModelView

W = [[1.0, -2.0, 3.0, -4.0], [0.5, -0.5, 0.0, 8.0]]
W0 = [[-1.0, -1.0, 6.0, 2.0], [0.5, 1.5, -3.0, -4.0]]
G = [[3.0, 1.0, -1.0, 0.5], [-4.0, 2.0, 7.0, 0.0]]
ALIVE = [[True, True, True, True], [True, True, False, True]]

STATS = {
    "gradient": G,
    "gradient_abs": [[3.0, 2.0, 1.0, 1.0], [4.0, 4.0, 7.0, 1.0]],
    "gradient_squared": [[9.0, 4.0, 1.0, 1.0], [16.0, 16.0, 50.0, 2.0]],
    "hessian_gradient:200": [[1.0, 2.0, -1.0, -3.0], [2.0, 2.0, 5.0, 0.0]],
    "hessian_gradient:1": [[2.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]],
    "synaptic_flow": [[5.0, 1.0, 2.0, 0.5], [4.0, 6.0, 9.0, 0.25]],
    "initial": W0,
    "hessian_diagonal:8": [[2.0, 1.0, -2.0, 0.5], [8.0, 4.0, 3.0, 0.25]],
    "input_square": [4.0, 1.0, 0.25, 9.0],
}

GOLDEN = {
    Magnitude(): [[1, 2, 3, 4], [0.5, 0.5, 0, 8]],
    Magnitude(p=2): [[1, 4, 9, 16], [0.25, 0.25, 0, 64]],
    Gradient(): [[3, 1, 1, 0.5], [4, 2, 7, 0]],
    Snip(): [[3, 2, 3, 2], [2, 1, 0, 0]],
    Force(): [[3, 1, 6, 1], [2, 3, 21, 0]],
    Taylor(): [[9, 16, 9, 16], [4, 4, 0, 128]],
    Taylor(order="absolute"): [[3, 4, 3, 4], [2, 2, 0, 8]],
    Grasp(): [[1, -4, -3, 12], [1, -1, 0, 0]],
    Grasp(temperature=1): [[2, -2, 3, -4], [0.5, -0.5, 0, 8]],
    Obd(): [[1, 2, 9, 4], [1, 0.5, 0, 8]],
    SynFlow(): [[5, 2, 6, 2], [2, 3, 0, 2]],
    Supermask(): [[1, 2, 3, 4], [0.5, 0.5, 0, 8]],
    Supermask(keep="small_final"): [[-1, -2, -3, -4], [-0.5, -0.5, 0, -8]],
    Supermask(keep="large_init"): [[1, 1, 6, 2], [0.5, 1.5, 3, 4]],
    Supermask(keep="small_init"): [[-1, -1, -6, -2], [-0.5, -1.5, -3, -4]],
    Supermask(keep="magnitude_increase"): [[0, 1, -3, 2], [0, -1, -3, 4]],
    Supermask(keep="movement"): [[2, 1, 3, 6], [0, 2, 3, 12]],
    Supermask(signs="same"): [[0, 2, 3, 0], [0.5, 0, 0, 0]],
    Supermask(signs="different"): [[1, 0, 0, 4], [0, 0.5, 0, 8]],
    # survivors' |w_0|: .5 1 1 1.5 2 4 6 -> shares of 7: 3 3 7 5 | 1 4 . 6; |w|: .5 .5 1 2 3 4 8
    Supermask(keep="large_init_large_final"): [[3 / 7, 3 / 7, 5 / 7, 5 / 7], [1 / 7, 2 / 7, 0, 6 / 7]],
    # descending: |w_0| 7 7 1 3 | ...: share that is at least as large
    Supermask(keep="small_init_small_final"): [[5 / 7, 4 / 7, 1 / 7, 2 / 7], [1, 4 / 7, 2 / 7, 1 / 7]],
    # squares of survivors in descending order 64 16 9 4 1 .25 .25; tails 64 80 89 93 94 94.25 94.5
    Lamp(): [[1 / 94, 4 / 93, 9 / 89, 16 / 80], [0.25 / 94.25, 0.25 / 94.5, 0, 1]],
    # the mean of |w| is 19 / 8
    Relative(): [[8 / 19, 16 / 19, 24 / 19, 32 / 19], [4 / 19, 4 / 19, 0, 64 / 19]],
    Relative(by="max"): [[1 / 8, 2 / 8, 3 / 8, 4 / 8], [0.5 / 8, 0.5 / 8, 0, 1]],
    Relative(by="sum"): [[1 / 19, 2 / 19, 3 / 19, 4 / 19], [0.5 / 19, 0.5 / 19, 0, 8 / 19]],
    Relative(by="range"): [[1 / 8, 2 / 8, 3 / 8, 4 / 8], [0.5 / 8, 0.5 / 8, 0, 1]],
    # squares sum to 94.5: the variance is 94.5 / 8 - (19 / 8)², 395 / 64
    Relative(by="gauss"): [
        [(8 * w - 19) / 395**0.5 for w in row] for row in ([1, 2, 3, 4], [0.5, 0.5, 0, 8])
    ],
    # the roots of the mean squares of the inputs: 2 1 .5 3
    Wanda(): [[2, 2, 1.5, 12], [1, 0.5, 0, 24]],
    # sums of rows: 10 9, of columns: 1.5 2.5 3 12
    Ria(power=1): [
        [2 * (1 / 10 + 1 / 1.5), 2 / 10 + 2 / 2.5, (3 / 10 + 3 / 3) / 2, 3 * (4 / 10 + 4 / 12)],
        [2 * (0.5 / 9 + 0.5 / 1.5), 0.5 / 9 + 0.5 / 2.5, 0, 3 * (8 / 9 + 8 / 12)],
    ],
    FirstMember(): [[1, 2, 3, 4], [0.5, 0.5, 0, 8]],
    Lamp(inner=Gradient()): [[9 / 25, 1 / 30, 1 / 31, 0.25 / 31.25], [1, 4 / 29, 0, 0]],
}  # fmt: skip


def view(masked=True):
    net = nn.Linear(4, 2, bias=False)
    net.weight.data = torch.tensor(W)
    target = Target("weight", "weights", (2, 4), (Member("weight", whole((2, 4))),))
    masks = {"weight": torch.tensor(ALIVE)} if masked else None
    stats = {name: {"weight": torch.tensor(value)} for name, value in STATS.items()}
    return ModelView(net, (target,), masks, stats)


@pytest.mark.parametrize("criterion", GOLDEN, ids=str)
def test_by_hand(criterion):
    seen = view()
    score = criterion.score(seen, seen.targets[0])
    assert torch.allclose(score.double(), torch.tensor(GOLDEN[criterion], dtype=torch.float64))


def test_every_criterion_of_single_weights_has_a_golden():
    """Those of whole units have theirs beside networks with units, in tests/criteria."""
    kinds = {name: Criterion.registry.get(name) for name in Criterion.registry}
    single = {name for name, kind in kinds.items() if issubclass(kind, ElementCriterion)}
    assert single <= {c.name for c in GOLDEN}


def test_the_first_member_alone_counts():
    """Rows of the first weight: 10 and 9; the second tensor's 100 and 0 are not looked at."""
    net = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 1, bias=False))
    net[0].weight.data, net[1].weight.data = torch.tensor(W), torch.tensor([[100.0, 0.0]])
    members = (Member("0.weight", along((2, 4), 0)), Member("1.weight", along((1, 2), 1)))
    seen = ModelView(net, (Target("rows", "channels", (2,), members),))
    assert FirstMember().score(seen, seen.targets[0]).tolist() == [10, 9]
    assert Magnitude().score(seen, seen.targets[0]).tolist() == [110, 9]


def test_random_depends_on_seed_round_and_name_only():
    target = view().targets[0]

    def draw(seed, round, name="weight"):
        net = nn.Linear(4, 2, bias=False)
        named = Target(name, "weights", (2, 4), target.members)
        return Random().score(ModelView(net, (named,), seed=seed, round=round), named)

    assert torch.equal(draw(0, 0), draw(0, 0))
    for other in (draw(1, 0), draw(0, 1), draw(0, 0, "other")):
        assert not torch.equal(draw(0, 0), other)
    assert bool(((draw(0, 0) >= 0) & (draw(0, 0) < 1)).all())


def test_lamp_gives_each_target_one_unit_of_score_one():
    score = Lamp().score(view(), view().targets[0])
    assert (score == 1).sum() == 1
    assert math.isclose(float(score.max()), 1)
