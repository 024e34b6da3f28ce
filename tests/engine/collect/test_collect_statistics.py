"""What the collector measures: by hand, in how many passes, and what it refuses."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur.core.errors import DataError, NumberError, PlanError
from secateur.core.layout import along, whole
from secateur.core.types import Member, Target
from secateur.engine.collect import collect, names


class Counting(list):
    """A list of batches that counts how often it is read."""

    reads = 0

    def __iter__(self):
        self.reads += 1
        return super().__iter__()


def line(weight: list[float]) -> nn.Linear:
    net = nn.Linear(len(weight), 1, bias=False)
    net.weight.data = torch.tensor([weight], dtype=torch.float32)
    return net


def half_square(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """L = mean over the batch of (w·x)²/2, so dL/dw = mean of (w·x) x."""
    return model(x).square().mean() / 2


# w = (1, 2): x = (1, 0) has gradient (1, 0); x = (0, -1) has (0, 2); x = (1, -1) has (-1, 1)
BATCHES = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -1.0]]), torch.tensor([[1.0, -1.0]])]


def test_first_order_statistics_by_hand():
    asked = ["gradient", "gradient_abs", "gradient_squared"]
    found = collect(line([1, 2]), asked, ["weight"], BATCHES, half_square)
    assert torch.allclose(found["gradient"]["weight"], torch.tensor([[0.0, 1.0]]))
    assert torch.allclose(found["gradient_abs"]["weight"], torch.tensor([[2 / 3, 1.0]]))
    assert torch.allclose(found["gradient_squared"]["weight"], torch.tensor([[2 / 3, 5 / 3]]))


def test_squares_are_taken_per_batch_not_per_sample():
    joined = [torch.cat(BATCHES)]
    found = collect(line([1, 2]), ["gradient_squared"], ["weight"], joined, half_square)
    assert torch.allclose(found["gradient_squared"]["weight"], torch.tensor([[0.0, 1.0]]))


def test_hessian_gradient_by_hand():
    # L = (w·x)²/2 over x = (1, 1) and (0, 2): H = ([[1, 1], [1, 1]] + [[0, 0], [0, 4]]) / 2
    batches = [torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 2.0]])]
    found = collect(line([1, 2]), ["hessian_gradient"], ["weight"], batches, half_square)
    h = torch.tensor([[0.5, 0.5], [0.5, 2.5]])
    g = h @ torch.tensor([1.0, 2.0])
    assert torch.allclose(found["hessian_gradient"]["weight"], (h @ g)[None])


def test_hessian_gradient_of_masked_weights_leaves_them_out_of_g():
    batches = [torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 2.0]])]
    masks = {"weight": torch.tensor([[True, False]])}
    found = collect(
        line([1, 2]), ["hessian_gradient"], ["weight"], batches, half_square, masks=masks
    )
    h = torch.tensor([[0.5, 0.5], [0.5, 2.5]])
    g = (h @ torch.tensor([1.0, 0.0])) * torch.tensor([1.0, 0.0])
    assert torch.allclose(found["hessian_gradient"]["weight"], (h @ g)[None])


def test_hessian_gradient_matches_finite_differences():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    batches = [(torch.randn(5, 3).double(), torch.randint(0, 3, (5,))) for _ in range(3)]
    params = ["0.weight", "2.weight"]
    t = 4.0

    def loss(model, batch, cool=1.0):
        return F.cross_entropy(model(batch[0]) / cool, batch[1])

    def gradient(shift):
        values = {n: p.detach().clone() for n, p in net.named_parameters()}
        for name in params:
            values[name] = (values[name] + shift[name]).requires_grad_()
        total = sum(
            F.cross_entropy(torch.func.functional_call(net, values, x) / t, y) for x, y in batches
        )
        grads = torch.autograd.grad(total / len(batches), [values[n] for n in params])
        return dict(zip(params, grads, strict=True))

    g = gradient(dict.fromkeys(params, 0.0))
    eps = 1e-5
    up = gradient({n: eps * g[n] for n in params})
    down = gradient({n: -eps * g[n] for n in params})
    found = collect(net, [f"hessian_gradient:{t:g}"], params, batches, loss)
    for name in params:
        expected = (up[name] - down[name]) / (2 * eps)
        got = found[f"hessian_gradient:{t:g}"][name]
        assert torch.allclose(got, expected, rtol=1e-5, atol=1e-10)
        assert got.abs().max() > 1e-4


def test_temperature_divides_the_logits():
    torch.manual_seed(0)
    net = nn.Linear(3, 4)
    batches = [(torch.randn(5, 3), torch.randint(0, 4, (5,)))]
    cool = collect(
        net,
        ["hessian_gradient:7"],
        ["weight"],
        batches,
        lambda m, b: F.cross_entropy(m(b[0]), b[1]),
    )
    plain = collect(
        net, ["hessian_gradient"], ["weight"], batches,
        lambda m, b: F.cross_entropy(m(b[0]) / 7, b[1]),
    )  # fmt: skip
    got = cool["hessian_gradient:7"]["weight"]
    assert torch.allclose(got, plain["hessian_gradient"]["weight"], rtol=1e-4)


def test_one_loop_serves_all_first_order_statistics():
    data = Counting(BATCHES)
    asked = ["gradient", "gradient_abs", "gradient_squared"]
    collect(line([1, 2]), asked, ["weight"], data, half_square)
    assert data.reads == 1


def test_hessian_gradient_shares_the_first_loop():
    data = Counting(BATCHES)
    collect(line([1, 2]), ["gradient", "hessian_gradient"], ["weight"], data, half_square)
    assert data.reads == 2


def test_data_free_statistics_read_no_batch():
    data = Counting(BATCHES)
    asked = ["synaptic_flow", "initial"]
    collect(
        line([1, 2]), asked, ["weight"], data, half_square, example=torch.zeros(1, 2),
        initial={"weight": torch.ones(1, 2)},
    )  # fmt: skip
    assert data.reads == 0


def test_both_loops_of_a_shuffling_loader_see_the_same_batches():
    seen = []

    def loss(model, x):
        seen.append(x.flatten().tolist())
        return half_square(model, x)

    loader = torch.utils.data.DataLoader(torch.randn(12, 2), batch_size=3, shuffle=True)
    collect(line([1, 2]), ["hessian_gradient"], ["weight"], loader, loss, seed=3)
    assert len(seen) == 8
    assert seen[:4] == seen[4:]
    seen.clear()
    collect(line([1, 2]), ["gradient"], ["weight"], loader, loss, seed=4)
    first = list(seen)
    seen.clear()
    collect(line([1, 2]), ["gradient"], ["weight"], loader, loss, seed=5)
    assert first != seen


def test_low_precision_gradients_are_summed_in_float32():
    net = line([1.0]).bfloat16()
    batches = [torch.tensor([[1.0]], dtype=torch.bfloat16)] * 300 + [
        torch.tensor([[0.0]], dtype=torch.bfloat16)
    ]
    found = collect(net, ["gradient"], ["weight"], batches, lambda m, x: m(x).sum())
    assert found["gradient"]["weight"].dtype == torch.float32
    assert torch.allclose(found["gradient"]["weight"], torch.tensor([[300 / 301]]))


def test_targets_parameters_and_buffers_of_targets():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    target = Target(
        "0", "channels", (2,),
        (Member("0.weight", along((2, 2), 0)), Member("1.running_mean", whole((2,)))),
    )  # fmt: skip
    batches = [torch.randn(4, 2)]
    found = collect(net, ["gradient"], [target, "1.weight"], batches, lambda m, x: m(x).sum())
    assert sorted(found["gradient"]) == ["0.weight", "1.weight"]


def test_frozen_and_unused_parameters():
    net = nn.ModuleDict({"a": line([1, 2]), "b": line([3, 4])})
    net.a.weight.requires_grad_(False)
    found = collect(
        net, ["gradient"], ["a.weight", "b.weight"], BATCHES, lambda m, x: half_square(m["a"], x)
    )
    assert torch.allclose(found["gradient"]["a.weight"], torch.tensor([[0.0, 1.0]]))
    assert torch.equal(found["gradient"]["b.weight"], torch.zeros(1, 2))


def test_masks_zero_weights_but_give_their_gradient():
    masks = {"weight": torch.tensor([[True, False]])}
    found = collect(line([1, 2]), ["gradient"], ["weight"], BATCHES, half_square, masks=masks)
    # w = (1, 0): (1, 0), (0, 0) and (1, -1)
    assert torch.allclose(found["gradient"]["weight"], torch.tensor([[2 / 3, -1 / 3]]))


def test_suspended_is_entered_around_the_loops():
    net = line([1, 2])
    live = {"on": True}
    net.weight.register_hook(lambda g: g * 0 if live["on"] else g)

    @contextmanager
    def suspended():
        live["on"] = False
        yield
        live["on"] = True

    dead = collect(net, ["gradient"], ["weight"], BATCHES, half_square)["gradient"]["weight"]
    found = collect(net, ["gradient"], ["weight"], BATCHES, half_square, suspended=suspended())
    assert not dead.any()
    assert found["gradient"]["weight"].any()
    assert live["on"]


def test_norms_use_the_batch_or_the_running_statistics_and_dropout_is_off():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2), nn.Dropout(0.9))
    x = torch.randn(16, 2)
    weight = net[0].weight.detach()
    loss = lambda m, x: m(x).pow(3).sum()  # noqa: E731

    def expected(training):
        w = weight.clone().requires_grad_()
        y = F.batch_norm(x @ w.T, torch.zeros(2), torch.ones(2), training=training)
        return torch.autograd.grad(y.pow(3).sum(), w)[0]

    for training in (True, False):
        found = collect(net, ["gradient"], ["0.weight"], [x], loss, batch_statistics=training)
        assert torch.allclose(
            found["gradient"]["0.weight"], expected(training), rtol=1e-3, atol=1e-4
        )


def test_second_derivatives_pass_through_fused_attention():
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = collect(
        net, ["hessian_gradient"], ["linear1.weight", "self_attn.in_proj_weight"],
        [torch.randn(2, 5, 8)], lambda m, x: m(x).pow(3).mean(),
    )["hessian_gradient"]  # fmt: skip
    assert found["self_attn.in_proj_weight"].abs().max() > 0


def test_the_list_of_statistics():
    gathered_here = [
        "gradient", "gradient_abs", "gradient_squared", "hessian_gradient", "initial", "synaptic_flow"
    ]  # fmt: skip
    assert names() == sorted(set(names()))
    assert set(gathered_here) <= set(names())


REFUSED = {
    "an empty loader": ({"batches": []}, DataError, "no batches"),
    "an iterator that was read": ({"batches": iter([])}, DataError, "once only"),
    "no batches": ({"batches": None}, PlanError, "batches="),
    "no loss": ({"loss": None}, PlanError, "loss="),
    "a NaN loss": ({"loss": lambda m, x: m(x).sum() * float("nan")}, NumberError, "batch 1 is nan"),
    "a loss per sample": ({"loss": lambda m, x: m(x)[:, 0]}, DataError, r"shape \(1,\)"),
    "a float loss": ({"loss": lambda m, x: 1.0}, DataError, "float"),
    "a detached loss": ({"loss": lambda m, x: m(x).detach().sum()}, DataError, "detached"),
    "an unknown statistic": ({"asked": ["gradent"]}, PlanError, "did you mean 'gradient'"),
    "an option that is none": ({"asked": ["hessian_gradient:hot"]}, PlanError, "'hot'"),
    "an option where none is taken": ({"asked": ["gradient:2"]}, PlanError, "no option"),
    "a temperature of zero": ({"asked": ["hessian_gradient:0"]}, PlanError, "not positive"),
    "an unknown parameter": ({"of": ["wieght"]}, PlanError, "did you mean 'weight'"),
    "no initial weights": ({"asked": ["initial"]}, PlanError, "initial="),
    "initial weights of another model": (
        {"asked": ["initial"], "initial": {"weight": torch.ones(3, 3)}}, PlanError, "another model",
    ),
    "a temperature without logits": (
        {"asked": ["hessian_gradient:200"], "loss": lambda m, x: F.linear(x, m.weight).square().sum()},
        PlanError, "never calls the model",
    ),
    "masks of another model": ({"masks": {"a": torch.ones(1, 2) > 0}}, PlanError, "parameter 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_line(case):
    changes, error, words = REFUSED[case]
    given = {
        "asked": ["gradient"],
        "of": ["weight"],
        "batches": BATCHES,
        "loss": half_square,
    } | changes
    asked, of = given.pop("asked"), given.pop("of")
    with pytest.raises(error, match=words) as caught:
        collect(line([1, 2]), asked, of, **given)
    assert "\n" not in str(caught.value)


def test_an_infinite_gradient_names_statistic_and_parameter():
    net = line([0.0])
    with pytest.raises(NumberError, match="'gradient' of 'weight'"):
        collect(net, ["gradient"], ["weight"], [torch.ones(1, 1)], lambda m, x: m(x).sum().sqrt())


def test_logits_in_a_dict_need_temperature_one():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = line([1, 2])

        def forward(self, x):
            return {"logits": self.inner(x)}

    def loss(model, x):
        return model(x)["logits"].square().mean()

    with pytest.raises(PlanError, match="use temperature 1"):
        collect(Named(), ["hessian_gradient:200"], ["inner.weight"], BATCHES, loss)
    collect(Named(), ["hessian_gradient:1"], ["inner.weight"], BATCHES, loss)


def test_a_batch_norm_that_gets_one_value_per_channel():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(DataError, match="batch_statistics=False"):
        collect(net, ["gradient"], ["0.weight"], [torch.ones(1, 2)], lambda m, x: m(x).sum())
