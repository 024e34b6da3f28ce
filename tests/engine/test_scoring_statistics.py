"""Scores of a trained network are taken with its running statistics, of an untrained one with the batch's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.allocation import Uniform
from secateur.core.recipe import Recipe
from secateur.criteria import Taylor
from secateur.engine import collect
from secateur.engine.train import Training
from secateur.schedule import OneShot
from secateur.scope import Tensorwise
from secateur.structure import Weights


def net():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    made[1].running_mean.normal_(), made[1].running_var.uniform_(0.2, 5)
    return made.eval()


def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 4, generator=generator), torch.arange(32) % 3


def recipe(at="100%"):
    return Recipe(
        structure=Weights(), criterion=Taylor(), scope=Tensorwise(), allocator=Uniform(),
        schedule=OneShot(density=0.5, at=at),
    )  # fmt: skip


def expected(model, batch_statistics):
    """The half of the first layer with the largest (w g)², by hand."""
    model[1].train(batch_statistics)
    kept = {n: b.clone() for n, b in model.named_buffers()}
    F.cross_entropy(model(data()[0]), data()[1]).backward()
    model.load_state_dict(kept, strict=False)
    score = (model[0].weight * model[0].weight.grad).square().flatten()
    mask = torch.zeros(32, dtype=torch.bool)
    mask[score.argsort(descending=True)[:16]] = True
    return mask.view(8, 4)


@pytest.mark.parametrize("trained", [True, False])
def test_a_network_that_comes_trained_is_scored_as_it_is_used(trained):
    result = sc.prune(net(), recipe(), data=[data()], trained=trained)
    assert torch.equal(result.masks["0.weight"], expected(net(), not trained))
    assert not torch.equal(expected(net(), True), expected(net(), False))


def test_running_statistics_that_have_seen_batches_are_used_unasked():
    model = net()
    model[1].num_batches_tracked += 5
    result = sc.prune(model, recipe(), data=[data()])
    assert torch.equal(result.masks["0.weight"], expected(net(), False))


@pytest.mark.parametrize(("at", "batch"), [("0it", True), ("1it", True), ("100%", False)])
def test_a_network_is_trained_once_its_main_training_is_over(at, batch, monkeypatch):
    seen, real = [], collect.collect

    def spy(*args, **options):
        seen.append(options["batch_statistics"])
        return real(*args, **options)

    monkeypatch.setattr(collect, "collect", spy)
    training = Training(length=sc.Time(2, "it"), batch_size=32)
    sc.prune(net(), recipe(at), data=data(), training=training)
    assert seen == [batch]
