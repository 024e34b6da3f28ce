"""Weight sharing: k-means by its definition, centroids that follow summed gradients, masks that hold."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.blockwise.folder import one_update
from secateur.engine.blockwise.smaller import why_whole
from secateur.engine.coding import coded_weights
from secateur.precision import SharedWeights
from secateur.precision.clusters import first_centroids, k_means, nearest
from tests.engine.test_execute import data, network, training


def best(values: list[float], k: int) -> float:
    """The least Σ (w - c)² of k clusters, by trying every cut of the ordered values."""

    def spread(part: list[float]) -> float:
        mean = sum(part) / len(part)
        return sum((v - mean) ** 2 for v in part)

    values = sorted(values)
    cuts = itertools.combinations(range(1, len(values)), k - 1)
    return min(
        sum(spread(values[a:b]) for a, b in itertools.pairwise([0, *cut, len(values)]))
        for cut in cuts
    )


def error(values: np.ndarray, centroids: np.ndarray) -> float:
    return float(((values[:, None] - centroids) ** 2).min(1).sum())


@pytest.mark.parametrize("init", ["linear", "density", "random"])
def test_k_means_ends_where_no_step_helps_and_finds_clear_clusters(init: Any) -> None:
    rng = np.random.default_rng(0)
    values = np.sort(np.concatenate([rng.normal(m, 0.01, 4) for m in (-1, 0.2, 2)]))
    found = k_means(values, first_centroids(values, 3, init, rng))
    belongs = nearest(values, found)
    for i, c in enumerate(found):
        mine = values[belongs == i]
        assert not mine.size or np.isclose(mine.mean(), c)
    if init != "random":
        assert np.isclose(error(values, found), best(values.tolist(), 3))


def test_k_means_goes_on_until_no_step_helps() -> None:
    values = np.sort(np.random.default_rng(3).normal(0, 1, 200))
    found = k_means(values, first_centroids(values, 6, "linear", np.random.default_rng(0)))
    belongs = ((values[:, None] - found) ** 2).argmin(1)
    assert np.allclose(found, [values[belongs == i].mean() for i in range(6)])
    assert np.array_equal(belongs, nearest(values, found))
    lonely = k_means(np.array([-1.0, 0, 10]), np.array([-1.0, 5, 10]))  # nothing is nearest to 5
    assert lonely.tolist() == [-0.5, 5.0, 10.0]


def test_where_centroids_begin() -> None:
    values = np.array([0.0, 1, 1, 1, 1, 1, 1, 10])
    rng = np.random.default_rng(0)
    assert first_centroids(values, 3, "linear", rng).tolist() == [0, 5, 10]
    assert first_centroids(values, 4, "density", rng).tolist() == [0.875, 1, 1, 2.125]
    assert set(first_centroids(values, 3, "random", rng)) <= set(values)


def test_a_gradient_is_the_sum_over_its_cluster_and_nothing_of_what_is_pruned() -> None:
    keep = torch.tensor([True, True, True, False])
    state = {"index": torch.tensor([0, 1, 0, 0], dtype=torch.uint8)}
    shared = SharedWeights()
    gradient = torch.tensor([1.0, 10.0, 2.0, 100.0])
    assert shared.passes(gradient, keep, state).tolist() == [3.0, 10.0, 3.0, 0.0]
    weight = torch.tensor([1.0, 5.0, 2.0, 0.0])
    assert shared.coded(weight, keep, state).tolist() == [1.5, 5.0, 1.5, 0.0]


def test_a_step_moves_each_centroid_by_the_summed_gradient() -> None:
    """One step of plain SGD on a linear layer against ∂L/∂c by autograd through the codebook."""
    net = nn.Linear(6, 2, bias=False)
    x, y = torch.randn(8, 6), torch.randint(0, 2, (8,))
    recipe = sc.recipe("magnitude", density=0.5, classifier=True, share=1, tune="1it")
    plain = sc.Training(
        length=sc.Time(1, "it"), batch_size=8, lr=100.0, weight_decay=0,
        optimiser={"name": "sgd", "momentum": 0.0, "nesterov": False},
    )  # fmt: skip
    masked = sc.prune(net, "magnitude", density=0.5, classifier=True)
    result = sc.prune(net, recipe, data=(x, y), training=plain, trained=True)
    mask = masked.masks["weight"]
    weight = masked.model.weight.detach()
    centroid = weight[mask].mean().clone().requires_grad_()  # 2^1 - 1 values: one
    loss = nn.functional.cross_entropy(x @ (mask * centroid).T, y)
    (slope,) = torch.autograd.grad(loss, centroid)
    after = result.model.weight.detach()[mask]
    assert len(after.unique()) == 1
    assert torch.allclose(after, centroid.detach() - 100 * 0.001 * slope, atol=1e-6)
    # the norm that is clipped is |∂L/∂c|: of one value, however many weights share it
    clipped = plain.model_copy(update={"clip": float(slope.abs()) / 2})
    result = sc.prune(net, recipe, data=(x, y), training=clipped, trained=True)
    after = result.model.weight.detach()[mask]
    assert torch.allclose(after, centroid.detach() - 100 * 0.001 * slope / 2, atol=1e-6)


def test_what_comes_out_takes_few_values_and_is_saved_small(tmp_path: Path) -> None:
    result = sc.prune(
        network(), "deep-compression", density=0.3, bits=2, conv_bits=3, fine_tune="1ep", tune="2ep",
        data=data(), val=data(), training=training(),
    )  # fmt: skip
    moments = [point["moment"] for point in result.record["points"]]
    assert moments == ["trained", "pruned", "recovered", "coded"]
    for name, p in result.model.named_parameters():
        if name in result.masks:
            kept = p.detach()[result.masks[name]]
            assert not p.detach()[~result.masks[name]].any()
            assert len(kept.unique()) <= (7 if p.dim() > 2 else 3)
    sc.save(result, tmp_path / "a")
    again = sc.load(tmp_path / "a", model=network())
    for name, value in result.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    other = sc.prune(network(), "magnitude-layerwise", density=0.3, classifier=True)
    sc.save(other, tmp_path / "b")
    sizes = [(tmp_path / f / "model.safetensors").stat().st_size for f in "ab"]
    assert sizes[0] < sizes[1] - 1000


class Killed(Exception):
    """Stands for a process that dies."""


@pytest.mark.parametrize("at", [1, 3, 6, 8])
def test_a_killed_run_ends_with_the_same_bits(at: int, tmp_path: Path) -> None:
    """Killed `at` epochs or operations after the first; the last stage is among them."""

    def run(folder: Path, most: int = 10**6) -> sc.Result:
        seen = 0

        def progress(event: dict[str, Any]) -> None:
            nonlocal seen
            seen += event["kind"] in ("epoch", "pruned", "coded")
            if seen > most:
                raise Killed

        return sc.prune(
            network(), "deep-compression", density=0.3, fine_tune="1ep", tune="2ep", bits=2,
            data=data(), training=training(), folder=folder, progress=progress,
        )  # fmt: skip

    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", at)
    again = run(tmp_path / "killed")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name


def test_options_of_the_method_are_fields_of_its_precision() -> None:
    made = sc.recipe(
        "deep-compression", bits=2, conv_bits=3, init="random", tune="7it", tune_lr_scale=0.5
    )
    wanted = SharedWeights(
        bits=2, conv_bits=3, init="random", length=sc.Time(7, "it"), lr_scale=0.5
    )
    assert made.precision == wanted


def test_the_plan_names_it_and_asks_for_a_training() -> None:
    assert "precision shared" in str(sc.plan(network(), "deep-compression"))
    shared = sc.plan(network(), "magnitude", density=0.5, share=4, tune="1ep")
    assert "training must be given, and data to train on: precision 'shared" in str(shared)
    with pytest.raises(PlanError, match=r"precision 'shared.*trains"):
        sc.prune(network(), "magnitude", density=0.5, share=4, tune="1ep")


def test_any_method_shares_without_training() -> None:
    result = sc.prune(network(), "magnitude", density=0.5, share=2, exclude="3.weight")
    weights = dict(result.model.named_parameters())
    for name in ("0.weight", "3.weight", "7.weight", "9.weight"):
        values = weights[name].detach()
        assert len(values[values != 0].unique()) <= 3, name


def test_what_is_a_convolution_its_dimensions_say() -> None:
    """Experts in one tensor have three dimensions, too."""
    weight, rng = torch.randn(4, 8, 8), torch.Generator()
    keep = torch.ones_like(weight, dtype=torch.bool)
    for dims, values in ((("expert", "out", "in"), 3), (("out", "in", "k"), 15)):
        shared = SharedWeights(bits=2, conv_bits=4, init="density")
        decided = shared.start(weight, keep, dims, rng)
        assert len(shared.coded(weight, keep, decided).unique()) == values


@pytest.mark.parametrize(
    ("kept", "values"), [(1, 1), (3, 1), (10, 5), (61, 30), (62, 31), (400, 31)]
)
def test_few_weights_have_a_value_for_every_two(kept: int, values: int) -> None:
    weight = torch.arange(1.0, 401).view(20, 20)
    keep = weight <= kept
    shared = SharedWeights(init="random")
    found = [
        shared.start(weight, keep, ("out", "in"), torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    coded = [shared.coded(weight, keep, decided) for decided in found]
    assert len(coded[0][keep].unique()) == values
    assert torch.equal(coded[0], coded[1])
    assert kept < 400 or not torch.equal(coded[0], coded[2])


def test_a_layer_that_takes_few_values_keeps_them() -> None:
    """Here k-means from equal steps would join -8 and -7."""
    weight = torch.tensor([-8.0, -7, 9, 10, 11, 12, 13]).repeat(4).view(4, 7)
    keep, shared = torch.ones(4, 7, dtype=torch.bool), SharedWeights(bits=3)
    decided = shared.start(weight, keep, ("out", "in"), torch.Generator())
    assert torch.equal(shared.coded(weight, keep, decided), weight)


def test_tables_and_the_weights_they_share_are_not_coded() -> None:
    net = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6))
    assert list(coded_weights(net, SharedWeights())) == ["1.weight", "2.weight"]
    net[2].weight = net[0].weight
    assert list(coded_weights(net, SharedWeights())) == ["1.weight"]


def test_refusals() -> None:
    with pytest.raises(PlanError, match="give share"):
        sc.recipe("magnitude", tune="1ep")
    for bits in (9, 0, True, 2.5):
        with pytest.raises(
            PlanError, match=rf"^share takes a whole .* 1 to 8, the bits .* got {bits}"
        ):
            sc.recipe("magnitude", share=bits)
    for given in (5, "8bit", 8.0):
        with pytest.raises(PlanError, match=rf"^quantise takes 8 or 4, the bits .* got {given!r}"):
            sc.recipe("magnitude", quantise=given)
    with pytest.raises(PlanError, match="one round"):
        sc.recipe("deep-compression", layers={"0": 0.5}, rounds=2)
    for option in ({"share": 3}, {"quantise": 8}):  # its own bits and tuning would be passed over
        with pytest.raises(PlanError, match=r"the method has precision 'shared.* already"):
            sc.recipe("deep-compression", **option)
    recipe = sc.recipe("magnitude", density=0.5, share=2)
    excluded = recipe.model_copy(update={"precision": SharedWeights(exclude=("*",))})
    with pytest.raises(PlanError, match="none is left here"):
        sc.prune(network(), excluded)
    computed = nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Linear(4, 4), nn.Linear(4, 4))
    told = r"'0.weight' is computed by a param.*few values in it.*exclude=\('0.weight',\)"
    with pytest.raises(PlanError, match=told):
        sc.prune(computed, "magnitude", density=0.5, exclude="0.weight", share=2)
    left = SharedWeights(exclude=("0.weight",))
    assert list(coded_weights(computed, left)) == ["1.weight", "2.weight"]


def test_walks_from_disk_are_refused_and_say_what_to_do() -> None:
    with pytest.raises(PlanError, match="give the method walk='whole'"):
        one_update(sc.recipe("wanda", sparsity=0.5, share=4, tune="1ep"))
    reason = why_whole(sc.recipe("magnitude", density=0.5, share=4))
    assert reason == "its weights take few values in the end"
