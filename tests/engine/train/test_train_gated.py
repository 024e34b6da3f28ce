"""Gates in training, held against loops that differentiate what the papers write, by autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F
from train_fakes import Points, net, training

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.random import generator
from secateur.engine.execute import execute
from secateur.engine.program import Prune, Snapshot, Train
from secateur.engine.pruning import prune, snapshot
from secateur.engine.run import Run, Setting
from secateur.engine.store import FolderStore
from secateur.engine.training import train

STEPS, SEED = 12, 5
SPAN = {"begin": "0it", "end": "9it"}
PLAIN = {"lr": 0.05, "weight_decay": 1e-3, "optimiser": {"name": "sgd", "momentum": 0.9}}


class Fine(Points):
    """The points in float64, so that Adam, which divides by what may be tiny, has digits to spare."""

    def epoch(self, number, start=0):
        yield from ((x.double(), y) for x, y in super().epoch(number, start))


def fresh():
    return net(dropout=0.0).double()


def made(recipe: sc.Recipe) -> Run:
    """A run of the tiny problem, trained to its end but not pruned yet."""
    setting = Setting(
        training=training(**PLAIN), train=lambda stage: Fine(), seed=SEED,
        example=torch.zeros(2, 4).double(),
    )  # fmt: skip
    run = Run(recipe, fresh(), setting)
    for op in run.ops:
        if isinstance(op, Snapshot):
            snapshot(run, op)
        elif isinstance(op, Train):
            run.place.at = run.ops.index(op)
            train(run, op, save=lambda run: None)
    return run


def cosine(step: int) -> float:
    return (1 + math.cos(math.pi * step / STEPS)) / 2


def loop(model, learned, optimisers, effective, extra=lambda step: 0.0, after=lambda step: None):
    """Train by autograd on the parameters that `effective` makes of the model's own, and `learned`."""
    model.train()
    own = dict(model.named_parameters())
    for step in range(STEPS):
        x, y = next(Fine().epoch(step // 4, step % 4))
        for optimiser, base in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = base * cosine(step)
            optimiser.zero_grad()
        loss = F.cross_entropy(functional_call(model, {**own, **effective(own, step)}, x), y)
        (loss + extra(step)).backward()
        after(step)
        for optimiser, _ in optimisers:
            optimiser.step()
    return learned


def sgd(params, lr=0.05, decay=1e-3):
    return torch.optim.SGD(params, lr, momentum=0.9, weight_decay=decay), lr


def top(score, k):
    """The k largest as 0/1, ties to the lower index, by a stable sort."""
    order = torch.sort(score.flatten(), descending=True, stable=True).indices
    return torch.zeros(score.numel()).double().index_fill_(0, order[:k], 1.0).view(score.shape)


def straight(mask, score):
    """The mask's value with the score's gradient."""
    return mask + score - score.detach()


def agree(found, expected):
    for name, value in expected.items():
        assert torch.allclose(found[name], value.to(found[name]), rtol=1e-5, atol=1e-8), name


def test_edge_popup_is_the_paper_by_autograd():
    run = made(sc.recipe("edge-popup", density=0.4, weight_decay=0.01))
    names = ["0.weight", "4.weight"]
    scores = {}
    for name, inputs in zip(names, (4, 8), strict=True):
        draw = torch.rand(run.model.get_parameter(name).shape,
                          generator=generator(SEED, "gate", "dense", "start", "score", name))  # fmt: skip
        scores[name] = ((2 * draw - 1) / inputs**0.5).double().requires_grad_()
    model = fresh()
    model.load_state_dict({k: v.clone() for k, v in run.store.get("step-0").tensors.items()})
    frozen = {name: p.detach().clone() for name, p in model.named_parameters()}

    def effective(own, step):
        masks = {n: top(s.abs().detach(), shares(22)[n]) for n, s in scores.items()}
        return {n: frozen[n] * straight(masks[n], s.abs()) for n, s in scores.items()}

    loop(model, scores, [sgd(scores.values(), decay=0.01)], effective)
    agree(run.trainer.gated.learned, {f"value/{n}": s.detach() for n, s in scores.items()})
    assert all(torch.equal(p.detach(), frozen[n]) for n, p in run.model.named_parameters())
    for name, inputs in zip(names, (4, 8), strict=True):
        assert torch.allclose(frozen[name].abs(), torch.tensor(math.sqrt(2 / inputs)).double())
        assert frozen[name].sign().unique().tolist() == [-1, 1]
    prune(run, next(op for op in run.ops if isinstance(op, Prune)))
    for name in names:
        assert torch.equal(
            run.masks[name].double(), top(scores[name].detach().abs(), shares(22)[name])
        )


def test_multi_prize_is_the_official_code_by_autograd():
    """α · sign(w) · m forwards; backwards the slope of |s| is that of the mask times |w|."""
    run = made(sc.recipe("multi-prize", density=0.4, weight_decay=0.01))
    names = ["0.weight", "4.weight"]
    model = fresh()
    model.load_state_dict({k: v.clone() for k, v in run.store.get("step-0").tensors.items()})
    frozen = {name: model.get_parameter(name).detach().clone() for name in names}
    scores = {}
    for name, inputs in zip(names, (4, 8), strict=True):
        draw = torch.rand(frozen[name].shape,
                          generator=generator(SEED, "gate", "dense", "start", "score", name))  # fmt: skip
        scores[name] = ((2 * draw - 1) / inputs**0.5).double().requires_grad_()

    def binary(name):
        mask = top(scores[name].abs().detach(), shares(22)[name])
        gain = frozen[name].abs()[mask.bool()].mean()
        through = scores[name].abs() * frozen[name].abs()  # for its gradient alone
        return frozen[name].sign() * (gain * mask + through - through.detach())

    loop(model, scores, [sgd(scores.values(), decay=0.01)],
         lambda own, step: {name: binary(name) for name in names})  # fmt: skip
    agree(run.trainer.gated.learned, {f"value/{n}": s.detach() for n, s in scores.items()})
    for name in names:
        assert torch.equal(run.model.get_parameter(name).detach(), frozen[name])
        assert frozen[name].abs().unique().numel() == frozen[name].numel()  # normal, not signs
    prune(run, next(op for op in run.ops if isinstance(op, Prune)))
    for name in names:
        left = run.model.get_parameter(name).detach()
        assert torch.allclose(left, binary(name).detach(), rtol=1e-12, atol=0)
        assert left.abs().unique().numel() == 2  # α and zero, to the bit


def test_a_binarised_weight_of_zero_stays_zero_and_groups_may_be_empty():
    gate = sc.recipe("multi-prize").gate
    kept = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]]).bool()
    weight = torch.tensor([[0.0, -3.0, 6.0, 9.0], [1.0, 2.0, 3.0, 4.0]])
    meant = torch.tensor([[0.0, -3.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(gate.rewrite(kept, weight), meant)
    assert torch.allclose(gate.grade(kept, weight.square()) * weight, meant)


def cubic(step, density):
    return density + (1 - density) * (1 - min(step, 9) / 9) ** 3


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_movement_is_the_paper_by_autograd(rule):
    run = made(sc.recipe("movement", density=0.3, lr=0.02, rule=rule, classifier=True, **SPAN))
    model, names = fresh(), ["0.weight", "4.weight"]
    scores = {n: torch.zeros_like(model.get_parameter(n), requires_grad=True) for n in names}
    kept = {}

    def effective(own, step):
        total = math.floor(cubic(step, 0.3) * 56 + 0.5)
        kept.update(shares(total) if total < 56 else {"0.weight": 32, "4.weight": 24})
        masks = {n: top(s.detach(), kept[n]) for n, s in scores.items()}
        return {n: own[n] * straight(masks[n], scores[n]) for n in names}

    optimiser = torch.optim.AdamW(scores.values(), 0.02, weight_decay=0)
    if rule == "sgd":
        optimiser = torch.optim.SGD(scores.values(), 0.02)
    loop(model, scores, [sgd(model.parameters()), (optimiser, 0.02)], effective)
    agree(run.trainer.gated.learned, {f"value/{n}": s.detach() for n, s in scores.items()})
    agree(dict(run.model.named_parameters()), dict(model.named_parameters()))


def shares(total):
    """Two layers of 32 and 24 in the same proportion, the larger remainder rounded up."""
    ideal = total * 32 / 56
    first = math.floor(ideal) + (ideal % 1 >= 0.5)
    return {"0.weight": first, "4.weight": total - first}


def test_a_plain_movement_score_sums_up_what_the_paper_says():
    """Without masks s = -lr Σ w ∂L/∂w: only weights whose steps lead away from zero gain."""
    recipe = sc.recipe("movement", density=1.0, lr=0.1, rule="sgd")
    run = made(recipe)
    model = fresh()
    total, optimiser = torch.zeros(8, 4).double(), sgd(model.parameters())
    own = model.get_parameter("0.weight")

    def after(step):
        total.sub_(0.1 * cosine(step) * own.detach() * own.grad)

    loop(model, {}, [optimiser], lambda own, step: {}, after=after)
    agree(run.trainer.gated.learned, {"value/0.weight": total})


def test_soft_movement_is_the_paper_by_autograd():
    run = made(sc.recipe("soft-movement", strength=3.0, lr=0.3, threshold=0.4, begin=0.0, end=0.5,
                         classifier=True, floor=0))  # fmt: skip
    model, names = fresh(), ["0.weight", "4.weight"]
    scores = {n: torch.zeros_like(model.get_parameter(n), requires_grad=True) for n in names}

    def rise(step):
        return 1 - (1 - min(1.0, step / (STEPS - 1) / 0.5)) ** 3

    def effective(own, step):
        masks = {n: (s.detach().sigmoid() > 0.4 * rise(step)).double() for n, s in scores.items()}
        return {n: own[n] * straight(masks[n], scores[n]) for n in names}

    def extra(step):
        return 3.0 * rise(step) * sum(s.sigmoid().mean() for s in scores.values()) / 2

    optimiser = torch.optim.Adam(scores.values(), 0.3)
    loop(model, scores, [sgd(model.parameters()), (optimiser, 0.3)], effective, extra)
    agree(run.trainer.gated.learned, {f"value/{n}": s.detach() for n, s in scores.items()})
    agree(dict(run.model.named_parameters()), dict(model.named_parameters()))
    prune(run, run.ops[-2])
    for name in names:
        expected = scores[name].detach().sigmoid() > 0.4
        assert torch.equal(run.masks[name], expected)
        assert 0 < int(expected.sum()) < expected.numel()


def test_block_movement_sums_the_gradient_over_a_block():
    recipe = sc.recipe("block-movement", density=0.5, height=4, width=2, lr=0.1, **SPAN)
    one = made(recipe).trainer.gated.learned
    assert one["value/0.weight[blocks]"].shape == (2, 2)
    late = sc.recipe("block-movement", density=1.0, height=4, width=2, lr=0.1)
    plain = sc.recipe("movement", density=1.0, lr=0.1, rule="sgd")
    blocks = late.model_copy(update={"gate": plain.gate})
    whole, single = made(blocks).trainer.gated.learned, made(plain).trainer.gated.learned
    expected = single["value/0.weight"].view(2, 4, 2, 2).sum((1, 3))
    assert torch.allclose(whole["value/0.weight[blocks]"], expected, atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_sr_ste_is_the_paper_by_hand(strength):
    """w <- w - lr (g(w m) + λ (1 - m) w), masks two of four, momentum and decay on top."""
    run = made(sc.recipe("sr-ste", strength=strength, classifier=True))
    model, names = fresh(), ["0.weight", "4.weight"]

    def mask(weight):
        runs = weight.detach().abs().view(-1, 4)
        return torch.stack([top(run, 2) for run in runs]).view(weight.shape)

    masks = {}

    def effective(own, step):
        masks.update({n: mask(own[n]) for n in names})
        return {n: own[n] + (own[n] * masks[n] - own[n]).detach() for n in names}

    def after(step):
        for name in names:
            weight = model.get_parameter(name)
            weight.grad += strength * (1 - masks[name]) * weight.detach()

    loop(model, {}, [sgd(model.parameters())], effective, after=after)
    agree(dict(run.model.named_parameters()), dict(model.named_parameters()))
    prune(run, run.ops[-2])
    for name in names:
        assert torch.equal(run.masks[name].double(), mask(model.get_parameter(name)))


def sample(log_alpha, step):
    """The paper's hard concrete distribution, by its formula."""
    u = torch.rand(8, generator=generator(SEED, "gate", "dense", step, "noise", TARGET))
    s = torch.sigmoid((torch.log(u) - torch.log(1 - u) + log_alpha) / (2 / 3))
    return torch.clamp(s * (1.1 - -0.1) + -0.1, 0, 1)


TARGET = "0"


def opened(log_alpha):
    return torch.sigmoid(log_alpha - 2 / 3 * math.log(0.1 / 1.1))


def first_gates():
    rng = generator(SEED, "gate", "dense", "start", "gate", TARGET)
    return (math.log(9) + 0.01 * torch.randn(8, generator=rng)).double().requires_grad_()


def gated_columns(log_alpha):
    return lambda own, step: {"4.weight": own["4.weight"] * sample(log_alpha, step)}


def test_hard_concrete_is_the_paper_by_autograd():
    run = made(sc.recipe("l0", strength=4.0, lr=0.8))
    (target,) = run.targets
    assert target.name == TARGET
    model, log_alpha = fresh(), first_gates()
    adam = torch.optim.Adam([log_alpha], 0.8)
    loop(model, {}, [sgd(model.parameters()), (adam, 0.8)], gated_columns(log_alpha),
         extra=lambda step: 4.0 * opened(log_alpha).mean())  # fmt: skip
    agree(run.trainer.gated.learned, {f"value/{TARGET}": log_alpha.detach()})
    agree(dict(run.model.named_parameters()), dict(model.named_parameters()))
    z = torch.clamp(log_alpha.detach().sigmoid() * 1.2 - 0.1, 0, 1)
    assert 0 < int((z > 0).sum()) < 8, "some gates close, some do not"
    prune(run, run.ops[-2])
    assert torch.equal(run.masks[TARGET], z > 0)
    columns = (model.get_parameter("4.weight") * z).detach()
    assert torch.allclose(run.model.get_parameter("4.weight"), columns, atol=1e-5)
    assert not bool(run.model.get_parameter("0.weight")[z == 0].any())


def test_the_multipliers_climb_as_in_cofi_by_autograd():
    run = made(sc.recipe("l0-target", density=0.5, lr=0.3, warmup=0.5))
    model, log_alpha = fresh(), first_gates()
    multipliers = torch.zeros(2, dtype=torch.double, requires_grad=True)

    def extra(step):
        wanted = 1 - 0.5 * min(1.0, step / (STEPS - 1) / 0.5)
        gap = (1 - opened(log_alpha).mean()) - (1 - wanted)  # sparsities, as in the paper
        return multipliers[0] * gap + multipliers[1] * gap**2

    adam = torch.optim.Adam([log_alpha], 0.3)
    climb = torch.optim.Adam([multipliers], 0.3, maximize=True)
    loop(
        model,
        {},
        [sgd(model.parameters()), (adam, 0.3), (climb, 0.3)],
        gated_columns(log_alpha),
        extra,
    )
    learned = run.trainer.gated.learned
    agree(learned, {f"value/{TARGET}": log_alpha.detach(), "value/#level": multipliers[0].detach(),
                    "value/#curve": multipliers[1].detach()})  # fmt: skip
    prune(run, run.ops[-2])
    assert torch.equal(run.masks[TARGET].double(), top(log_alpha.detach(), 4))


def test_scaling_factors_are_the_papers_proximal_steps():
    """Its equations (10) to (12), with the gradient of the factors by autograd."""
    run = made(sc.recipe("sss", strength=0.42, momentum=0.5, lr=0.2))
    model, a = fresh(), torch.ones(8, dtype=torch.double, requires_grad=True)
    v = torch.zeros(8)

    def after(step):
        lr = 0.2 * cosine(step)
        old = a.detach().clone()
        x = old - lr * a.grad
        z = torch.tensor([math.copysign(max(0.0, abs(i) - lr * 0.42), i) for i in x.tolist()])
        v.copy_(z - old + 0.5 * v)
        a.data = torch.clamp(z + 0.5 * v, min=0).double()
        a.grad = None

    columns = lambda own, step: {"4.weight": own["4.weight"] * a}  # noqa: E731
    loop(model, {}, [sgd(model.parameters())], columns, after=after)
    assert torch.allclose(run.trainer.gated.learned[f"value/{TARGET}"], a.detach(), atol=1e-5)
    assert 0 < int((a > 0).sum()) < 8, "some factors are zero, some are not"
    prune(run, run.ops[-2])
    assert torch.equal(run.masks[TARGET], a.detach() > 0)
    columns = (model.get_parameter("4.weight") * a).detach()
    assert torch.allclose(run.model.get_parameter("4.weight"), columns, atol=1e-4)


def soft(weight, kept, tau):
    """The papers' softmax over w² and t² of one group, t between the kept and the dropped."""
    size = weight.detach().abs()
    t = (size[kept].min() + size[~kept].max()) / 2
    logits = torch.stack([weight**2, (t**2).expand_as(weight)]) / tau
    return torch.softmax(logits, 0)[0]


@pytest.mark.parametrize("across", [True, False])
def test_pdp_is_the_paper_by_autograd(across):
    tau = 0.05
    run = made(sc.recipe("pdp", density=0.25, temperature=tau, begin="0it", end="8it", every="1it",
                         across=across, classifier=True))  # fmt: skip
    model, names, kept = fresh(), ["0.weight", "4.weight"], {}

    def choose(own, step):
        total = math.floor((1 - 0.75 * min(step, 8) / 8) * 56 + 0.5)
        if across:
            joined = torch.cat([own[n].detach().abs().flatten() for n in names])
            return dict(zip(names, top(joined, total).bool().split([32, 24]), strict=True))
        return {n: top(own[n].detach().abs(), k).bool().flatten() for n, k in shares(total).items()}

    def effective(own, step):
        kept.update(choose(own, step))
        flat = {n: own[n].flatten() for n in names}
        m = {n: soft(flat[n], kept[n], tau) if not kept[n].all() else 1.0 for n in names}
        return {n: (flat[n] * m[n]).view(own[n].shape) for n in names}

    loop(model, {}, [sgd(model.parameters())], effective)
    agree(dict(run.model.named_parameters()), dict(model.named_parameters()))
    prune(run, run.ops[-2])
    final = choose(dict(model.named_parameters()), STEPS)
    for name in names:
        assert torch.equal(run.masks[name].flatten(), final[name])
        own = model.get_parameter(name).detach().flatten() * final[name]
        assert torch.allclose(run.model.get_parameter(name).flatten(), own.view(-1))


def test_pdp_of_n_in_m_has_a_threshold_for_every_four_by_autograd():
    tau = 0.05
    run = made(sc.recipe("pdp-nm", temperature=tau, begin="0it", end="1it", every="1it",
                         classifier=True))  # fmt: skip
    model, names = fresh(), ["0.weight", "4.weight"]

    def effective(own, step):
        if step < 1:
            return {}
        out = {}
        for name in names:
            fours = own[name].reshape(-1, 4)
            m = [soft(four, top(four.detach().abs(), 2).bool(), tau) for four in fours]
            out[name] = (fours * torch.stack(m)).view(own[name].shape)
        return out

    loop(model, {}, [sgd(model.parameters())], effective)
    agree(dict(run.model.named_parameters()), dict(model.named_parameters()))


class Killed(Exception):
    """Stands for a process that is gone."""


@pytest.mark.parametrize("method", ["multi-prize", "soft-movement", "l0-target", "sr-ste", "pdp"])
def test_a_killed_run_ends_with_the_same_bits(method, tmp_path):
    """Stopped at every end of an epoch; scores, gates and multipliers are in the checkpoint."""

    def run(folder, stop=None):
        def tell(event):
            if event["kind"] == "epoch" and event["epoch"] == stop:
                raise Killed

        setting = Setting(
            training=training(**PLAIN), train=lambda stage: Points(), seed=SEED,
            example=torch.zeros(2, 4), checkpoint_seconds=0.0,
        )  # fmt: skip
        return execute(
            Run(sc.recipe(method), net(), setting, FolderStore(tmp_path / folder), progress=tell)
        )

    whole = run("whole")
    for stop in (0, 1):
        with pytest.raises(Killed):
            run("killed", stop)
    again = run("killed")
    assert again.points[-1]["layers"] == whole.points[-1]["layers"]
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.model.state_dict().items())
    assert all(torch.equal(mask, whole.masks[name]) for name, mask in again.masks.items())


class TestRefusals:
    def test_no_training(self):
        with pytest.raises(PlanError, match="while the network trains"):
            sc.prune(net(), "movement", example=torch.zeros(2, 4))

    def test_a_trained_network_where_weights_are_drawn(self):
        with pytest.raises(PlanError, match="came trained"):
            sc.prune(net(), "edge-popup", data=(torch.zeros(4, 4), torch.zeros(4).long()),
                     training=training(), trained=True)  # fmt: skip

    def test_scores_that_nobody_learns_and_scores_that_nobody_reads(self):
        recipe = dict(sc.recipe("movement"))
        with pytest.raises(PlanError, match="name a `gate`"):
            sc.Recipe(**{**recipe, "gate": None})
        with pytest.raises(PlanError, match="'magnitude' would ignore"):
            sc.Recipe(**{**recipe, "criterion": "magnitude"})
        with pytest.raises(PlanError, match="nothing has been learned"):
            sc.score(net(), "learned")

    def test_what_cannot_go_with_a_gate(self):
        recipe = dict(sc.recipe("movement"))
        for changed in ({"revive": True}, {"connected": True}, {"walk": "blocks"}):
            with pytest.raises(PlanError, match="chooses anew at every training step"):
                sc.Recipe(**{**recipe, **changed})

    @pytest.mark.parametrize("method", ["pdp", "multi-prize"])
    def test_units_larger_than_a_weight(self, method):
        rows = sc.Recipe(**{**dict(sc.recipe(method)), "structure": "rows"})
        with pytest.raises(PlanError, match="goes by single weights"):
            made(rows)

    def test_a_schedule_that_begins_when_all_is_over(self):
        late = sc.Recipe(
            **{**dict(sc.recipe("sr-ste")), "schedule": {"name": "one-shot", "density": 0.5}}
        )
        with pytest.raises(PlanError, match="at=0it"):
            made(late)

    @pytest.mark.parametrize("changed", [{"ema": 0.9}, {"precision": "fp16"}])
    def test_averages_and_loss_scales(self, changed):
        data = (torch.zeros(12, 4), torch.zeros(12).long())
        with pytest.raises(PlanError, match="gate 'movement'"):
            sc.prune(net(), "movement", data=data, training=training(**changed))

    def test_a_budget_that_the_gate_would_not_look_at(self):
        for method in ("l0", "l0-target", "sss"):
            with pytest.raises(PlanError, match="settles how much stays"):
                sc.recipe(method, budget={"macs": "50%"})

    def test_units_that_nothing_reads(self):
        recipe = {**dict(sc.recipe("l0")), "structure": "rows"}
        with pytest.raises(PlanError, match="structure 'coupled'"):
            sc.plan(net(), sc.Recipe(**recipe), example=torch.zeros(2, 4))
