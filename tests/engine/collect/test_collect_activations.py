"""What flows through layers, against sums over rows written out here."""

import pytest
import torch
from torch import nn

from secateur.core.errors import DataError, PlanError
from secateur.engine.collect import collect
from secateur.engine.collect.observing import OBSERVED, as_rows, observing

NAMES = [
    "input_mean", "input_square", "input_abs_mean", "input_abs_max", "input_active:0.5",
    "input_variance", "input_gram", "output_mean", "output_square",
]  # fmt: skip


def by_hand(x, y):
    """Every statistic of rows x [n, in] and y [n, out], in float64."""
    x, y = x.double(), y.double()
    return {
        "input_mean": x.mean(0),
        "input_square": (x * x).mean(0),
        "input_abs_mean": x.abs().mean(0),
        "input_abs_max": x.abs().max(0).values,
        "input_active:0.5": (x.abs() > 0.5).double().mean(0),
        "input_variance": x.var(0, correction=0),
        "input_gram": x.T @ x / len(x),
        "output_mean": y.mean(0),
        "output_square": (y * y).mean(0),
    }


def check(found, param, x, y):
    for name, expected in by_hand(x, y).items():
        assert torch.allclose(found[name][param].double(), expected, rtol=1e-5, atol=1e-6), name


def test_every_registered_statistic_is_tested_here():
    assert {name.partition(":")[0] for name in NAMES} <= set(OBSERVED)


def test_a_linear_layer_over_batches_of_different_sizes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    data = [(torch.randn(n, 3) + 5, torch.zeros(n, dtype=torch.long)) for n in (5, 2, 7)]
    found = collect(net, NAMES, ["0.weight", "2.weight"], data)
    x = torch.cat([x for x, _ in data])
    with torch.no_grad():
        hidden = net[1](net[0](x))
        check(found, "0.weight", x, net[0](x))
        check(found, "2.weight", hidden, net[2](hidden))


def test_the_variance_of_a_small_signal_on_a_large_mean():
    net = nn.Linear(1, 1)
    x = torch.linspace(-1, 1, 1000)[:, None] + 4096
    batches = list(x.split(10))
    found = collect(net, ["input_variance"], ["weight"], batches)["input_variance"]["weight"]
    assert torch.allclose(found, x.double().var(0, correction=0), rtol=1e-9)


def test_padding_never_counts():
    torch.manual_seed(0)

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 3)
            self.mix = nn.Linear(3, 2)

        def forward(self, input_ids, attention_mask):
            return self.mix(self.table(input_ids))

    net = Reader()
    ids = torch.randint(1, 9, (2, 4))
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    spoilt = ids.clone()
    spoilt[mask == 0] = 0
    net.table.weight.data[0] = 1e6
    batch = {"input_ids": spoilt, "attention_mask": mask}
    found = collect(net, NAMES, ["mix.weight", "table.weight"], [batch])
    with torch.no_grad():
        x = net.table(ids)[mask.bool()]
        check(found, "mix.weight", x, net.mix(x))
    assert "table.weight" not in found["input_mean"]


def test_padding_that_cannot_be_told_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(4, 2)

        def forward(self, x, attention_mask):
            return self.mix(x.transpose(0, 1))

    batch = {"x": torch.randn(2, 3, 4), "attention_mask": torch.ones(2, 3)}
    with pytest.raises(DataError, match="which rows are padding cannot be told"):
        collect(Odd(), ["input_mean"], ["mix.weight"], [batch])


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 7, 7)),
        (nn.Conv2d(3, 4, (3, 2), dilation=2, padding="same"), (2, 3, 8, 8)),
        (nn.Conv2d(3, 4, 3, padding=2, padding_mode="reflect"), (2, 3, 6, 6)),
        (nn.Conv1d(3, 4, 4, stride=3), (2, 3, 11)),
        (nn.Conv3d(2, 4, 2, padding=1), (2, 2, 3, 4, 5)),
    ],
)
def test_windows_times_the_flattened_filter_are_the_convolution(conv, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    rows = as_rows(conv, x, "input")  # [samples * places, in * kernel]
    with torch.no_grad():
        y = conv(x)
        got = rows @ conv.weight.flatten(1).T + conv.bias
    assert torch.allclose(got, y.movedim(1, -1).reshape(-1, y.shape[1]), atol=1e-5)


def test_norms_keep_their_running_statistics_and_are_used_with_them():
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).train()
    net[0].running_mean.fill_(1.0)
    x = torch.randn(4, 3, 5, 5)
    before = net[0].running_mean.clone()
    found = collect(net, ["input_mean"], ["1.weight"], [x])["input_mean"]["1.weight"]
    expected = ((x - 1) / (1 + 1e-5) ** 0.5).double().mean((0, 2, 3))
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(net[0].running_mean, before)
    assert net.training


def test_the_statistics_of_a_block_are_those_of_the_model():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    x = torch.randn(6, 3)
    whole = collect(net, ["input_square"], ["1.weight"], [x])["input_square"]["1.weight"]
    asked = {"input_square": ("input_square", None)}
    with observing(net[1], asked, ["weight"]) as seen, torch.no_grad():
        net[1](net[0](x))
    assert torch.equal(seen.values()["input_square"]["weight"], whole)
    assert not net[1]._forward_pre_hooks


def test_bfloat16_rows_are_summed_in_float32():
    net = nn.Linear(2, 1).bfloat16()
    x = torch.full((3000, 2), 1.0).bfloat16()
    found = collect(net, ["input_gram"], ["weight"], [x])["input_gram"]["weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.ones(2, 2))


def test_layers_that_are_not_called_have_no_values_and_no_data_is_an_error():
    net = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    net.forward = net["used"].forward
    found = collect(
        nn.Sequential(nn.Linear(2, 2)), ["input_mean"], ["0.weight"], [torch.ones(1, 2)]
    )
    assert found["input_mean"]["0.weight"].tolist() == [1.0, 1.0]
    assert collect(net, ["input_mean"], ["idle.weight"], [torch.ones(1, 2)]) == {"input_mean": {}}
    with pytest.raises(DataError, match="no batches to look at"):
        collect(nn.Linear(2, 2), ["input_mean"], ["weight"], [])
    with pytest.raises(PlanError, match="need batches"):
        collect(nn.Linear(2, 2), ["input_mean"], ["weight"])


class Beside(nn.Module):
    """Two layers of the same input, which is written to before a third reads it."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(3, n, bias=False) for n in (2, 4, 1))

    def forward(self, x):
        x = x.clone()
        return self.a(x).sum() + self.b(x).sum() + self.c(x.mul_(2)).sum()


def test_what_layers_share_is_worked_out_once_and_never_taken_for_what_it_became(monkeypatch):
    products = []
    gram = OBSERVED["input_gram"].accumulator
    honest = gram.measure
    monkeypatch.setattr(gram, "measure", lambda self, v: products.append(1) or honest(self, v))
    net, batches = Beside(), [torch.randn(5, 3), torch.randn(2, 3)]
    names = ["a.weight", "b.weight", "c.weight"]
    with torch.no_grad(), observing(net, {"input_gram": ("input_gram", None)}, names) as seen:
        for batch in batches:
            net(batch)
    x = torch.cat(batches)
    found = seen.values()["input_gram"]
    torch.testing.assert_close(found["a.weight"], x.T @ x / 7)
    assert torch.equal(found["a.weight"], found["b.weight"])
    torch.testing.assert_close(found["c.weight"], 4 * x.T @ x / 7)
    assert len(products) == 4
    with (
        torch.inference_mode(),
        observing(net, {"input_gram": ("input_gram", None)}, names) as seen,
    ):
        net(x)
    torch.testing.assert_close(seen.values()["input_gram"]["c.weight"], 4 * x.T @ x / 7)
