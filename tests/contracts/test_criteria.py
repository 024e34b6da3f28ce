"""What every registered criterion must do; a new one is tested by being registered."""

import inspect
import re
import typing

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur.criteria  # noqa: F401  (fills the registry)
from secateur.core.axes import Criterion, ElementCriterion
from secateur.core.component import from_dict
from secateur.core.layout import along, whole
from secateur.core.types import Member, Target, element_masks
from secateur.engine.collect import collect
from secateur.engine.view import ModelView

EXAMPLE = torch.zeros(1, 3)
RANDOM = ("random",)
"""Criteria whose scores do not follow the weights."""
DRAWN = (*RANDOM, "obd", "leading", "learned", "averaged")
"""Criteria that draw random numbers by the position of a weight, or go by the position alone."""
FLAT = ("hrank",)
"""Criteria that need images: the maps of the network here are of one by one, and alike."""


def variants():
    """Every criterion, once for each value of each of its choices."""
    for name in Criterion.registry:
        cls = Criterion.registry.get(name)
        yield cls()
        for field, info in cls.model_fields.items():
            if field != "pool" and typing.get_origin(info.annotation) is typing.Literal:
                yield from (cls(**{field: choice}) for choice in typing.get_args(info.annotation))


SMALL = ("any", "coupled")
"""What the network here has; criteria of whole layers and of experts are tested beside networks of those."""
CRITERIA = [c for c in dict.fromkeys(variants()) if c.speaks in SMALL and not c.at_run_time]
every = pytest.mark.parametrize("criterion", CRITERIA, ids=str)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)

    def forward(self, x):
        return self.b(torch.tanh(self.norm(self.a(x))))


class Spy(ModelView):
    """A view that writes down which statistics were read."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.read = set()

    def stat(self, name, param):
        self.read.add(name)
        return super().stat(name, param)


def make(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    net = Net().to(dtype)
    batches = [(torch.randn(8, 3).to(dtype), torch.randint(0, 4, (8,))) for _ in range(2)]
    initial = {n: p.detach() + 0.3 * torch.randn_like(p) for n, p in net.named_parameters()}
    nn.init.uniform_(net.norm.weight, 0.5, 1.5)  # as training leaves it
    return net, batches, initial


def member(net, name, layout):
    return Member(name, layout(tuple(net.get_parameter(name).shape)))


def elements(net):
    names = ("a.weight", "b.weight")
    shapes = {n: tuple(net.get_parameter(n).shape) for n in names}
    return tuple(Target(n, "weights", shapes[n], (member(net, n, whole),)) for n in names)


def rows(net):
    sizes = {"a": 5, "b": 4}
    return tuple(
        Target(f"{n}[rows]", "rows", (size,), tuple(
            member(net, f"{n}.{part}", lambda shape: along(shape, 0)) for part in ("weight", "bias")
        ))
        for n, size in sizes.items()
    )  # fmt: skip


def hidden(net):
    """One target of whole neurons: what writes them, their norm, and what reads them."""
    written = ("a.weight", "a.bias", "norm.weight", "norm.bias")
    roles = {"norm.weight": "scale", "norm.bias": "shift"}
    members = [
        Member(name, along((5, 3) if name == "a.weight" else (5,), 0), role=roles.get(name, ""))
        for name in written
    ]
    members.append(Member("b.weight", along((4, 5), 1), reads=1))
    return (Target("hidden", "neurons", (5,), tuple(members), layer="a"),)


UNITS = {"any": [elements, rows], "coupled": [hidden]}
"""What a criterion speaks of -> the targets it is tried on."""
spoken = pytest.mark.parametrize(
    ("criterion", "targets"),
    [(c, t) for c in CRITERIA for t in UNITS[c.speaks]],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)


def view_of(criterion, net, batches, initial, targets, masks=None):
    stats = collect(
        net, criterion.required(), targets, batches,
        lambda m, b: F.cross_entropy(m(b[0]), b[1]), example=EXAMPLE, initial=initial,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(4)
    learned = {t.name: torch.randn(t.shape, generator=rng).to(net.a.weight.dtype) for t in targets}
    return Spy(net, targets, masks, stats, seed=3, learned=learned)


def score_all(criterion, net, batches, initial, targets=None, masks=None):
    targets = targets or UNITS[criterion.speaks][0]
    view = view_of(criterion, net, batches, initial, targets(net), masks)
    return {t.name: criterion.score(view, t) for t in view.targets}


@spoken
def test_a_finite_float_for_every_unit(criterion, targets):
    net, batches, initial = make()
    found = score_all(criterion, net, batches, initial, targets)
    for target in targets(net):
        score = found[target.name]
        assert tuple(score.shape) == target.shape
        assert score.is_floating_point()
        assert not score.requires_grad
        assert bool(torch.isfinite(score).all())
        assert len(score.unique()) > 1 or criterion.name in FLAT


@every
def test_the_same_twice(criterion):
    net, batches, initial = make()
    first, second = (score_all(criterion, net, batches, initial) for _ in range(2))
    for name in first:
        assert torch.equal(first[name], second[name])


@every
def test_the_model_stays_as_it_was(criterion):
    net, batches, initial = make()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    state = torch.get_rng_state()
    score_all(criterion, net, batches, initial)
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(criterion, dtype):
    net, batches, initial = make(dtype=dtype)
    found = score_all(criterion, net, batches, initial)
    for score in found.values():
        assert bool(torch.isfinite(score).all())
        assert score.device == net.a.weight.device
        if dtype == torch.float64 and criterion.name not in RANDOM:
            assert score.dtype == torch.float64


@every
def test_it_reads_the_statistics_it_declares_and_no_others(criterion):
    net, batches, initial = make()
    view = view_of(criterion, net, batches, initial, UNITS[criterion.speaks][0](net))
    for target in view.targets:
        criterion.score(view, target)
    assert view.read == criterion.required()
    plain = {name.partition(":")[0] for name in criterion.required()}
    inner = getattr(criterion, "inner", None)
    assert plain <= set(type(criterion).needs) | (set(inner.needs) if inner else set())


@every
def test_permuting_the_neurons_permutes_the_scores(criterion):
    """Neurons have no order: the scores go with them."""
    if criterion.name in DRAWN:
        pytest.skip("goes by position")
    net, batches, initial = make(dtype=torch.float64)
    plain = score_all(criterion, net, batches, initial)
    order = torch.tensor([3, 0, 4, 1, 2])
    for tensors in (dict(net.named_parameters()), dict(net.named_buffers()), initial):
        for name, t in tensors.items():
            if name.startswith(("a.", "norm.")) and t.dim():
                t.data.copy_(t.data[order].clone())
            elif name == "b.weight":
                t.data.copy_(t.data[:, order].clone())
    moved = score_all(criterion, net, batches, initial)
    if criterion.speaks == "coupled":
        assert torch.allclose(moved["hidden"], plain["hidden"][order], rtol=1e-8, atol=1e-12)
        return
    assert torch.allclose(moved["a.weight"], plain["a.weight"][order], rtol=1e-8, atol=0)
    assert torch.allclose(moved["b.weight"], plain["b.weight"][:, order], rtol=1e-8, atol=0)


@every
def test_pruned_weights_leave_finite_scores(criterion):
    net, batches, initial = make()
    targets = UNITS[criterion.speaks][0](net)
    masks = {t.name: torch.rand(t.shape) > 0.5 for t in targets}
    masks[targets[-1].name][:] = False
    shapes = {name: p.shape for name, p in net.named_parameters()}
    for name, mask in element_masks(targets, masks, shapes).items():
        net.get_parameter(name).data.mul_(mask)
    found = score_all(criterion, net, batches, initial, masks=masks)
    assert all(bool(torch.isfinite(score).all()) for score in found.values())


@every
def test_it_round_trips_and_can_be_hashed(criterion):
    again = from_dict(Criterion, criterion.to_dict())
    assert again == criterion
    assert hash(again) == hash(criterion)


@pytest.mark.parametrize("name", Criterion.registry)
def test_its_card(name):
    """One line, an equation with `=` or `~`, shapes, and the paper (random and such have none)."""
    text = inspect.getdoc(Criterion.registry.get(name))
    assert re.match(r"\S.*", text.splitlines()[0])
    assert re.search(r"s_\w+ (=|~)", text), "the equation of the score"
    assert "Shapes:" in text
    if name not in RANDOM:
        assert re.search(
            r"Paper: .*\d{4}.*(arXiv \d{4}\.\d{5}|\((ICLR|ICML|NeurIPS) \d{4}\))", text, re.S
        )


@pytest.mark.parametrize("name", Criterion.registry)
def test_its_file_is_short(name):
    lines = inspect.getsource(inspect.getmodule(Criterion.registry.get(name))).splitlines()
    assert len(lines) < 60, "a criterion is one short file"


POOLS = {
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean(1),
    "max": lambda x: x.max(1).values,
    "norm": lambda x: x.pow(2).sum(1).sqrt(),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "criterion", [c for c in CRITERIA if isinstance(c, ElementCriterion)], ids=str
)
def test_units_pool_the_scores_of_their_elements(criterion, pool):
    net, batches, initial = make()
    criterion = criterion.model_copy(update={"pool": pool})
    view = view_of(criterion, net, batches, initial, rows(net))
    matrix, bias = (criterion.elements(view, f"a.{name}") for name in ("weight", "bias"))
    expected = POOLS[pool](torch.cat([matrix, bias[:, None]], 1))
    score = criterion.score(view, view.targets[0])
    assert torch.allclose(score, expected.to(score), atol=1e-12)
