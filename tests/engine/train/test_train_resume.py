"""A training that stops after any step and goes on ends with the same bits."""

from __future__ import annotations

import itertools

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from train_fakes import Points, keep, net, same, training

from secateur.core.errors import DataError, NumberError, PlanError, StorageError
from secateur.engine.train import Trainer
from secateur.materialise import HardMasks

OPTIONS = {
    "sgd": {"optimiser": {"name": "sgd", "momentum": 0.0}},
    "nesterov": {"optimiser": {"name": "sgd", "nesterov": True}, "clip": 0.5},
    "adam-average": {"optimiser": "adam", "lr": 0.01, "ema": 0.9},
    "parts-spared-norms": {"accumulate": 4, "decay_norms": False, "label_smoothing": 0.1},
    "muon": {"optimiser": "muon", "lr": 0.01, "weight_decay": 0.1, "decay_norms": False},
    "bf16": {"optimiser": "adamw", "lr": 0.01, "ema": 0.5, "precision": "bf16"},
}


def make(options: dict, masked: bool = True, seed: int = 5) -> Trainer:
    model = net()
    masks = HardMasks(model, keep()) if masked else None
    return Trainer(model, training(**options), Points(), masks=masks, seed=seed, stage="dense")


@pytest.mark.parametrize("name", OPTIONS)
def test_resuming_at_any_step_is_bit_identical(name):
    whole, rows = make(OPTIONS[name]), []
    states = {}
    whole.run(0, 12, on_step=lambda s: states.update({s: whole.state()}), on_epoch=rows.append)
    end = whole.state()[0]
    for split in (1, 2, 4, 7, 11, 12):
        tensors, meta = states[split]
        again = make(OPTIONS[name])
        again.load(load(save(tensors)), meta)
        assert same(again.state()[0], tensors)
        rest = []
        again.run(split, 12, on_epoch=rest.append)
        assert same(again.state()[0], end), f"resumed at step {split}"
        assert rest == rows[split // 4 :], f"resumed at step {split}"


def test_two_calls_of_run_are_one():
    once, twice = make(OPTIONS["nesterov"]), make(OPTIONS["nesterov"])
    once.run(0, 12)
    for start, stop in itertools.pairwise([0, 3, 3, 8, 12]):
        twice.run(start, stop)
    assert same(once.state()[0], twice.state()[0])


def test_states_are_copies_and_plain():
    trainer = make(OPTIONS["adam-average"])
    trainer.run(0, 2)
    tensors, meta = trainer.state()
    frozen = {name: t.clone() for name, t in tensors.items()}
    trainer.run(2, 4)
    assert same(tensors, frozen)
    assert meta == {"next": 2, "scaler": None}
    assert {name.split(".")[0] for name in tensors} == {"model", "optimiser", "average", "meter"}


def test_loading_leaves_the_loaded_tensors_to_the_caller():
    first, second = make(OPTIONS["adam-average"]), make(OPTIONS["adam-average"])
    first.run(0, 2)
    tensors, meta = first.state()
    frozen = {name: t.clone() for name, t in tensors.items()}
    second.load(tensors, meta)
    second.run(2, 4)
    assert same(tensors, frozen)


@pytest.mark.parametrize("change", [{"seed": 6}, {"stage": "round-1"}])
def test_seed_and_stage_decide_the_dropout(change):
    runs = []
    for options in ({}, {}, change):
        names = {"seed": 5, "stage": "dense", **options}
        trainer = Trainer(net(), training(), Points(), **names)
        trainer.run(0, 3)
        runs.append(trainer.state()[0])
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_the_callers_randomness_is_neither_used_nor_changed():
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        trainer = make({"ema": 0.9})
        trainer.run(0, 4)
        assert torch.equal(torch.get_rng_state(), before)
        states.append(trainer.state()[0])
    assert same(*states)


def test_epochs_are_told_before_the_step_that_ends_them():
    trainer, told = make({}), []
    trainer.run(0, 9, on_step=told.append, on_epoch=told.append)
    rows = [entry for entry in told if not isinstance(entry, int)]
    assert [type(entry) for entry in told[3:5]] == [dict, int]
    assert [(row["epoch"], row["step"]) for row in rows] == [(0, 4), (1, 8)]
    assert rows[0]["lr"] == trainer.training.lr_at(3, 4)
    assert 0 < rows[0]["loss"] < 10


def test_an_epochs_loss_is_the_mean_of_its_steps():
    trainer, rows = Trainer(net(0, norm=False), training(lr=1e-9), Points()), []
    trainer.run(0, 4, on_epoch=rows.append)
    expected = [nn.functional.cross_entropy(trainer.model(x), y) for x, y in Points().epoch(0)]
    assert rows[0]["loss"] == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_jumping_to_another_step_starts_a_new_mean():
    jumped, straight = [], []
    for before, rows in ((6, jumped), (4, straight)):
        trainer = make({})
        trainer.run(0, before)
        for group in trainer.optimizer.param_groups:
            for p in group["params"]:
                nn.init.constant_(p, 0.1)
        trainer.run(4, 8, on_epoch=rows.append, lr_scale=1e-12)
    assert jumped[0]["loss"] == pytest.approx(straight[0]["loss"], rel=1e-3)


def test_modes_are_put_back():
    trainer, inside = make({}), []
    trainer.model.eval()
    trainer.model[3].train()
    trainer.run(0, 1, on_step=lambda _: inside.append(trainer.model[1].training))
    assert inside == [True]
    assert [m.training for m in trainer.model] == [False, False, False, True, False]


def test_checkpoints_of_another_training_are_refused():
    tensors, meta = make({}).state()
    with pytest.raises(StorageError, match=r"'average.*' is only in one|resume with the network"):
        make({"ema": 0.9}).load(tensors, meta)
    wrong = {**tensors, "model.0.weight": torch.zeros(2, 4)}
    with pytest.raises(StorageError, match=r"'0\.weight' is \[2, 4\]"):
        make({}).load(wrong, meta)
    with pytest.raises(StorageError, match=r"optimiser\.9\.weight\.momentum_buffer"):
        make({}).load({**tensors, "optimiser.9.weight.momentum_buffer": torch.zeros(1)}, meta)


def test_steps_outside_the_training_and_short_epochs_are_errors():
    trainer = make({})
    with pytest.raises(PlanError, match="within a training of 12 steps"):
        trainer.run(0, 13)
    with pytest.raises(PlanError, match="steps 5 to 3"):
        trainer.run(5, 3)

    class Short(Points):
        def epoch(self, number, start=0):
            return itertools.islice(super().epoch(number, start), 2)

    with pytest.raises(DataError, match="epoch 0 ended before step 2; the data promised 4"):
        Trainer(net(), training(), Short()).run(0, 4)


def test_a_loss_that_is_no_number_names_step_and_rate_and_spares_the_weights():
    class Poisoned(Points):
        def epoch(self, number, start=0):
            for i, (x, y) in enumerate(super().epoch(number, start), start):
                yield (x * float("nan") if i == 2 else x), y

    trainer = Trainer(net(), training(), Poisoned(), stage="dense")
    with pytest.raises(
        NumberError, match=r"loss is nan at step 2 of stage 'dense' \(learning rate"
    ):
        trainer.run(0, 4)
    assert all(bool(torch.isfinite(p).all()) for p in trainer.model.parameters())


def test_labels_and_outputs_must_fit():
    class Wrong(Points):
        def epoch(self, number, start=0):
            for x, y in super().epoch(number, start):
                yield x, y + 1

    with pytest.raises(DataError, match="labels run from 1 to 3, but the network has 3 outputs"):
        Trainer(net(), training(), Wrong(batch=60)).run(0, 1)
    with pytest.raises(DataError, match=r"gave \[6, 4, 1\] for labels \[6\]"):
        Trainer(nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Linear(1, 1)), training(), Points()).run(
            0, 1
        )


def test_batches_are_pairs_of_tensors():
    class Dicts(Points):
        def epoch(self, number, start=0):
            return iter([{"x": torch.zeros(1), "y": torch.zeros(1)}])

    with pytest.raises(
        DataError, match=r"batches \(x, y\) of two tensors or dicts with input_ids, got a dict"
    ):
        Trainer(net(), training(), Dicts()).run(0, 1)
