"""Criteria of coupled units against their formulas, written out over a small gated network."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur.core.errors import PlanError
from secateur.core.layout import along
from secateur.core.reads import inputs, readers
from secateur.core.types import Member, Target
from secateur.criteria import CoupledTaylor, Fluctuation
from secateur.engine.collect import collect
from secateur.engine.view import ModelView

UNITS, HEADS, WIDTH = 6, 3, 2


class Gated(nn.Module):
    """A gated FFN, whose hidden features are also read as 3 heads of 2."""

    def __init__(self):
        super().__init__()
        self.gate, self.up = nn.Linear(4, UNITS, bias=False), nn.Linear(4, UNITS, bias=False)
        self.down = nn.Linear(UNITS, 5)

    def hidden(self, x):
        return F.silu(self.gate(x)) * self.up(x)

    def forward(self, x):
        return self.down(self.hidden(x))


def loss(net, batch):
    return F.cross_entropy(net(batch[0]), batch[1])


def make():
    torch.manual_seed(0)
    net = Gated().double()
    data = [(torch.randn(1, 4).double(), torch.randint(0, 5, (1,))) for _ in range(7)]
    return net, data


def neurons(net):
    members = [
        Member("gate.weight", along((UNITS, 4), 0)),
        Member("up.weight", along((UNITS, 4), 0)),
        Member("down.weight", along((5, UNITS), 1), reads=1),
    ]
    return Target("gate", "neurons", (UNITS,), tuple(members), layer="gate")


def heads(net):
    from secateur.core.layout import Layout

    members = [
        Member("up.weight", Layout((HEADS, WIDTH, 4), (0, 1, 2), 1)),
        Member("down.weight", Layout((5, HEADS, WIDTH), (1, 0, 2), 1), reads=1),
    ]
    return Target("up", "heads", (HEADS,), tuple(members), layer="up")


def view(net, data, criterion, target, masks=None):
    stats = collect(net, criterion.required(), [target], data, loss)
    return ModelView(net, (target,), masks, stats)


def gradients(net, data):
    """(mean gradient, mean squared gradient) by plain loops over the samples."""
    names = ("gate.weight", "up.weight", "down.weight")
    mean = {n: torch.zeros_like(net.get_parameter(n)) for n in names}
    square = {n: torch.zeros_like(net.get_parameter(n)) for n in names}
    for batch in data:
        net.zero_grad()
        loss(net, batch).backward()
        for n in names:
            g = net.get_parameter(n).grad
            mean[n] += g / len(data)
            square[n] += g * g / len(data)
    net.zero_grad()
    return mean, square


GROUP = {
    "sum": sum,
    "mean": lambda v: sum(v) / len(v),
    "max": max,
    "prod": lambda v: v[0] * v[1] * v[2],
    "last": lambda v: v[2],
}


@pytest.mark.parametrize("order", ["mixed", "first", "second"])
@pytest.mark.parametrize("aggregate", ["element", "vector"])
@pytest.mark.parametrize("group", GROUP)
def test_coupled_taylor_of_neurons(order, aggregate, group):
    net, data = make()
    mean, square = gradients(net, data)
    criterion = CoupledTaylor(order=order, aggregate=aggregate, group=group)
    found = criterion.score(view(net, data, criterion, neurons(net)), neurons(net))
    for u in range(UNITS):
        sizes = []
        for name in ("gate.weight", "up.weight", "down.weight"):
            pick = (slice(None), u) if name == "down.weight" else u
            w = net.get_parameter(name).detach()[pick]
            g, f = mean[name][pick], square[name][pick]
            t = {"first": w * g, "second": w * w * f, "mixed": w * g - w * w * f / 2}[order]
            sizes.append(float(t.abs().sum() if aggregate == "element" else t.sum().abs()))
        assert float(found[u]) == pytest.approx(GROUP[group](sizes), rel=1e-9)


def standard(a):
    return (a - a.mean()) / a.std()


@pytest.mark.parametrize("metric", ["wifv", "wifn", "ifv"])
@pytest.mark.parametrize("kind", [neurons, heads])
def test_fluctuation(metric, kind):
    net, data = make()
    target = kind(net)
    criterion = Fluctuation(metric=metric)
    found = criterion.score(view(net, data, criterion, target), target)
    with torch.no_grad():
        x = net.hidden(torch.cat([x for x, _ in data]))
        w = net.down.weight
        a = {
            "wifv": x.var(0, correction=0) * (w * w).sum(0),
            "ifv": x.var(0, correction=0),
            "wifn": (w.abs() * (x * x).mean(0).sqrt()).mean(0),
        }[metric]
    expected = standard(a) if kind is neurons else standard(a * a).view(HEADS, WIDTH).mean(1)
    assert torch.allclose(found, expected, rtol=1e-8)
    plain = Fluctuation(metric=metric, standardise=False, square_heads=False)
    found = plain.score(view(net, data, plain, target), target)
    assert torch.allclose(found, a if kind is neurons else a.view(HEADS, WIDTH).mean(1))


def test_fluctuation_standardises_over_what_is_still_there():
    net, data = make()
    target = neurons(net)
    masks = {"gate": torch.tensor([True, True, False, True, True, True])}
    criterion, plain = Fluctuation(), Fluctuation(standardise=False)
    raw = plain.score(view(net, data, plain, target, masks), target)
    found = criterion.score(view(net, data, criterion, target, masks), target)
    there = raw[masks["gate"]]
    assert torch.allclose(found, (raw - there.mean()) / there.std())


def test_what_reads_a_unit():
    net, _ = make()
    found = readers(ModelView(net, (heads(net),)), heads(net))
    assert [(name, features.tolist()) for name, features, _ in found] == [
        ("down.weight", [[0, 1], [2, 3], [4, 5]])
    ]
    assert inputs(along((5,), 0), (5,)) is None
    conv = inputs(along((8, 3, 3, 3), 1), (8, 3, 3, 3))
    assert conv is not None
    assert conv.tolist() == [[0], [1], [2]]


def test_units_that_nothing_reads_are_refused():
    net, _ = make()
    rows = Target("gate", "rows", (UNITS,), neurons(net).members[:1], layer="gate")
    with pytest.raises(PlanError, match="no layer reads the units of 'gate'"):
        readers(ModelView(net, (rows,)), rows)
