"""Masks that hold only once they have settled, and weights zeroed for a moment: loops by hand beside them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F
from train_fakes import Points, net, same, training

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.training import Moment
from secateur.core.types import Settling
from secateur.engine.drawing import distance, settles
from secateur.engine.execute import execute
from secateur.engine.run import Run, Setting
from secateur.engine.store import FolderStore
from secateur.gates import Slimming
from secateur.gates.rules import value

STEPS = 48
PLAIN = {
    "length": "12ep", "lr": 0.1, "weight_decay": 1e-3,
    "optimiser": {"name": "sgd", "momentum": 0.9}, "schedule": {"name": "constant"},
}  # fmt: skip
EARLY = {"density": 0.5, "strength": 0.02, "memory": 3, "kinds": ("neurons",)}
SLIM = {
    "density": 0.5, "strength": 0.02, "every": "1ep", "within": 0.3, "rule": "sgd", "kinds": ("neurons",),
}  # fmt: skip
SOFT = {"density": 0.5, "kinds": ("neurons",)}


class Fine(Points):
    """The points in float64."""

    def epoch(self, number, start=0):
        yield from ((x.double(), y) for x, y in super().epoch(number, start))


def begun(method, store=None, tell=None, seconds=1e9, distil=None, **options):
    """A run of the tiny problem in float64."""
    setting = Setting(
        training=training(**PLAIN, distil=distil), train=lambda stage: Fine(), seed=5,
        example=torch.zeros(2, 4).double(), checkpoint_seconds=seconds,
    )  # fmt: skip
    recipe = sc.recipe(method, **options)
    return Run(recipe, net(dropout=0.0).double(), setting, store, progress=tell)


def by_hand(push, after_epoch):
    """Train by autograd: `push(model)` before every step of SGD, `after_epoch(model, step)`."""
    model = net(dropout=0.0).double().train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    for step in range(STEPS):
        x, y = next(Fine().epoch(step // 4, step % 4))
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        push(model)
        optimiser.step()
        if step % 4 == 3:
            after_epoch(model, step + 1, optimiser)
    return model


def top_half(score):
    """The four largest of eight as bool, ties to the lower index."""
    keep = torch.zeros(8, dtype=torch.bool)
    keep[torch.sort(score, descending=True, stable=True).indices[:4]] = True
    return keep


def agree(model, other):
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-6, atol=1e-9), name


def ticket(within):
    """Slimming, a mask after every epoch, and pruning as the paper has it: (model, distances, step)."""
    masks, told, found = [], [], {}

    def push(model):
        scale = model[1].weight
        scale.grad += 0.02 * scale.detach().sign()
        if found:
            clear(model)

    def clear(model):
        gone = ~found["mask"]
        for tensor, rows in owned(model):
            index = (gone,) if rows else (slice(None), gone)
            tensor.grad[index] = 0

    def after(model, step, optimiser):
        if found or step == STEPS:
            return
        masks.append(top_half(model[1].weight.detach().abs()))
        last = masks[-3:]
        told.append(max([(last[-1] ^ m).double().mean().item() for m in last[:-1]], default=None))
        if len(last) == 3 and told[-1] <= within:
            found.update(mask=last[-1], step=step)
            forget(model, optimiser, ~last[-1])

    return by_hand(push, after), told, found


def owned(model):
    """What belongs to the hidden neurons, and whether along the first dimension."""
    first = [model[0].weight, model[0].bias, model[1].weight, model[1].bias]
    return [*((t, True) for t in first), (model[4].weight, False)]


@torch.no_grad()
def forget(model, optimiser, gone):
    for tensor, rows in owned(model):
        index = (gone,) if rows else (slice(None), gone)
        tensor[index] = 0
        optimiser.state[tensor]["momentum_buffer"][index] = 0


def test_an_early_bird_is_drawn_as_in_the_paper_by_a_loop_of_ones_own():
    model, told, found = ticket(within=0.1)
    assert 12 < found["step"] < 40, "neither at once nor at the end"
    pruned = []
    run = begun("early-bird", tell=pruned.append, **EARLY)
    outcome = execute(run)
    assert [event["kind"] for event in pruned].count("pruned") == 1
    assert [d["distance"] for d in run.place.drawn] == told
    assert run.place.settled == found["step"] == run.place.drawn[-1]["step"]
    assert torch.equal(outcome.target_masks["0"], found["mask"])
    agree(outcome.model, model)
    assert outcome.points[-1]["settled"] == found["step"]


def test_with_again_the_training_stops_and_begins_anew():
    _, _, found = ticket(within=0.1)
    run = begun("early-bird", again=True, **EARLY)
    outcome = execute(run)
    stages = [row["stage"] for row in outcome.log]
    assert stages == ["dense"] * (found["step"] // 4) + ["round-12"] * 12
    assert [p["moment"] for p in outcome.points] == ["trained", "pruned", "recovered"]
    assert torch.equal(outcome.target_masks["0"], found["mask"])


def test_masks_that_never_settle_are_taken_at_the_end():
    run = begun("early-bird", **{**EARLY, "memory": 11, "within": 0.0})
    outcome = execute(run)
    assert run.place.settled is None
    assert len(run.place.drawn) == 11
    scale = run.targets[0].members
    assert [m.param for m in scale if m.role == "scale"] == ["1.weight"]
    assert int(outcome.target_masks["0"].sum()) == 4
    assert outcome.points[-1]["moment"] == "pruned"


def test_the_distance_is_a_share_of_all_units_and_each_of_the_last_counts():
    a = {"x": torch.tensor([True, True, False, False]), "y": torch.tensor([True])}
    b = {"x": torch.tensor([True, False, True, False]), "y": torch.tensor([True])}
    assert distance(a, b) == 2 / 5
    assert settles([a, a, a], Settling(3, 0.0))
    assert not settles([a, a], Settling(3, 0.0)), "too few"
    assert not settles([b, a, a], Settling(3, 0.39)), "the oldest is too far"
    assert settles([b, a, a], Settling(3, 0.4)), "as near as asked for"


class Killed(Exception):
    """Stands for a process that is gone."""


def killed(method, folder, at, **options):
    """Gone at each of the events `at` before their checkpoints are written, and taken up again."""
    left = list(at)

    def tell(event):
        if left and all(event.get(k) == v for k, v in left[0].items()):
            del left[0]
            raise Killed

    for _ in range(len(at)):
        with pytest.raises(Killed):
            execute(begun(method, FolderStore(folder), tell, 0.0, **options))
    run = begun(method, FolderStore(folder), tell, 0.0, **options)
    return run, execute(run)


@pytest.mark.parametrize("again", [False, True])
def test_a_killed_early_bird_ends_with_the_same_bits(again, tmp_path):
    """Before its masks settle, at the drawing that settles them, and in the training after it."""
    options = {**EARLY, "again": again}
    whole = begun("early-bird", **options)
    end = execute(whole)
    settled = whole.place.settled
    drawn = [{"kind": "drawn", "step": step} for step in (settled - 4, settled)]
    later = (
        {"kind": "epoch", "stage": "round-12", "epoch": 1}
        if again
        else {"kind": "epoch", "epoch": 10}
    )
    run, outcome = killed("early-bird", tmp_path, [*drawn, later], **options)
    assert run.place.drawn == whole.place.drawn
    assert run.place.settled == whole.place.settled
    assert same(dict(outcome.model.state_dict()), dict(end.model.state_dict()))
    assert torch.equal(outcome.target_masks["0"], end.target_masks["0"])
    assert [row["loss"] for row in outcome.log] == [row["loss"] for row in end.log]


def norms(rows):
    return torch.tensor([math.sqrt(sum(v * v for v in row)) for row in rows.tolist()])


def apart(rows):
    return torch.tensor([sum(math.dist(a, b) for b in rows.tolist()) for a in rows.tolist()])


@pytest.mark.parametrize(("method", "worth"), [("soft-filters", norms), ("soft-fpgm", apart)])
def test_soft_pruning_is_the_papers_by_a_loop_of_ones_own(method, worth):
    masks = []

    @torch.no_grad()
    def after(model, step, optimiser):
        masks.append(top_half(worth(model[0].weight)))
        model[0].weight[~masks[-1]] = 0
        if step == STEPS:
            for tensor, rows in owned(model):
                tensor[(~masks[-1],) if rows else (slice(None), ~masks[-1])] = 0

    model = by_hand(lambda model: None, after)
    back = [bool((late & ~early).any()) for early, late in pairwise(masks)]
    assert any(back), "no neuron came back; the test would not see hard masks"
    outcome = execute(begun(method, **SOFT))
    assert torch.equal(outcome.target_masks["0"], masks[-1])
    agree(outcome.model, model)


def test_a_killed_soft_run_ends_with_the_same_bits(tmp_path):
    end = execute(begun("soft-filters", **SOFT))
    at = [{"kind": "zeroed", "round": 3}, {"kind": "epoch", "epoch": 7}]
    _, outcome = killed("soft-filters", tmp_path, at, **SOFT)
    assert same(dict(outcome.model.state_dict()), dict(end.model.state_dict()))


class TestRefusals:
    @pytest.mark.parametrize("schedule", ["settled", "soft"])
    @pytest.mark.parametrize(
        "changed", [{"walk": "layers"}, {"solver": "bias-compensation"}, {"revive": True}]
    )
    def test_what_needs_masks_that_hold(self, schedule, changed):
        recipe = dict(sc.recipe("soft-filters"))
        made = {"name": schedule, "density": 0.7}
        with pytest.raises(PlanError, match=f"'{schedule}' looks at the whole network again"):
            sc.Recipe(**{**recipe, "schedule": made, **changed})

    def test_a_training_too_short_to_compare(self):
        with pytest.raises(PlanError, match=r"compares 20 masks.*draws 11"):
            begun("early-bird", **{**EARLY, "memory": 20})

    def test_a_teacher_that_would_be_pruned_before_it_is_trained(self):
        taught = {"temperature": 2.0, "weight": 0.5}
        with pytest.raises(PlanError, match=r"as soon as its masks have settled; drop distil"):
            begun("early-bird", again=True, distil=taught, **EARLY)
        told = r"prunes it before its training has ended; drop distil"
        with pytest.raises(PlanError, match=told):
            begun("random", density=0.5, distil=taught)

    def test_a_training_too_short_to_zero(self):
        with pytest.raises(PlanError, match="zero nothing before"):
            begun("soft-filters", every="12ep", **SOFT)


def slimmed(within):
    """Coefficients of the hidden neurons beside the weights, by a loop: (model, mask, step, coefficients)."""
    model, c = net(dropout=0.0).double().train(), torch.ones(8).double().requires_grad_()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    masks = []
    for step in range(STEPS):
        x, y = next(Fine().epoch(step // 4, step % 4))
        optimiser.zero_grad()
        hidden = model[:4](x) * c
        loss = F.cross_entropy(model[4:](hidden), y) + 0.02 * c.abs().sum()
        (slope,) = torch.autograd.grad(loss, c, retain_graph=True)
        loss.backward()
        optimiser.step()
        c = (c.detach() - 0.1 * slope).requires_grad_()
        if step % 4 == 3:
            masks.append(top_half(c.detach().abs()))
            last = masks[-3:]
            far = max((float((last[-1] ^ m).double().mean()) for m in last[:-1]), default=1.0)
            if len(last) == 3 and far <= within:
                break
    return masks[-1], step + 1, c.detach()


def test_an_earlybert_ticket_is_drawn_from_coefficients_and_trains_from_where_it_began():
    mask, step, _ = slimmed(within=0.3)
    assert 12 < step < 44, "neither at once nor at the end"
    run = begun("earlybert", **SLIM)
    outcome = execute(run)
    assert run.place.settled == step
    assert torch.equal(outcome.target_masks["0"], mask)
    assert [row["stage"] for row in outcome.log] == ["dense"] * (step // 4) + ["round-1"] * 12
    model = net(dropout=0.0).double().train()
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    for now in range(STEPS):  # the ticket, from the first weights
        with torch.no_grad():
            for tensor, rows in owned(model):
                tensor[(~mask,) if rows else (slice(None), ~mask)] = 0
        x, y = next(Fine().epoch(now // 4, now % 4))
        optimiser.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
    with torch.no_grad():
        for tensor, rows in owned(model):
            tensor[(~mask,) if rows else (slice(None), ~mask)] = 0
    agree(outcome.model, model)


def test_a_killed_earlybert_ends_with_the_same_bits(tmp_path):
    whole = begun("earlybert", **SLIM)
    end = execute(whole)
    step = whole.place.settled
    gone = [{"kind": "drawn", "step": step - 4}, {"kind": "drawn", "step": step}]
    gone.append({"kind": "epoch", "stage": "round-1", "epoch": 1})
    run, outcome = killed("earlybert", tmp_path, gone, **SLIM)
    assert run.place.drawn == whole.place.drawn
    assert same(dict(outcome.model.state_dict()), dict(end.model.state_dict()))
    assert torch.equal(outcome.target_masks["0"], end.target_masks["0"])


def test_earlybert_masks_that_never_settle_are_taken_when_the_search_ends():
    run = begun("earlybert", **{**SLIM, "memory": 11, "within": 0.0})
    outcome = execute(run)
    assert run.place.settled is None
    assert int(outcome.target_masks["0"].sum()) == 4
    assert [row["stage"] for row in outcome.log] == ["dense"] * 12 + ["round-1"] * 12


@pytest.mark.parametrize(
    ("rule", "optimiser"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_coefficients_follow_the_loss_and_its_penalty(rule, optimiser):
    gate, (target,) = Slimming(strength=0.3, rule=rule), begun("earlybert", **SLIM).targets
    learned = gate.start((target,), lambda *words: torch.Generator())
    c = learned[value(target.name)].double().requires_grad_()
    by = optimiser([c], lr=0.4)
    slope = torch.linspace(-1, 1, 8).double()
    learned = {name: t.double() for name, t in learned.items()}
    for _ in range(4):
        by.zero_grad()
        ((slope * c).sum() + 0.3 * c.abs().sum()).backward()
        by.step()
        learned = gate.learn(learned, {target.name: slope}, Moment(0.4, 0.0, lambda *words: None))
    assert (c < 0).any(), "the penalty turns round"
    assert torch.allclose(gate.factor(learned, target, None), c.detach())
    assert torch.equal(gate.scores(learned, target, 0.0), gate.final(learned, target).abs())


def test_coefficients_without_a_ticket_to_train_are_refused():
    made = sc.recipe("earlybert", **SLIM)
    with pytest.raises(PlanError, match="gate 'slimming"):
        type(made)(**{**dict(made), "recovery": None})
