"""Criteria of whole layers against plain loops over a small residual stack."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.allocation import Contiguous, Uniform
from secateur.core.errors import DataError, PlanError
from secateur.core.layout import Layout
from secateur.core.types import Member, Target
from secateur.criteria import BlockInfluence, CoupledTaylor, LossDifference, Snip
from secateur.engine.collect import collect
from secateur.engine.view import ModelView
from secateur.scope import Tensorwise
from tests.structure.test_protected import Stack


def data(n=3):
    torch.manual_seed(1)
    return [(torch.randn(4, 5, 4), torch.randint(0, 2, (4, 5))) for _ in range(n)]


def loss(model, batch):
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def network():
    torch.manual_seed(0)
    return Stack(4)


def layers(model):
    params = dict(model.named_parameters())
    made = []
    for i in range(4):
        own = [n for n in params if n.startswith(f"blocks.{i}.")]
        members = tuple(
            Member(n, Layout((1, *params[n].shape), tuple(range(params[n].dim() + 1)), 1))
            for n in own
        )
        made.append(Target(f"blocks.{i}", "layers", (1,), members, layer=f"blocks.{i}"))
    return tuple(made)


def scores(criterion, model, batches):
    targets = layers(model)
    stats = collect(model, criterion.required(), targets, batches, loss)
    view = ModelView(model, targets, None, stats)
    return [float(criterion.score(view, t)) for t in targets]


def states(model, x):
    """What enters every block and what leaves the last."""
    found = [model.start(x)]
    for block in model.blocks:
        found.append(block(found[-1]))
    return found


@torch.no_grad()
def test_block_influence_is_one_minus_the_mean_cosine():
    model, batches = network(), data()
    found = scores(BlockInfluence(), model, batches)
    flows = [states(model, x) for x, _ in batches]
    for i in range(4):
        cosines = [
            sum(a * b for a, b in zip(u, v, strict=True)) / (math.hypot(*u) * math.hypot(*v))
            for flow in flows
            for u, v in zip(
                flow[i].reshape(-1, 4).tolist(), flow[i + 1].reshape(-1, 4).tolist(), strict=True
            )
        ]
        assert found[i] == pytest.approx(1 - sum(cosines) / len(cosines), rel=1e-5)


def test_block_influence_leaves_padding_out():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids)

    model = Padded()
    (x, _), mask = data(1)[0], torch.ones(4, 5, dtype=torch.long)
    mask[0, 3:] = mask[2, 0] = 0
    spoilt = torch.where(mask.bool()[..., None], x, 1e3)
    batches = [{"input_ids": spoilt, "attention_mask": mask}]
    name = next(n for n, _ in model.named_parameters() if ".blocks.2." in n)
    whole = Layout((1, *model.get_parameter(name).shape), (0, 1, 2), 1)
    layer = Target("third", "layers", (1,), (Member(name, whole),), layer="inner.blocks.2")
    found = collect(model, ["block_influence"], [layer], batches)["block_influence"]["third"]
    with torch.no_grad():
        flow = states(model.inner, x[mask.bool()])
    cosine = F.cosine_similarity(flow[2].double(), flow[3].double(), dim=-1).mean()
    assert float(found) == pytest.approx(1 - float(cosine), rel=1e-6)
    batches[0]["attention_mask"] = mask * 0
    with pytest.raises(DataError, match="saw no token"):
        collect(model, ["block_influence"], [layer], batches)
    with pytest.raises(PlanError, match="use structure 'layers'"):
        collect(model, ["block_influence"], [name], batches)


@torch.no_grad()
def test_loss_difference_is_the_loss_without_the_layer():
    model, batches = network(), data()
    found = scores(LossDifference(), model, batches)
    whole = sum(float(loss(model, b)) for b in batches) / len(batches)
    for i in range(4):
        shorter = network()
        del shorter.blocks[i]  # a residual block of zeros is no block at all
        without = sum(float(loss(shorter, b)) for b in batches) / len(batches)
        assert found[i] == pytest.approx(without - whole, rel=1e-4, abs=1e-7)


def test_the_loss_difference_leaves_the_weights_alone_and_refuses_too_many_units():
    model, batches = network(), data(1)
    before = {n: p.clone() for n, p in model.named_parameters()}
    scores(LossDifference(), model, batches)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    big = nn.Linear(200, 100)
    with pytest.raises(PlanError, match=r"20,000 units .* at most 10,000"):
        sc.prune(big, _recipe(), data=[(torch.randn(2, 200), torch.zeros(2).long())])
    with pytest.raises(PlanError, match="name no units"):
        collect(model, ["loss_without"], ["start.weight"], batches, loss)


def _recipe():
    from secateur.core.recipe import Recipe
    from secateur.schedule import OneShot
    from secateur.structure import Weights

    return Recipe(
        structure=Weights(classifier=True), criterion=LossDifference(), scope=Tensorwise(),
        allocator=Uniform(), schedule=OneShot(density=0.5),
    )  # fmt: skip


def test_taylor_of_a_layer_is_the_sum_over_its_weights():
    """Shortened LLaMA's Σ |w g|: one number from two roads."""
    model, batches = network(), data()
    found = scores(CoupledTaylor(order="first"), model, batches)
    assert found == pytest.approx(scores(Snip(), model, batches), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "keep", "gone"),
    [
        ([5, 1, 9, 2, 2, 7], 4, [3, 4]),
        ([1, 9, 1, 9, 1], 3, [3, 4]),  # 10 everywhere: the last window
        ([3, 1, 2], 3, []),
        ([1, 0, -5, 4], 3, [2]),
        ([1, 0, -math.inf, 0, 9], 2, [1, 3]),  # across one that is gone already
    ],
)
def test_contiguous_takes_the_window_of_the_smallest_sum(values, keep, gone):
    targets = tuple(Target(f"l{i}", "layers", (1,), ()) for i in range(len(values)))
    masks = {f"l{i}": torch.tensor([v != -math.inf]) for i, v in enumerate(values)}
    given = {f"l{i}": torch.tensor([float(v)]) for i, v in enumerate(values)}
    groups = Tensorwise().groups(targets)
    found = Contiguous().keep(given, groups, keep / len(values), None)
    assert found.tolist() == [
        int(i not in gone and bool(masks[f"l{i}"])) for i in range(len(values))
    ]
