"""Held paths: the strongest one by enumeration, and selections that leave no layer without one."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.connected import paths_layer_by_layer, strongest_paths
from secateur.measure import collapse
from secateur.models.resnet import ResNet18


class Branched(nn.Module):
    """y = head(b(a(x)) + side(x)), like a block with a projection beside it."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.a = nn.Linear(2, width, bias=False)
        self.b = nn.Linear(width, width, bias=False)
        self.side = nn.Linear(2, width, bias=False)
        self.head = nn.Linear(width, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(torch.relu(self.a(x))) + self.side(x))


EXAMPLE = torch.zeros(1, 2)


def everything(net: nn.Module) -> dict[str, Tensor]:
    return {n: torch.ones_like(p, dtype=torch.bool) for n, p in net.named_parameters()}


def positions(path: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {n: tuple(m.nonzero()[0].tolist()) for n, m in path.items()}


@pytest.mark.parametrize("seed", range(5))
def test_the_strongest_path_is_that_of_all_products(seed: int) -> None:
    torch.manual_seed(seed)
    net = Branched().double()
    found = positions(strongest_paths(net, EXAMPLE, everything(net), ["b.weight"]))
    a, b, head = (getattr(net, n).weight.detach().abs() for n in ("a", "b", "head"))
    start = divmod(int(_flow_of_b(net).argmax()), 3)  # [out, in] of the heaviest weight of b
    best = max(
        itertools.product(range(2), range(2)),
        key=lambda io: float(head[io[1], start[0]] * b[start] * a[start[1], io[0]]),
    )
    assert found["b.weight"] == start
    assert found["a.weight"] == (start[1], best[0])
    assert found["head.weight"] == (best[1], start[0])
    assert "side.weight" not in found


def _flow_of_b(net: Branched) -> Tensor:
    """Sum over all paths of the product of |w|^8, by weight of b."""
    a, b, head = (
        (w / w.max()) ** 8
        for w in (getattr(net, n).weight.detach().abs() for n in ("a", "b", "head"))
    )
    return head.sum(0)[:, None] * b * a.sum(1)[None]


def test_equal_weights_are_fixed_layer_by_layer() -> None:
    """All paths tie; the largest of each layer need not meet."""
    net = Branched(width=4)
    for p in net.parameters():
        p.data.fill_(0.5)
    masks = everything(net)
    masks["a.weight"][0] = (
        False  # the first row of a is gone, so the first argmax of b leads nowhere
    )
    path = paths_layer_by_layer(net, EXAMPLE, masks, ["side.weight"])
    alone = {n: path.get(n, torch.zeros_like(m)) for n, m in masks.items()}
    assert bool(collapse.on_path(net, EXAMPLE, alone)["side.weight"].any())


def test_a_layer_that_no_path_leads_through_has_none() -> None:
    net = Branched()
    masks = everything(net)
    masks["a.weight"][:] = False
    assert strongest_paths(net, EXAMPLE, masks, ["b.weight"]) == {}


def weak_side() -> Branched:
    torch.manual_seed(1)
    net = Branched(width=8)
    net.side.weight.data.mul_(1e-3)
    return net


@pytest.mark.parametrize("method", ["synflow", "magnitude"])
def test_a_weak_branch_keeps_its_path_and_the_total_is_exact(method: str) -> None:
    options = {"sparsity": 0.8, "classifier": True}
    recipe = sc.recipe(method, **options).model_copy(update={"connected": False})
    plain = sc.prune(weak_side(), recipe, example=EXAMPLE)
    held = sc.prune(weak_side(), recipe.model_copy(update={"connected": True}), example=EXAMPLE)
    assert "side" in plain.record["points"][-1]["empty"]
    last = held.record["points"][-1]
    assert last["empty"] == last["unreachable"] == []
    kept = [sum(int(m.sum()) for m in r.masks.values()) for r in (plain, held)]
    assert kept[0] == kept[1]


def test_where_nothing_collapses_it_is_the_paper_to_the_bit() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 3))
    both = [
        sc.prune(
            net, "synflow", sparsity=0.9, connected=c, classifier=True, example=torch.ones(1, 6)
        )
        for c in (True, False)
    ]
    assert all(torch.equal(both[0].masks[n], both[1].masks[n]) for n in both[0].masks)


def test_sparse_training_refuses_it() -> None:
    with pytest.raises(PlanError, match="moves weights around"):
        sc.Recipe(**{**dict(sc.recipe("set")), "connected": True})


def test_resnet18_keeps_every_layer_on_a_path_at_999_permille() -> None:
    """Three rounds on a quarter of the width; the paper's hundred are in docs/results/collapse."""
    image, options = torch.zeros(1, 3, 16, 16), {"sparsity": 0.999, "rounds": 3}
    empty = {}
    for connected in (False, True):
        torch.manual_seed(0)
        net = ResNet18(num_classes=10, width=16)
        result = sc.prune(net, "synflow", example=image, connected=connected, **options)
        last = result.record["points"][-1]
        empty[connected] = [*last["empty"], *last["unreachable"]]
        assert result.sparsity == pytest.approx(0.999, abs=1e-6)
    assert empty[False]
    assert empty[True] == []
