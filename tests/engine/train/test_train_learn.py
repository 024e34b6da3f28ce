"""Training learns, distillation has Hinton's gradient, evaluation counts right."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch
from torch import nn
from train_fakes import Points, keep, net, same, training

from secateur.core.errors import DataError, NumberError, PlanError
from secateur.engine.train import Trainer, evaluate
from secateur.engine.train.loss import distilled
from secateur.materialise import HardMasks


@pytest.mark.parametrize("options", [{}, {"optimiser": "adamw", "lr": 0.01, "ema": 0.9}])
@pytest.mark.parametrize("masked", [False, True])
def test_a_tiny_problem_is_learned(options, masked):
    model = net(0)
    masks = HardMasks(model, keep()) if masked else None
    trainer = Trainer(model, training(length="20ep", **options), Points(), masks=masks)
    before = evaluate(model, Points().epoch(99))
    trainer.run(0, 80)
    with trainer.averaged():
        after = evaluate(model, Points(steps_per_epoch=20).epoch(99))
    assert before["accuracy"] < 0.75
    assert after["accuracy"] > 0.95
    assert after["n"] == 120


def test_distillation_has_hintons_gradient():
    rng = torch.Generator().manual_seed(0)
    student = torch.randn(5, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1])
    temperature, weight = 3.0, 0.7
    loss = nn.functional.cross_entropy(student, labels)
    distilled(loss, student, teacher, temperature, weight).backward()
    soft = (student / temperature).softmax(1) - (teacher / temperature).softmax(1)
    hard = student.softmax(1) - nn.functional.one_hot(labels, 3)
    expected = (weight * temperature * soft + (1 - weight) * hard) / 5
    torch.testing.assert_close(student.grad, expected.detach())


def test_a_student_comes_close_to_its_teacher():
    teacher, student = net(0), net(0)
    Trainer(teacher, training(length="10ep"), Points()).run(0, 40)
    teacher.train()
    frozen = {n: t.clone() for n, t in teacher.state_dict().items()}
    options = training(length="30ep", distil={"temperature": 2.0, "weight": 1.0})
    Trainer(student, options, Points(), teacher=teacher).run(0, 120)
    assert same(teacher.state_dict(), frozen), "the teacher's batch norms must not move"
    assert teacher.training
    x = torch.cat([x for x, _ in Points().epoch(50)])
    with torch.no_grad():
        gap = [(m.eval()(x).softmax(1) - teacher.eval()(x).softmax(1)).abs().mean().item()
               for m in (student, net(0))]  # fmt: skip
    assert gap[0] < 0.15 * gap[1]


def test_options_that_would_be_ignored_are_refused():
    teacher = net()
    with pytest.raises(PlanError, match="needs a teacher"):
        Trainer(net(), training(distil={}), Points())
    with pytest.raises(PlanError, match="it would be ignored"):
        Trainer(net(), training(), Points(), teacher=teacher)
    with pytest.raises(PlanError, match="built-in loss only"):
        Trainer(net(), training(label_smoothing=0.1), Points(), loss=nn.CrossEntropyLoss())


def test_a_loss_of_ones_own():
    given, built_in = net(), net()
    Trainer(given, training(), Points(), loss=nn.CrossEntropyLoss()).run(0, 4)
    Trainer(built_in, training(), Points()).run(0, 4)
    assert same(given.state_dict(), built_in.state_dict())
    smooth = net()
    Trainer(smooth, training(label_smoothing=0.3), Points()).run(0, 4)
    assert not same(smooth.state_dict(), built_in.state_dict())


def test_clipping_bounds_the_step():
    model = net(0)
    options = training(
        clip=1e-3,
        weight_decay=0,
        schedule="constant",
        lr=1.0,
        optimiser={"name": "sgd", "momentum": 0},
    )
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    Trainer(model, options, Points()).run(0, 1)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(1e-3, rel=1e-2)


def test_the_learning_rate_is_scaled_and_scheduled():
    trainer = Trainer(net(), training(lr=0.5), Points())
    seen = []
    trainer.run(
        0, 12, lr_scale=0.1, on_step=lambda _: seen.append(trainer.optimizer.param_groups[0]["lr"])
    )
    assert seen == [0.1 * trainer.training.lr_at(s, 4) for s in range(12)]
    assert seen[6] == pytest.approx(0.1 * 0.25)


def test_a_trainer_frees_its_model_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        model = net()
        trainer = Trainer(model, training(ema=0.5), Points(), masks=HardMasks(model, keep()))
        trainer.run(0, 2)
        ref = weakref.ref(model)
        del model, trainer
        assert ref() is None
    finally:
        gc.enable()


class Constant(nn.Module):
    """Always the same logits."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))
        self.drop = nn.Dropout(0.5).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return self.logits.expand(len(x), -1)


def test_evaluation_counts_over_uneven_batches():
    model = Constant(0.0, math.log(3.0))
    batches = [(torch.zeros(n, 1), torch.ones(n, dtype=torch.long)) for n in (3, 1)]
    batches.append((torch.zeros(4, 1), torch.zeros(4, dtype=torch.int32).long()))
    result = evaluate(model, batches)
    assert result == {
        "accuracy": 0.5,
        "loss": pytest.approx((4 * math.log(4 / 3) + 4 * math.log(4)) / 8, rel=1e-7),
        "n": 8,
    }
    assert model.training
    assert not model.drop.training


def test_evaluation_refuses_what_cannot_be_judged():
    labels = torch.tensor([0, 2])
    with pytest.raises(DataError, match="labels run from 0 to 2, but the network has 2 outputs"):
        evaluate(Constant(0.0, 1.0), [(torch.zeros(2, 1), labels)])
    with pytest.raises(DataError, match="nothing to evaluate on"):
        evaluate(Constant(0.0, 1.0), [])
    with pytest.raises(NumberError, match="NaN or infinite"):
        evaluate(Constant(0.0, math.nan), [(torch.zeros(2, 1), labels.clamp(max=1))])
