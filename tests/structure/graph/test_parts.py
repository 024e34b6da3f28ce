"""Networks that cannot be traced whole: what can be traced is, and shrinks; the rest says why it stays."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.structure.graph import ProofError, Trace, TraceError, remove, trace
from secateur.structure.graph.errors import OutOfTime
from tests.structure.graph.zoo.table import make


class Block(nn.Module):
    """A residual pair of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).relu())


class ByNumpy(Block):
    """Leaves torch between its layers."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.from_numpy(self.a(x).detach().numpy() * 2))


class Branching(nn.Module):
    """Control flow on values between blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
            if x.sum() > 0:
                x = 2 * x
        return self.head(x)


X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


def names(found: Trace | sc.Structures) -> list[str]:
    return [a.name for a in (found.axes if isinstance(found, Trace) else found)]


def seeded(build: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


def test_blocks_are_traced_where_control_flow_depends_on_values() -> None:
    found = sc.trace(seeded(Branching), X)
    assert names(found) == ["blocks.0.a", "blocks.1.a"]
    why = {(f.tensor, f.dim): f.why for f in found.frozen}
    assert "Branching cannot be traced: GuardOnDataDependentSymNode" in why["head.weight", 0]
    assert "test_parts.py" in why["head.weight", 0]
    assert "if x.sum() > 0:" in why["head.weight", 0]
    assert why["blocks.0.b.weight", 0] == "input of a part traced alone"  # that of the residual
    assert "in parts: Branching cannot be traced" in str(found)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_network_traced_in_parts_shrinks(sign: int) -> None:
    model = seeded(Branching)
    shrunk = sc.shrink(model, sign * X, keep={"blocks.0.a": [0, 5], "blocks.1.a": range(7)})
    assert shrunk.record["level"] == "A"
    assert shrunk.record["exact"]
    assert shrunk.record["difference"] < 1e-6
    assert shrunk.model.blocks[0].a.out_features == 2
    assert type(shrunk.model) is Branching
    assert "forward" not in shrunk.model.__dict__
    assert shrunk.model(torch.randn(5, 8)).shape == (5, 2)


def test_the_network_is_left_as_it_was() -> None:
    model = seeded(Branching).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    sc.trace(model, X)
    assert "forward" not in model.__dict__
    assert all(
        m.training and not m._forward_hooks and not m._forward_pre_hooks for m in model.modules()
    )
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_numpy_inside_one_block_leaves_its_neighbours() -> None:
    model = nn.Sequential(Block(), ByNumpy(), Block()).eval()
    found = sc.trace(model, X)
    assert names(found) == ["0.a", "2.a"]
    why = next(f.why for f in found.frozen if f.tensor == "1.a.weight")
    assert why.startswith("ByNumpy '1' cannot be traced: RuntimeError: .numpy()")
    shrunk = sc.shrink(model, X, keep={"0.a": range(4), "2.a": range(3)})
    assert shrunk.record["difference"] < 1e-6


def test_a_number_taken_from_a_tensor_is_no_obstacle() -> None:
    class Scaled(Block):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * x.abs().max().item()

    model = seeded(Scaled)
    found = sc.trace(model, X)
    assert names(found) == ["a"]
    assert not found.trace.untraced
    assert sc.shrink(model, X, keep={"a": [1, 2]}).record["difference"] < 1e-6


def test_what_lies_inside_an_untraceable_block_is_found() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.experts = nn.Linear(8, 2), nn.ModuleList([Block(), Block()])

        def forward(self, x: Tensor) -> Tensor:
            best = self.router(x).sum(0).argmax()
            return self.experts[int(best)](x)

    model = nn.Sequential(Block(), seeded(Routed))
    found = sc.trace(model, X)
    used = int(model[1].router(model[0](X)).sum(0).argmax())
    assert names(found) == ["0.a", f"1.experts.{used}.a"]
    assert any(
        f.tensor == f"1.experts.{1 - used}.a.weight" and "Routed '1'" in f.why for f in found.frozen
    )


def test_one_block_called_on_two_shapes_is_traced_on_both() -> None:
    class Pyramid(Branching):
        def forward(self, x: Tensor) -> Tensor:
            small = self.blocks[0](x[:1, None].repeat(1, 2, 1)).sum(1)
            return super().forward(x) + self.head(small)

    found = trace(seeded(Pyramid), (X,))
    part = found.inference.captured.parts.parts[0]
    assert (part.name, len(part.calls)) == ("blocks.0", 2)
    assert names(found) == ["blocks.0.a", "blocks.1.a"]


def test_tensors_that_something_untraced_reads_stay() -> None:
    class Direct(Branching):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.head(self.blocks[1].b(torch.ones(12)))

    found = trace(seeded(Direct), (X,))
    assert names(found) == ["blocks.0.a"]
    assert any("also called from outside" in f.why for f in found.frozen)

    tied = seeded(Branching)
    tied.tie = nn.Linear(8, 12)
    tied.tie.weight = tied.blocks[1].a.weight
    assert names(trace(tied, (X,))) == ["blocks.0.a"]


def test_a_weight_read_behind_the_back_of_its_module_is_caught() -> None:
    class Peeking(Branching):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.blocks[1].a.weight.sigmoid().sum()

    model = seeded(Peeking)
    found = trace(model, (X,))
    (first, second) = found.axes
    assert remove(found, model, {first: [0, 1]}, (X,)).level == "A"
    with pytest.raises(ProofError, match="some forward\\(\\) that is not traced reads inside"):
        remove(found, model, {second: [0, 1]}, (X,))


class Guarded(nn.Module):
    """A network of the zoo behind control flow on values."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net, (self.args, _) = make(name)

    def forward(self, *args: Tensor) -> Tensor:
        out = self.net(*args)
        return out if out.sum() > 0 else -out


@pytest.mark.parametrize(("name", "level"), [("einsum", "A"), ("fused_decoder", "C")])
def test_parts_need_the_levels_they_need(name: str, level: str) -> None:
    model = Guarded(name).eval()
    whole = trace(model.net, model.args)
    found = trace(model, model.args)
    assert [a.units for a in found.axes] == [a.units for a in whole.axes]
    plan = {a: range(a.units // 2) for a in found.axes if a.exact}
    made = remove(found, model, plan, model.args)
    assert made.level == level
    made.module.train()(*model.args).square().mean().backward()
    assert all(p.grad is not None for p in made.module.parameters() if p.requires_grad)


def test_the_whole_graph_is_no_answer_for_parts() -> None:
    model = Guarded("fused_decoder").eval()
    found = trace(model, model.args)
    plan = {a: range(a.units // 2) for a in found.axes if a.exact}
    with pytest.raises(ProofError, match="parts of the network only"):
        remove(found, model, plan, model.args, levels="AD")


def test_outputs_cannot_be_chosen_of_parts() -> None:
    with pytest.raises(TraceError, match="cannot be chosen of a network that is traced in parts"):
        sc.trace(seeded(Branching), X, outputs=0)
    assert names(sc.trace(seeded(Branching), X, outputs="*")) == names(
        sc.trace(seeded(Branching), X)
    )


def test_nothing_that_can_be_traced_is_an_error_with_a_remedy() -> None:
    class Bare(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(TraceError, match=r"nor can any of its submodules. Remedy"):
        trace(Bare(), (X,))


class Endless(nn.Module):
    """A loop that is far too long to be traced, though it ends."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(200_000):
            x = x + 1
        return x


def test_time_is_bounded() -> None:
    begin = time.monotonic()
    with pytest.raises(OutOfTime, match=r"longer than 0.5 seconds. Remedy"):
        sc.trace(nn.Sequential(Block(), Endless()), X, seconds=0.5)
    assert time.monotonic() - begin < 10
    assert torch.is_grad_enabled()
