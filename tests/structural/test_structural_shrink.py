"""Structural pruning end to end: masked == smaller, and the smaller network is an ordinary one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support_data import needs_data, weights
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import PlanError, SecateurError
from secateur.criteria import Taylor
from secateur.data import load
from secateur.materialise.guard import guards
from secateur.models import build_seeded, load_weights
from secateur.structure.graph.capture import as_traced
from tests.structure.graph.zoo.table import make


def resnet() -> tuple[nn.Module, Any]:
    """ResNet-20 with running statistics that matter."""
    model = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    rng = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            centre = -0.5 if name.endswith("mean") else 0.5
            buffer.copy_(torch.rand(buffer.shape, generator=rng) + centre)
    return model, torch.randn(2, 3, 16, 16, generator=rng)


def zoo(name: str) -> tuple[nn.Module, Any]:
    model, (args, kwargs) = make(name)
    return model, kwargs or args


def outputs(model: nn.Module, example: Any) -> Tensor:
    with torch.no_grad(), as_traced(model):
        if isinstance(example, dict):
            found = model(**example)
        else:
            found = model(*example) if isinstance(example, tuple) else model(example)
    return found if isinstance(found, Tensor) else found.logits


NETWORKS = {
    "resnet20": resnet,
    "vit": lambda: zoo("vit"),
    "llama": lambda: zoo("llama"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_computes_what_the_masked_one_does(name: str, tmp_path: Path) -> None:
    dense, example = NETWORKS[name]()
    result = sc.prune(dense, "group-norm", density=0.5, example=example)
    shrunk = sc.shrink(result, example)
    small = shrunk.model
    want, got = outputs(result.model, example), outputs(small, example)
    assert torch.allclose(got, want, atol=1e-5 * float(want.abs().max()))
    assert not torch.allclose(want, outputs(dense, example), atol=1e-2 * float(want.abs().max()))
    _the_record_is_true(shrunk, result, small)
    _is_ordinary(small, example, tmp_path)


def _the_record_is_true(shrunk: sc.Shrunk, result: sc.Result, small: nn.Module) -> None:
    record = shrunk.record
    before, after = record["parameters"]
    assert after == sum(p.numel() for p in small.parameters()) < 0.75 * before
    assert record["macs"][1] < 0.75 * record["macs"][0]
    assert record["exact"]
    assert record["proof"]["error"] < 1e-9 < 1e-3 < record["proof"]["effect"]
    assert record["difference"] < 1e-5
    for name, (kept, units) in record["units"].items():
        assert kept == int(result.units[name].sum()) == len(shrunk.kept[name]) > 0
        assert units == len(result.units[name])


def _is_ordinary(small: nn.Module, example: Any, folder: Path) -> None:
    """It holds no masks, trains, copies, saves and loads."""
    assert not list(guards(small))
    twin = copy.deepcopy(small)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    found = small(**example) if isinstance(example, dict) else small(*_tuple(example))
    (found if isinstance(found, Tensor) else found.logits).square().mean().backward()
    optimizer.step()
    assert not torch.equal(outputs(small, example), outputs(twin, example))
    torch.save(small.state_dict(), folder / "small.pt")
    twin.load_state_dict(torch.load(folder / "small.pt", weights_only=True))
    assert torch.equal(outputs(small, example), outputs(twin, example))


def _tuple(example: Any) -> tuple[Any, ...]:
    return example if isinstance(example, tuple) else (example,)


def mlp() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)
        )


X = torch.zeros(2, 3)


class TestWhatGoes:
    def test_units_that_are_not_named(self) -> None:
        shrunk = sc.shrink(mlp(), X, keep={"0": [5, 1, 1]})
        assert shrunk.kept == {"0": (1, 5)}
        assert torch.equal(shrunk.model[0].weight, mlp()[0].weight[[1, 5]])
        assert torch.equal(shrunk.model[2].weight, mlp()[2].weight[:, [1, 5]])

    def test_units_of_a_network_that_are_zero_altogether(self) -> None:
        model = mlp()
        with torch.no_grad():
            model[0].weight[2] = 0
            model[0].bias[2] = 0
            model[2].weight[:, 2] = 0
            model[0].weight[3] = 0  # its bias still counts
            model[0].weight[4, 0] = model[0].bias[4] = model[2].weight[0, 4] = 0  # so does a part
        assert sc.shrink(model, X).kept == {"0": (0, 1, 3, 4, 5, 6, 7)}

    def test_nothing_where_nothing_is_zero(self) -> None:
        shrunk = sc.shrink(sc.prune(mlp(), "magnitude", sparsity=0.2), X)
        assert shrunk.kept == {}
        assert shrunk.record["parameters"] == [78, 78]

    def test_a_structure_that_would_lose_everything_is_refused(self) -> None:
        with pytest.raises(PlanError, match="'2' would lose all of its 4 units"):
            sc.shrink(mlp(), X, keep={"2": []})

    @pytest.mark.parametrize("keep", [{"2": [4]}, {"2": [-1, 0]}])
    def test_units_that_do_not_exist(self, keep: dict[str, list[int]]) -> None:
        with pytest.raises(SecateurError, match="1 to 4 units"):
            sc.shrink(mlp(), X, keep=keep)

    def test_a_structure_that_does_not_exist(self) -> None:
        with pytest.raises(PlanError, match="unknown structure '1'"):
            sc.shrink(mlp(), X, keep={"1": [0]})

    def test_the_network_is_left_as_it_was(self) -> None:
        result = sc.prune(mlp(), "group-norm", density=0.5, example=X)
        before = copy.deepcopy(result.model.state_dict())
        sc.shrink(result, X)
        assert all(torch.equal(v, before[k]) for k, v in result.model.state_dict().items())
        assert list(guards(result.model))

    def test_what_is_not_exact_is_said(self) -> None:
        model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 2))
        x = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
        name = next(a.name for a in sc.trace(model, x) if not a.exact)
        record = sc.shrink(model, x, keep={name: range(4)}).record
        assert not record["exact"]
        assert record["difference"] > 1e-3
        kept = sc.shrink(model, x, keep={name: range(4)}, preserve_norms=True).record
        assert kept["difference"] < 1e-5
        assert kept["exact"]

    def test_two_removals_equal_one(self) -> None:
        once = sc.shrink(mlp(), X, keep={"0": [1, 4, 6], "2": [0, 2]}).model
        first = sc.shrink(mlp(), X, keep={"0": [1, 2, 4, 6]}).model
        twice = sc.shrink(first, X, keep={"0": [0, 2, 3], "2": [0, 2]}).model
        assert str(once) == str(twice)
        both = zip(once.state_dict().values(), twice.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in both)


class TestAfterTraining:
    def data(self) -> tuple[Tensor, Tensor]:
        x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return x, (x.mean((1, 2, 3)) > 0).long()

    def network(self) -> nn.Module:
        return build_seeded("resnet8", 0, num_classes=2, in_channels=1, image_size=8, width=4)

    def test_masks_that_held_while_training_went_on_can_be_taken_out(self) -> None:
        """Norms of removed channels have seen zeros; what they have learnt of them must not matter."""
        training = sc.preset("short").model_copy(
            update={"length": sc.Time(2, "ep"), "batch_size": 16}
        )
        result = sc.prune(
            self.network(), "group-norm", density=0.5, fine_tune="2ep", data=self.data(),
            training=training,
        )  # fmt: skip
        x = self.data()[0][:4]
        shrunk = sc.shrink(result, x)
        assert torch.allclose(outputs(shrunk.model, x), outputs(result.model, x), atol=1e-5)
        assert shrunk.record["parameters"][1] < shrunk.record["parameters"][0]

    def test_scores_that_need_gradients_pool_over_all_members(self) -> None:
        recipe = sc.recipe("group-norm", density=0.5).model_copy(update={"criterion": Taylor()})
        result = sc.prune(self.network(), recipe, data=self.data())
        assert sum(int(m.sum()) for m in result.units.values()) == round(0.5 * 32)
        assert sc.shrink(result, self.data()[0][:2]).record["difference"] < 1e-5


class TestMethods:
    def filters(self) -> nn.Sequential:
        """Filters of sums 4, 1, 3, 2 (times 9), whose readers are ordered the other way round."""
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.ReLU(), nn.Conv2d(2, 1, 1)
        )
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([4.0, -1, 3, 2]).view(4, 1, 1, 1).expand(4, 1, 3, 3))
            model[2].weight.copy_(
                torch.tensor([0.0, 90, 1, 50]).view(1, 4, 1, 1).expand(2, 4, 3, 3)
            )
        return model

    def kept(self, method: str, **options: Any) -> list[int]:
        image = torch.zeros(2, 1, 8, 8)
        return sc.prune(self.filters(), method, example=image, **options).units["0"].int().tolist()

    def test_l1_filters_looks_at_the_filter_alone(self) -> None:
        assert self.kept("l1-filters", density=0.5) == [1, 0, 1, 0]

    def test_group_norm_looks_at_all_that_goes_together(self) -> None:
        assert self.kept("group-norm", density=0.5, across=False) == [0, 1, 0, 1]

    def test_each_layer_keeps_the_same_share_unless_all_are_compared(self) -> None:
        model, example = resnet()
        with torch.no_grad():
            model.layer1[0].conv1.weight[:8] *= 1e-3  # half of a layer: these go first
            model.layer1[1].conv1.weight *= 1e-3  # a whole layer: its scale means nothing
        shares = {}
        for across in (False, True):
            result = sc.prune(model, "l1-filters", density=0.75, example=example, across=across)
            shares[across] = {n: float(m.float().mean()) for n, m in result.units.items()}
            total = sum(m.numel() for m in result.units.values())
            assert sum(int(m.sum()) for m in result.units.values()) == round(0.75 * total)
        assert set(shares[False].values()) == {0.75}
        assert shares[True]["layer1.0.conv1"] <= 0.5 < shares[True]["layer1.1.conv1"]
        assert "conv1" not in shares[False]  # tied by residual sums

    def test_the_last_unit_stays(self) -> None:
        model = mlp()
        with torch.no_grad():
            model[2].weight.mul_(1e-9)
            model[2].bias.mul_(1e-9)
        result = sc.prune(model, "group-norm", density=0.2, example=X)
        assert all(bool(m.any()) for m in result.units.values())
        with pytest.raises(PlanError, match="2 to 12"):
            sc.prune(model, "group-norm", density=0.05, example=X)


def right(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    with torch.no_grad(), as_traced(model):
        parts = zip(images.split(256), labels.split(256), strict=True)
        return sum(int((model(x).argmax(1) == y).sum()) for x, y in parts)


@needs_data
def test_the_trained_resnet_is_as_right_small_as_masked() -> None:
    dense = build_seeded("resnet20", 0, num_classes=10, in_channels=3, image_size=32)
    load_weights(dense, weights("cifar10-resnet20.safetensors"))
    test = load("cifar10").normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).test
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (test.mean, test.std))
    images, labels = (test.images[:256] / 255 - mean) / std, test.labels[:256]
    result = sc.prune(dense, "l1-filters", sparsity=0.3, example=images[:2])
    shrunk = sc.shrink(result, images[:2])
    masked = right(result.model, images, labels)
    assert masked == right(shrunk.model, images, labels)
    assert 0.2 * len(images) < masked < 0.9 * len(images) < right(dense, images, labels)
    before, after = shrunk.record["parameters"]
    assert after < 0.75 * before


class Attends(nn.MultiheadAttention):
    """Of somebody's own, so that it can lose a head only as a graph."""


class Reads(nn.Module):
    """A recurrent layer over tokens that attend."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = Attends(8, 2, batch_first=True)
        self.read, self.out = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.read(self.attend(x, x, x)[0])[0].sum(1))


def test_nothing_of_torch_about_itself_is_printed(recwarn: pytest.WarningsRecorder) -> None:
    model, x = Reads(), torch.randn(2, 5, 8)
    small = sc.shrink(sc.prune(model, "group-norm", density=0.5, example=x), x)
    assert small.record["replaced"] == ["attend"]
    about = ("_flat_weights", "get_attr Node", "LeafSpec")
    assert not [w for w in recwarn if any(words in str(w.message) for words in about)]


def test_the_network_that_is_given_is_left_alone_and_shares_nothing() -> None:
    """It is not copied first, so what comes out must not reach back into it; gradients are cut."""
    model, x = resnet()
    model(x).square().mean().backward()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    small = sc.shrink(model, x, keep={"layer1.0.conv1": range(8)}).model
    mine = {t.untyped_storage().data_ptr() for t in model.state_dict().values()}
    assert not mine & {t.untyped_storage().data_ptr() for t in small.state_dict().values()}
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    grad = model.layer1[0].conv1.weight.grad
    assert torch.equal(small.layer1[0].conv1.weight.grad, grad[:8])
    assert small.conv1.weight.grad is not model.conv1.weight.grad
