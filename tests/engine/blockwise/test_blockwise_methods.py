"""Methods block by block: the walk against the whole model, in memory and from disk."""

import pytest
import torch

import secateur as sc
from secateur.engine.blockwise.blocks import find_blocks
from secateur.engine.blockwise.folder import prune_folder
from secateur.engine.blockwise.walk import Job, walk
from secateur.engine.collect import collect
from secateur.engine.program import Prune, build
from tests.engine.blockwise import tiny

METHODS = [
    ("wanda", {}),
    ("ria", {}),
    ("sparsegpt", {}),
    ("sparsegpt", {"refit": 1.0}),
    ("owl", {"density": 0.5}),
]


def walked(model, recipe, batches):
    """The model pruned in place, block by block."""
    (op,) = [op for op in build(recipe, 0, 0, trained=True) if isinstance(op, Prune)]
    job = Job(recipe, op.update, recipe.structure.targets(model), batches)
    return walk(model, job)


def zeros(state):
    """Shares of zeros of every weight in the blocks."""
    return {n: float((v == 0).double().mean()) for n, v in state.items() if v.dim() > 1}


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_from_disk_and_in_memory_alike(method, options, tmp_path):
    source, batches = tiny.folder(tmp_path / "source"), tiny.batches()
    recipe = sc.recipe(method, **options)
    done = prune_folder(source, recipe, tmp_path / "out", batches=batches)
    model = tiny.load(source)
    walked(model, recipe, batches)
    for name, value in tiny.load(done.folder).state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=1e-6)
    assert done.record["sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_every_block_sees_what_the_pruned_ones_before_it_give():
    model, batches, recipe = tiny.model(), tiny.batches(), sc.recipe("wanda")
    reference = tiny.model()
    walked(model, recipe, batches)
    targets = recipe.structure.targets(reference)
    for block in find_blocks(reference):
        mine = [t for t in targets if block.owns(t.name)]
        stats = collect(reference, ["input_square"], [t.name for t in mine], batches)
        for target in mine:
            weight = reference.get_parameter(target.name).detach()
            score = weight.abs() * stats["input_square"][target.name].float().sqrt()
            keep = score.argsort(dim=1, descending=True, stable=True)[:, : weight.shape[1] // 2]
            weight.mul_(torch.zeros_like(weight).scatter_(1, keep, 1.0))
    for name, value in reference.named_parameters():
        assert torch.equal(value, model.get_parameter(name)), name


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_wanda_in_every_family(family, tmp_path):
    source = tiny.folder(tmp_path / "source", family)
    done = prune_folder(source, sc.recipe("wanda"), tmp_path / "out", batches=tiny.batches())
    shares = zeros(tiny.load(done.folder).state_dict())
    for row in done.record["layers"]:
        assert row["kept"] * 2 == row["units"]
        assert shares[row["target"]] == pytest.approx(0.5, abs=1e-6)
    stock = zeros(tiny.load(source).state_dict())
    left = set(shares) - {row["target"] for row in done.record["layers"]}
    assert all(shares[name] == stock[name] for name in left)
    assert not [n for n in left if "gate." not in n and any(f".{i}." in n for i in range(3))]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_two_of_four_consecutive_inputs(method, family, tmp_path):
    source = tiny.folder(tmp_path / "source", family)
    recipe = sc.recipe(method, pattern="2:4")
    done = prune_folder(source, recipe, tmp_path / "out", batches=tiny.batches())
    state = tiny.load(done.folder).state_dict()
    for row in done.record["layers"]:
        weight = state[row["target"]]
        rows = weight.T if family == "gpt2" else weight  # GPT-2 stores the input first
        assert bool(((rows.reshape(*rows.shape[:-1], -1, 4) != 0).sum(-1) <= 2).all())


def test_owl_keeps_more_where_outliers_are(tmp_path):
    model, batches = tiny.model(), tiny.batches()
    model.model.layers[1].mlp.down_proj.weight.data[:, 0] *= 200
    recipe = sc.recipe("owl", density=0.4, spread=0.1, multiple=3)
    rows = walked(model, recipe, batches).rows
    kept = {}
    for row in rows:
        total = kept.setdefault(row["block"], [0, 0])
        total[0] += row["kept"]
        total[1] += row["units"]
    share = {block: a / b for block, (a, b) in kept.items()}
    assert max(share.values()) - min(share.values()) == pytest.approx(0.2, abs=0.01)
    assert sum(a for a, _ in kept.values()) == pytest.approx(
        0.4 * sum(b for _, b in kept.values()), abs=2
    )


def test_owl_from_the_shares_of_outliers():
    from secateur.allocation import Owl

    surveyed = {"a": [0.01, 100.0], "b": [0.03, 100.0], "c": [0.02, 200.0]}
    found = Owl(spread=0.1).densities(surveyed, 0.5)
    # apart: 0, .2, .1; their mean by size .1
    assert found == pytest.approx({"a": 0.4, "b": 0.6, "c": 0.5})


def test_given_densities_of_layers(tmp_path):
    source, batches = tiny.folder(tmp_path / "source"), tiny.batches()
    recipe = sc.recipe("wanda", layers={"*layers.0.*": 1.0, "*.down_proj": 0.25})
    done = prune_folder(source, recipe, tmp_path / "out", batches=batches)
    for row in done.record["layers"]:
        wanted = 1 if ".0." in row["target"] else 0.25 if "down" in row["target"] else 0.5
        assert row["kept"] == wanted * row["units"], row["target"]


def test_widths_and_densities_that_a_pattern_cannot_give_are_refused(tmp_path):
    from secateur.core.errors import PlanError

    source = tiny.folder(tmp_path / "source", intermediate_size=30)
    with pytest.raises(PlanError, match=r"has 30 inputs, not divisible by 4"):
        prune_folder(
            source, sc.recipe("wanda", pattern="2:4"), tmp_path / "out", batches=tiny.batches()
        )
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(PlanError, match=r"2:4 keeps density 50 % \(sparsity 50 %\)"):
        sc.recipe("wanda", pattern="2:4", sparsity=0.7)
    with pytest.raises(PlanError, match="is no N:M"):
        sc.recipe("wanda", pattern="2of4")


def test_prune_in_memory_walks_the_blocks_where_the_recipe_says_so():
    model, batches = tiny.model(), tiny.batches()
    result = sc.prune(model, "wanda", data=batches)
    walked(model, sc.recipe("wanda"), batches)
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert result.sparsity == pytest.approx(0.5)
    whole = sc.prune(tiny.model(), "wanda", walk="whole", data=batches)
    differs = [n for n in whole.masks if not torch.equal(whole.masks[n], result.masks[n])]
    assert differs
    assert not [n for n in differs if ".layers.0." in n]  # the first block sees the same inputs
