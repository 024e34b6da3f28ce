"""A trace is handed on to the same network only, over the tensors that it has by then."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from support_thorough import but
from torch import Tensor, nn

import secateur as sc
from secateur.structure import coupled, remembered
from secateur.structure.graph.op import RULES

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Scaled(nn.Module):
    """Reads plain attributes of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 16), nn.Linear(16, 3)
        self.scale, self.settings = 2.0, {"powers": [1]}
        self.register_buffer("shift", torch.ones(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x).relu() * self.scale
        for power in self.settings["powers"]:
            x = x**power
        return self.down(x * self.shift)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The networks that were traced, one after the other."""
    found: list[nn.Module] = []
    trace = coupled.trace

    def counted(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        found.append(model)
        return trace(model, *args, **kwargs)

    monkeypatch.setattr(coupled, "trace", counted)
    return found


def scaled() -> nn.Module:
    torch.manual_seed(0)
    return Scaled().eval()


KEEP = {"up": range(0, 16, 2)}


def as_if_traced_now(model: nn.Module, x: Tensor, keep: Any = KEEP) -> nn.Module:
    """The smaller network from a trace of its own."""
    return sc.shrink(copy.deepcopy(model), x, keep=keep).model


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and torch.equal(p, q) for (n, p), (m, q) in pairs)


def test_what_was_traced_is_not_traced_again(traced: list[nn.Module]) -> None:
    model = scaled()
    sc.trace(model, X)
    small = sc.shrink(model, torch.randn(4, 6), keep=KEEP)
    assert len(traced) == 1
    assert same(small.model, as_if_traced_now(model, X))
    assert len(traced) == 2  # a copy has no trace


def test_weights_trained_in_between_are_those_that_are_cut(traced: list[nn.Module]) -> None:
    model = scaled()
    sc.trace(model, X)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(X).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    model.shift.mul_(3.0)
    small = sc.shrink(model, X, keep=KEEP)
    assert len(traced) == 1
    assert torch.equal(small.model.up.weight, model.up.weight[::2])
    assert same(small.model, as_if_traced_now(model, X))
    assert small.record["difference"] < 1e-5


def test_pruning_hands_its_trace_on(traced: list[nn.Module]) -> None:
    result = sc.prune(scaled(), "group-norm", density=0.5, example=X)
    small = sc.shrink(result, X)
    assert len(traced) == 1
    assert small.record["exact"]
    with torch.no_grad():
        assert torch.allclose(small.model(X), result.model(X), atol=1e-5)


def double(model: nn.Module) -> Tensor:
    model.double()
    return X.double()


def other_example(model: nn.Module) -> Tensor:
    return torch.randn(7, 6)


def other_dtype(model: nn.Module) -> Tensor:
    return model.up.weight.new_ones(4, 6).requires_grad_()


def number(model: nn.Module) -> Tensor:
    model.scale = 3.0
    return X


def of_other_type(model: nn.Module) -> Tensor:
    model.scale = 2
    return X


def inside_a_dict(model: nn.Module) -> Tensor:
    model.settings["powers"].append(2)
    return X


def new_attribute(model: nn.Module) -> Tensor:
    model.more = 1
    return X


def training(model: nn.Module) -> Tensor:
    model.down.train()
    return X


def hook(model: nn.Module) -> Tensor:
    model.up.register_forward_hook(lambda module, given, output: 2 * output)
    return X


def frozen(model: nn.Module) -> Tensor:
    model.up.weight.requires_grad_(False)
    return X


def own_forward(model: nn.Module) -> Tensor:
    model.forward = lambda x: model.down(model.up(x))
    return X


def other_module(model: nn.Module) -> Tensor:
    model.down = nn.Linear(16, 3, bias=False)
    return X


def tied(model: nn.Module) -> Tensor:
    model.shift = model.up.bias.detach()
    return X


def opaque(model: nn.Module) -> Tensor:
    model.stream = torch.Generator()
    return X


CHANGES = [
    double, other_example, other_dtype, number, of_other_type, inside_a_dict, new_attribute, training,
    hook, frozen, own_forward, other_module, tied, opaque,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_may_be_followed_otherwise_is_traced_again(
    change: Any, traced: list[nn.Module]
) -> None:
    model = scaled()
    sc.trace(model, X)
    x = change(model)
    known = remembered.recalled(model, model, (x,), {}, None)
    assert known is None


def test_a_changed_number_is_in_what_comes_out(traced: list[nn.Module]) -> None:
    model = scaled()
    sc.trace(model, X)
    model.scale = -1.0
    small = sc.shrink(model, X, keep=KEEP)
    assert len(traced) == 2
    assert small.model.scale == -1.0
    assert small.record["difference"] < 1e-5


def test_the_code_of_a_class_and_its_numbers_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model = scaled()
    sc.trace(model, X)
    assert remembered.recalled(model, model, (X,), {}, None) is not None
    with monkeypatch.context() as patched:
        patched.setattr(Scaled, "offset", 1, raising=False)
        assert remembered.recalled(model, model, (X,), {}, None) is None
    with monkeypatch.context() as patched:
        patched.setattr(Scaled, "forward", lambda self, x: self.down(self.up(x)))
        assert remembered.recalled(model, model, (X,), {}, None) is None
    assert remembered.recalled(model, model, (X,), {}, None) is not None


def test_other_outputs_rules_and_settings_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model = scaled()
    sc.trace(model, X)
    assert remembered.recalled(model, model, (X,), {}, ("0",)) is None
    assert remembered.recalled(model, model, (), {"x": X}, None) is None
    torch.set_default_dtype(torch.float64)
    try:
        assert remembered.recalled(model, model, (X,), {}, None) is None
    finally:
        torch.set_default_dtype(torch.float32)
    monkeypatch.setitem(RULES, "demo::never", RULES["linear"])
    assert remembered.recalled(model, model, (X,), {}, None) is None


def test_a_network_that_changes_as_it_runs_is_not_remembered() -> None:
    class Counting(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            self.scale += 1
            return super().forward(x)

    model = Counting()
    sc.trace(model, X)
    model.scale = 2.0  # as before the trace, which saw it grow
    assert remembered.recalled(model, model, (X,), {}, None) is None


def test_the_code_that_runs_is_the_last_word(
    monkeypatch: pytest.MonkeyPatch, traced: list[nn.Module]
) -> None:
    """Were a change overlooked, the delivered network would differ from the graph that is out of date."""
    monkeypatch.setattr(remembered, "likeness", lambda *_: 0)
    model = scaled()
    sc.trace(model, X)
    model.scale = -1.0
    small = sc.shrink(model, X, keep=KEEP)
    assert len(traced) == 2
    assert small.record["level"] == "A"
    assert small.record["difference"] < 1e-5


def test_nothing_keeps_the_network_alive() -> None:
    model = scaled()
    sc.trace(model, X)
    key = id(model)
    refs = [weakref.ref(t) for t in (model, *model.parameters(), *model.buffers())]
    assert key in remembered._KNOWN
    del model
    gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)
    assert key not in remembered._KNOWN


def test_what_is_remembered_holds_no_weights() -> None:
    model = scaled()
    sc.trace(model, X)
    known = remembered._KNOWN[id(model)][1]
    refs = [weakref.ref(t) for t in model.parameters()]
    remembered.forget(model)
    del model
    gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)
    assert set(known.names) == {"up.weight", "up.bias", "shift", "down.weight", "down.bias"}


@pytest.mark.parametrize("name", but(["swin", "gpt2"], ["resnet", "llama", "swin", "gpt2"]))
def test_networks_of_other_people_hand_their_trace_on(name: str, traced: list[nn.Module]) -> None:
    from tests.structure.graph.zoo.table import make

    model, (args, kwargs) = make(name)
    example = kwargs or args
    found = sc.trace(model, example)
    keep = {a.name: range(max(1, a.units // 2)) for a in found if a.exact and a.default}
    small = sc.shrink(model, example, keep=keep)
    assert len(traced) == 1
    assert same(small.model, as_if_traced_now(model, example, keep))


def weightless() -> nn.Module:
    with torch.device("meta"):
        return Scaled().eval()


def test_a_network_without_weights_is_traced_once_however_often_it_is_built(
    traced: list[nn.Module],
) -> None:
    x = torch.empty(4, 6, device="meta")
    remembered._WEIGHTLESS.clear()
    for _ in range(2):
        model = weightless()
        found = sc.trace(model, x)
        held = found.trace.inference.captured.tensors
        assert all(held[name] is p for name, p in model.named_parameters())
    assert len(traced) == 1
    other = weightless()
    other.scale = 3.0
    sc.trace(other, x)
    sc.trace(weightless(), torch.empty(5, 6, device="meta"))
    sc.trace(weightless(), x, outputs="0")
    sc.trace(scaled(), X)
    sc.trace(scaled(), X)  # values may decide the way of a network that has some
    assert len(traced) == 6
