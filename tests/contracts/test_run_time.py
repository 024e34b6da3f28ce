"""What every method that decides at run time must do; a new one is tested by being registered."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.core.axes import Materialiser
from secateur.core.cards import METHODS
from secateur.core.errors import PlanError, StorageError
from secateur.core.run_time import RunTime, listening, run_time_layers, wrapped_again
from secateur.experiments.results import Point
from secateur.measure.run_time import measure_run_time

METHOD = {name: m for name, m in METHODS.items() if isinstance(m().materialise, RunTime)}
every = pytest.mark.parametrize("method", sorted(METHOD))
DENSITY = 0.5


def network(**_: Any) -> nn.Module:
    """Convolutions with norms, then linear layers: something for each kind of wrapper."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 16), nn.GELU(), nn.Linear(16, 3),
        )  # fmt: skip


def data(n: int = 24) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(5)
    x = torch.randn(n, 2, 6, 6, generator=rng)
    return x, (x.mean((1, 2, 3)) > 0).long()


@pytest.fixture(scope="module")
def made() -> dict[str, sc.Result]:
    """Every method once, on the same network; training only where it learns."""
    training = sc.preset("short").model_copy(update={"length": sc.Time(2, "ep"), "batch_size": 8})
    out = {}
    for name, method in METHOD.items():
        recipe = method(density=DENSITY, **({"every": "2it"} if "every" in method.options else {}))
        given = training if recipe.materialise.learns else None  # type: ignore[union-attr]
        out[name] = sc.prune(network(), recipe, data=data(), val=data(), training=given)
    return out


@every
def test_no_weight_is_masked_and_the_density_is_met(made: Any, method: str) -> None:
    result = made[method]
    assert result.masks == {}
    assert abs(result.record["points"][-1]["density"] - DENSITY) < 0.05
    point = result.record["points"][-1]
    work = point["run_time"]
    counts = point["macs"], point["macs_nonzero"]
    assert counts == (round(work["dense"]), round(work["needed"]["mean"]))
    read = Point(**point)  # as a report does
    assert (read.at_run_time, read.sparsity) == (True, 1 - work["needed"]["mean"] / work["dense"])
    assert work["inputs"] == 24
    assert 0 < work["needed"]["mean"] < work["dense"]
    assert work["needed"]["least"] <= work["needed"]["mean"] <= work["needed"]["most"]


@every
def test_one_input_at_a_time_computes_what_the_batch_does(made: Any, method: str) -> None:
    model, (x, _) = made[method].model.eval(), data()
    with torch.no_grad():
        torch.testing.assert_close(
            torch.cat([model(one[None]) for one in x]), model(x), rtol=1e-4, atol=1e-5
        )


@every
def test_work_is_told_by_input_and_never_above_the_dense_one(made: Any, method: str) -> None:
    model, (x, _) = made[method].model.eval(), data()
    with torch.no_grad(), listening(model) as batch:
        model(x)
    assert set(batch) == set(run_time_layers(model)) != set()
    for (work,) in batch.values():
        assert work.done.shape == work.used.shape == (len(x),)
        assert bool((work.done <= work.dense).all() and (work.used <= work.units).all())
    assert all(layer.heard is None for layer in run_time_layers(model).values())
    one = measure_run_time(model, [x[:1]])
    for name, (work,) in batch.items():
        assert one.layers[name].done.mean == float(work.done[0])


def test_saved_without_pickle_and_loaded_in_a_clean_process(made: Any, tmp_path: Path) -> None:
    """One process for all methods: it takes its time to begin."""
    x, here = data()[0], "tests.contracts.test_run_time:network"
    expected = {}
    for method, result in made.items():
        folder = sc.save(result, tmp_path / method, architecture=here)
        assert {p.suffix for p in folder.iterdir()} <= {".md", ".json", ".safetensors"}
        with torch.no_grad():
            expected[method] = result.model.eval()(x)
    torch.save(x, tmp_path / "x")
    code = (
        "import pathlib, torch, secateur as sc\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "x = torch.load(here / 'x', weights_only=True)\n"
        f"y = {{n: sc.load(here / n, trust=('tests',))(x).detach() for n in {list(expected)}}}\n"
        "torch.save(y, here / 'y')\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
    found = torch.load(tmp_path / "y", weights_only=True)
    assert all(torch.equal(found[method], expected[method]) for method in METHOD)


@every
def test_edits_are_plain_data_and_lies_in_them_are_refused(made: Any, method: str) -> None:
    by = METHOD[method]().materialise
    assert isinstance(by, RunTime)
    places = by.places(network(), METHOD[method]().structure.targets(network(), data()[0]))
    told = json.loads(json.dumps(by.edits(places).run_time))
    stock = network()
    own = {id(p) for p in stock.parameters()}
    again = wrapped_again(stock, told)
    assert own <= {id(p) for p in again.parameters()}  # nothing is lost on the way
    assert again.state_dict().keys() == made[method].model.state_dict().keys()
    lie = copy.deepcopy(told)
    key = next(k for k in lie["places"][0] if k != "target")
    lie["places"][0][key] = "nowhere"
    for wrong in (lie, {**told, "places": 3}, {**told, "by": {"name": "masks"}}):
        with pytest.raises((StorageError, PlanError)):
            wrapped_again(network(), wrong)


@every
def test_settings_that_no_run_leaves_are_refused(made: Any, method: str, tmp_path: Path) -> None:
    result = made[method]
    layers = run_time_layers(result.model).values()
    settings = [b for m in layers for name, b in m.named_buffers() if "norm" not in name]
    for setting in settings:
        kept = setting.clone()
        with torch.no_grad():
            setting.fill_(-1)
        folder = sc.save(result, tmp_path / "lies", overwrite=True)
        setting.copy_(kept)
        with pytest.raises(StorageError, match=r"which decides at run time, (keeps|has)"):
            sc.load(folder, model=network())
    assert settings


@every
def test_what_would_be_ignored_is_refused(method: str) -> None:
    recipe = METHOD[method]()
    for field, value in (
        ("walk", "blocks"),
        ("revive", True),
        ("connected", True),
        ("carried", True),
    ):
        with pytest.raises(PlanError, match=r"cannot go with it|of which walk 'blocks' has a part"):
            sc.Recipe(**{**dict(recipe), field: value})
    with pytest.raises(PlanError, match="per-input"):
        sc.Recipe(**{**dict(recipe), "criterion": "magnitude"})
    with pytest.raises(PlanError, match="which nothing here does"):
        sc.Recipe(**{**dict(recipe), "materialise": None})
    with pytest.raises(PlanError, match="sizes alone"):
        sc.Recipe(**{**dict(recipe), "allocator": "owl"})


@every
def test_wrapped_networks_are_not_shrunk_nor_wrapped_twice(made: Any, method: str) -> None:
    result, (x, y) = made[method], data()
    with pytest.raises(PlanError, match="nothing can be taken out"):
        sc.shrink(result, x)
    with pytest.raises(PlanError):
        sc.prune(result.model, METHOD[method](), data=(x, y), training=sc.preset("short"))


@every
def test_export_masks_and_says_so_or_refuses(made: Any, method: str, tmp_path: Path) -> None:
    result, (x, _) = made[method], data()
    exported = sc.export(result, tmp_path / "net.pt2", example=x[:2])
    assert exported.free_batch
    assert any("no work is saved" in note for note in exported.notes)
    with pytest.raises(PlanError, match="state-dict has no form for"):
        sc.export(result, tmp_path / "net.safetensors")


@every
def test_apply_lets_as_many_units_stay_as_masks_keep(method: str) -> None:
    recipe = METHOD[method]()
    by, net = recipe.materialise, network()
    if recipe.materialise.calibrates:  # type: ignore[union-attr]
        pytest.skip("how much stays is translated on data")
    targets = recipe.structure.targets(net, data()[0])
    assert isinstance(by, Materialiser)
    masks = {t.name: torch.arange(t.units) < 2 for t in targets}
    with torch.no_grad(), listening(by.apply(net, targets, masks).eval()) as heard:
        net(data()[0])
    kept = [w.used.max() for (w,) in heard.values()]
    assert min(kept) <= 2
