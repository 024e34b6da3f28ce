"""Trainings as values: checked, scaled, round-tripped."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from secateur.core.component import from_dict
from secateur.core.errors import PlanError
from secateur.core.time import Time
from secateur.engine.train import (
    PRESETS,
    SGD,
    Adam,
    Constant,
    Distil,
    Optimiser,
    Steps,
    Training,
    Warmup,
    preset,
)  # fmt: skip
from secateur.engine.train.optimiser import parameter_groups


def test_the_reference_preset_is_the_papers():
    reference = preset("cifar-reference")
    per_epoch = 391
    assert reference.total(per_epoch) == 78200
    assert reference.batch_size == 128
    assert reference.weight_decay == 5e-4
    rates = [
        reference.lr_at(e * per_epoch, per_epoch) for e in (0, 59, 60, 119, 120, 159, 160, 199)
    ]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])
    assert reference.lr_at(60 * per_epoch - 1, per_epoch) == 0.1
    built = reference.optimiser.build([{"params": [nn.Parameter(torch.ones(1))]}], reference.lr)
    assert built.defaults["momentum"] == 0.9


def test_the_short_preset_is_one_cycle():
    short = preset("short")
    rates = [short.lr_at(step, 10) for step in range(short.total(10))]
    assert max(rates) == short.lr
    assert rates[0] < short.lr / 10
    assert rates[-1] < short.lr / 1000


def test_unknown_presets_and_options_get_the_nearest_match():
    with pytest.raises(PlanError, match="did you mean 'cifar-reference'"):
        preset("cifar-refrence")
    with pytest.raises(PlanError, match="did you mean 'schedule'"):
        Training(shedule="cosine")
    with pytest.raises(PlanError, match="unknown optimiser 'sdg'; did you mean 'sgd'"):
        Training(optimiser="sdg")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"length": 160}, "has no unit"),
        ({"length": "50%"}, "has no length"),
        ({"length": "0ep"}, "has no length"),
        ({"lr": 0}, "greater than 0"),
        ({"lr": float("nan")}, "Training.lr"),
        ({"label_smoothing": 1.0}, "less than 1"),
        ({"accumulate": 3, "batch_size": 2}, "cannot be cut into 3 parts"),
        ({"precision": "float16"}, "'no', 'bf16' or 'fp16'"),
        ({"distil": {"temperature": -1}}, "greater than 0"),
        ({"optimiser": {"name": "adam", "momentum": 0.9}}, "adam has no option 'momentum'"),
        ({"optimiser": {"name": "sgd", "momentum": 0, "nesterov": True}}, "needs a momentum"),
    ],
)
def test_senseless_trainings_are_refused_on_one_line(fields, message):
    with pytest.raises(PlanError, match=message) as caught:
        Training(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "made",
    [
        Training(),
        preset("short"),
        Training(optimiser=Adam(betas=(0.8, 0.9)), distil=Distil(weight=0.5), ema=0.99, clip=1.0),
        Training(schedule=Warmup(then=Steps(at=("1ep",)), length="10it")),
    ],
)
def test_plain_data_round_trip(made):
    plain = made.model_dump(mode="json", exclude_defaults=True)
    assert Training(**yaml.safe_load(yaml.safe_dump(plain))) == made
    assert hash(Training(**plain)) == hash(made)


def test_scaling_keeps_the_place_of_the_milestones():
    tenth = Training().scaled(0.1)
    assert tenth.length == Time(20, "ep")
    assert [t.value for t in tenth.schedule.at] == pytest.approx([6, 12, 16])
    least = Training().scaled(0.0001)
    assert least.length == Time(1, "ep")
    assert [t.value for t in least.schedule.at] == pytest.approx([0.3, 0.6, 0.8])
    assert least.lr_at(7, 10) == pytest.approx(0.1 * 0.04)
    assert Training(length="1000it").scaled(0.0105).length == Time(10, "it")
    assert Training().scaled(1) == Training()
    with pytest.raises(PlanError, match="not above 0"):
        Training().scaled(0)


def test_a_constant_training_has_one_rate_and_the_same_options():
    tuned = Training(clip=1.0).constant(Time(100, "it"), lr_scale=0.1)
    assert tuned == Training(length="100it", clip=1.0, lr=0.1 * 0.1, schedule=Constant())
    assert {tuned.lr_at(s, 10) for s in range(100)} == {0.1 * 0.1}


def test_presets_are_valid_values():
    for name, value in PRESETS.items():
        assert preset(name) == Training(**value.model_dump()), name


@pytest.mark.parametrize("name", list(Optimiser.registry))
def test_every_optimiser_round_trips_and_decays_weights(name):
    made = from_dict(Optimiser, name)
    assert from_dict(Optimiser, made.to_dict()) == made
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    nn.init.constant_(model[0].weight, -1.0)  # Adam's step is 0.1, and smaller weights change sign
    before = model[0].weight.detach().clone()
    optimizer = made.build(parameter_groups(model, 0.5, decay_norms=True), lr=0.1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.all(model[0].weight.abs() < before.abs())


def test_muon_turns_matrices_and_leaves_tables_and_vectors_to_adamw():
    """A step of orthogonal matrices, all singular values alike, as large as the factor says."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 8))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    made = from_dict(Optimiser, {"name": "muon", "betas": [0.9, 0.98]})
    groups = parameter_groups(model, 0.5, decay_norms=False, apart=True)
    optimizer = made.build(groups, lr=0.1)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    step = before["1.weight"] * (1 - 0.1 * 0.5) - model[1].weight.detach()
    values = torch.linalg.svdvals(step) / (0.1 * 0.2 * 8**0.5)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    twin = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 8))
    twin.load_state_dict(before)
    rest = [
        {"params": [twin[0].weight], "weight_decay": 0.5},
        {"params": [twin[1].bias], "weight_decay": 0.0},
    ]
    other = torch.optim.AdamW(rest, 0.1, betas=(0.9, 0.98))
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        theirs.grad = ours.grad
    other.step()
    assert torch.equal(model[0].weight, twin[0].weight)
    assert torch.equal(model[1].bias, twin[1].bias)


def test_norms_and_biases_can_be_spared_from_decay():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    model[2].weight.requires_grad_(False)
    groups = parameter_groups(model, 0.5, decay_norms=False)
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    named = {n: decay[id(p)] for n, p in model.named_parameters() if p.requires_grad}
    assert named == {"0.weight": 0.5, "0.bias": 0, "1.weight": 0, "1.bias": 0, "2.bias": 0}
    (only,) = parameter_groups(model, 0.5, decay_norms=True)
    assert only["weight_decay"] == 0.5
    with pytest.raises(PlanError, match="nothing can train"):
        parameter_groups(model.requires_grad_(False), 0.5, decay_norms=True)


def test_sgd_is_frozen_and_hashable():
    assert {SGD(): 1}[SGD(momentum=0.9)] == 1
