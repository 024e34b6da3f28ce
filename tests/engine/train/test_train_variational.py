"""Variational channels held against autograd, a library's KL, and the integral that KL is."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from test_train_gated import PLAIN, SEED, agree, fresh, loop, made, sgd
from torch import nn
from torch.distributions import Normal, kl_divergence
from train_fakes import Points, net, training

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.layout import along
from secateur.core.random import generator
from secateur.core.training import Moment
from secateur.core.types import Member, Target
from secateur.engine.execute import execute
from secateur.engine.program import Prune
from secateur.engine.pruning import prune
from secateur.engine.run import Run, Setting
from secateur.engine.store import FolderStore
from secateur.gates import Variational

OPTIONS = {"kinds": ("neurons",), "strength": 3.0, "lr": 0.1, "spread": 0.3}


def epsilon(step):
    return torch.randn(8, generator=generator(SEED, "gate", "dense", step, "noise", "0")).double()


def test_it_is_the_papers_norm_by_autograd():
    """γ (x̂ + β̃) with γ sampled, KL by a library's formula: weights, means and deviations agree."""
    run = made(sc.recipe("variational-channels", **OPTIONS))
    (target,) = run.targets
    model = fresh()
    mean = torch.ones(8, dtype=torch.double, requires_grad=True)
    spread = torch.full((8,), math.log(0.3)).double().requires_grad_()

    def effective(own, step):
        """The paper's norm: one number γ̃ multiplies x̂ + β̃, β̃ = β / γ."""
        gamma, beta = own["1.weight"], own["1.bias"]
        saliency = (mean + spread.exp() * epsilon(step)) * gamma
        return {"1.weight": saliency, "1.bias": saliency * (beta / gamma)}

    def extra(step):
        prior = Normal(
            torch.zeros(8).double(), spread.exp()
        )  # as wide as the posterior, at all times
        return 3.0 * kl_divergence(Normal(mean, spread.exp()), prior).mean()

    adam = torch.optim.Adam([mean, spread], 0.1)
    loop(model, {}, [sgd(model.parameters()), (adam, 0.1)], effective, extra)
    agree(run.trainer.gated.learned, {"value/0": mean.detach(), "value/#spread/0": spread.detach()})
    agree(dict(run.model.named_parameters()), dict(model.named_parameters()))
    gamma = model.get_parameter("1.weight").detach()
    beta = model.get_parameter("1.bias").detach()
    stays = torch.maximum((mean * gamma).abs() / 0.02, (spread.exp() * gamma).abs() / 0.01) > 1
    prune(run, next(op for op in run.ops if isinstance(op, Prune)))
    assert torch.equal(run.masks[target.name], stays)
    for name, value in (("1.weight", gamma), ("1.bias", beta)):
        left = run.model.get_parameter(name).detach()
        assert torch.allclose(left, value * mean.detach() * stays, rtol=1e-5, atol=1e-8), name


@pytest.mark.parametrize(("mean", "sigma"), [(0.7, 0.4), (-0.05, 0.02), (0.0, 1.3)])
def test_the_pull_is_the_slope_of_the_integral(mean, sigma):
    """strength · KL / units by numerical integration, its slopes by differences."""

    def divergence(m, log_s):
        s = math.exp(log_s)

        def log_density(x, centre):
            return -(((x - centre) / s) ** 2) / 2 - math.log(s * math.sqrt(2 * math.pi))

        def inside(x):
            return math.exp(log_density(x, m)) * (log_density(x, m) - log_density(x, 0.0))

        return quad(inside, m - 12 * s, m + 12 * s, epsabs=1e-12, epsrel=1e-12)[0]

    gate, log_sigma = Variational(strength=2.0, spread=0.1), math.log(sigma)
    learned = {"value/t": torch.tensor([mean, 1.0]).double(),
               "value/#spread/t": torch.tensor([log_sigma, 0.0]).double()}  # fmt: skip
    moment = Moment(1e-3, 0.0, lambda *words: generator(0, *words))
    after = gate.learn(learned, {"t": torch.zeros(2).double()}, moment)
    first = {name: float(after[f"first/{name}"][0]) / 0.1 for name in ("t", "#spread/t")}
    h = 1e-4
    by_mean = (divergence(mean + h, log_sigma) - divergence(mean - h, log_sigma)) / (2 * h)
    # the prior is as wide as the posterior, so its width moves with it
    by_log = (divergence(mean, log_sigma + h) - divergence(mean, log_sigma - h)) / (2 * h)
    assert first["t"] == pytest.approx(2.0 / 2 * by_mean, rel=1e-4, abs=1e-4)
    assert first["#spread/t"] == pytest.approx(2.0 / 2 * by_log, rel=1e-4, abs=1e-4)


def test_a_channel_goes_only_if_it_is_zero_for_certain():
    member = Member("1.weight", along((4,), 0), role="scale")
    target = Target("t", "channels", (4,), (member,))
    learned = {
        "value/t": torch.tensor([0.01, 0.01, 1.0, -1.0]),
        "value/#spread/t": torch.tensor([0.005, 0.5, 0.005, 0.5]).log(),
        "scale/t": torch.ones(4),
    }
    assert (Variational().scores(learned, target, 1.0) > 0).tolist() == [False, True, True, True]
    assert (Variational().scores({**learned, "scale/t": torch.full((4,), 0.015)}, target, 1.0) > 0
            ).tolist() == [False, False, False, False]  # fmt: skip


def test_what_goes_leaves_a_smaller_network_that_is_proved():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    x = torch.randn(24, 1, 6, 6)
    y = torch.arange(24) % 3
    short = sc.preset("short").model_copy(update={"length": sc.Time(2, "ep"), "batch_size": 8})
    result = sc.prune(model, "variational-channels", density=0.5, data=(x, y), training=short)
    assert sum(int(mask.sum()) for mask in result.units.values()) == 8
    small = sc.shrink(result, x[:2])
    assert torch.allclose(small.model.eval()(x), result.model.eval()(x), atol=1e-5)
    assert sum(p.numel() for p in small.model.parameters()) < sum(
        p.numel() for p in model.parameters()
    )


def test_structures_without_a_norm_are_refused():
    with pytest.raises(PlanError, match=r"gate 'variational' learns a distribution .* '0'"):
        sc.plan(
            net(norm=False),
            sc.recipe("variational-channels", kinds=("neurons",)),
            example=torch.zeros(2, 4),
        )


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    """Means, deviations and the noise of every step come back with the checkpoint."""

    class Killed(Exception):
        """Stands for a process that is gone."""

    def run(folder, stop=None):
        def tell(event):
            if event["kind"] == "epoch" and event["epoch"] == stop:
                raise Killed

        setting = Setting(
            training=training(**PLAIN), train=lambda stage: Points(), seed=SEED,
            example=torch.zeros(2, 4), checkpoint_seconds=0.0,
        )  # fmt: skip
        store = FolderStore(tmp_path / folder)
        recipe = sc.recipe("variational-channels", **OPTIONS)
        return execute(Run(recipe, net(), setting, store, progress=tell))

    whole = run("whole")
    with pytest.raises(Killed):
        run("killed", 1)
    again = run("killed")
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.model.state_dict().items())
    assert all(torch.equal(mask, whole.masks[name]) for name, mask in again.masks.items())
