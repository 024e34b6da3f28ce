"""Language models train like any other network: the mean is over the tokens that are predicted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.batches import as_batches, cross_entropy
from secateur.core.errors import DataError
from secateur.core.labelled import split
from secateur.engine.train import Distil, Trainer, Training, evaluate
from secateur.engine.train.device import Forward, hardware_for
from secateur.engine.train.gradient import Gradient
from tests.methods.tiny import tiny_llama, tokens

pytest.importorskip("transformers")


def labels(batch: dict[str, Tensor]) -> Tensor:
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def gradient(model: nn.Module, batch: dict[str, Tensor], **options: object) -> tuple[Tensor, dict]:
    training = Training(batch_size=4, **options)
    hardware = hardware_for(model, "no", None)
    teacher = tiny_llama(layers=2) if training.distil else None
    made = Gradient(hardware.prepare_model(Forward(model)), training, hardware, None, teacher)
    model.zero_grad()
    return made(*split(batch)), gradients(model)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_loss_is_the_one_of_transformers_in_one_part_or_several(parts: int) -> None:
    model, batch = tiny_llama(), tokens()
    loss, found = gradient(model, batch, accumulate=parts)
    model.zero_grad()
    wanted = model(**batch, labels=labels(batch)).loss
    wanted.backward()
    assert float(loss) == pytest.approx(float(wanted.detach()), rel=1e-6)
    for name, value in gradients(model).items():
        assert torch.allclose(found[name], value, atol=1e-6), name


def test_labels_of_ones_own_are_taken_as_they_are() -> None:
    model, batch = tiny_llama(), tokens()
    batch["labels"] = labels(batch)
    batch["labels"][2, :6] = -100  # a prompt that is not learned
    loss, _ = gradient(model, batch)
    assert float(loss) == pytest.approx(float(model(**batch).loss.detach()), rel=1e-6)
    assert float(cross_entropy(model, batch).detach()) == pytest.approx(float(loss), rel=1e-6)
    batch["labels"][:] = -100
    with pytest.raises(DataError, match="no token to predict"):
        gradient(model, batch)


def test_distillation_looks_at_the_predicted_tokens_alone() -> None:
    model, batch = tiny_llama(), tokens()
    loss, _ = gradient(model, batch, distil=Distil(temperature=2.0, weight=0.25))
    with torch.no_grad():
        there = labels(batch)[:, 1:] != -100
        student = model(**batch).logits[:, :-1][there]
        teacher = tiny_llama(layers=2)(**batch).logits[:, :-1][there]
        hard = F.cross_entropy(student, labels(batch)[:, 1:][there])
        p, q = (teacher / 2).softmax(-1), (student / 2).softmax(-1)
        soft = (p * (p.log() - q.log())).sum(-1).mean()
    assert float(loss) == pytest.approx(float(0.75 * hard + 0.25 * 4 * soft), rel=1e-5)


@torch.no_grad()
def test_evaluation_counts_tokens() -> None:
    model, batch = tiny_llama(), tokens()
    found = evaluate(model, [batch, tokens(2, seed=5)])
    nats, right, n = 0.0, 0, 0
    for one in (batch, tokens(2, seed=5)):
        logits = model(**one).logits
        for row in range(len(logits)):
            for at in range(logits.shape[1] - 1):
                target = int(labels(one)[row, at + 1])
                if target != -100:
                    nats -= float(logits[row, at].log_softmax(-1)[target])
                    right += int(logits[row, at].argmax()) == target
                    n += 1
    assert found["n"] == n
    assert found["loss"] == pytest.approx(nats / n, rel=1e-5)
    assert found["accuracy"] == pytest.approx(right / n)


def test_training_learns_and_repeats_bit_for_bit() -> None:
    data = tokens(8)
    made = []
    for _ in range(2):
        model = tiny_llama(layers=2)
        batches = as_batches(data, 4, 0, "train", shuffle=True)
        Trainer(model, Training(batch_size=4, lr=0.05, length="10ep"), batches).run(0, 20)
        made.append(model)
    before, after = (evaluate(m, [data])["loss"] for m in (tiny_llama(layers=2), made[0]))
    assert after < before - 0.3
    one, two = (m.state_dict() for m in made)
    assert all(torch.equal(one[k], two[k]) for k in one)
