"""Layers that make up for what was lost before them, the dense network running beside the pruned one."""

import copy

import pytest
import torch

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.blockwise.activations import InMemory
from secateur.engine.blockwise.blocks import find_blocks
from secateur.engine.blockwise.conductor import Conductor
from secateur.engine.blockwise.folder import prune_folder
from secateur.engine.blockwise.preview import preview
from secateur.engine.blockwise.shards import Shards
from secateur.engine.blockwise.skeleton import Skeleton
from secateur.engine.blockwise.stages import stages
from secateur.engine.collect import collect
from secateur.structure import Weights
from secateur.text.calibration import Sampling
from tests.engine.blockwise import tiny
from tests.engine.blockwise.test_blockwise_encoder_decoder import made
from tests.engine.blockwise.test_blockwise_methods import walked

FIRST_BLOCK = {"*layers.0.*": 0.5, "*": 1.0}
"""Densities: the first block loses half, the others nothing, so that these are refitted and no more."""
DAMPING = 0.01


def refit(share=1.0, layers=FIRST_BLOCK, **options):
    return sc.recipe("sparsegpt", refit=share, layers=layers, damping=DAMPING, **options)


def entering(model, names, batches):
    """{layer: [tokens, in]} what enters layers, without padding."""
    found = {name: [] for name in names}
    layers = {model.get_submodule(name): name for name in names}
    hooks = [m.register_forward_hook(lambda m, i, o: found[layers[m]].append(i[0])) for m in layers]
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    for hook in hooks:
        hook.remove()
    keep = [batch["attention_mask"].bool() for batch in batches]
    return {
        name: torch.cat([x[k] for x, k in zip(parts, keep, strict=True)])
        for name, parts in found.items()
    }


def nearest(weight, before, now, damping):
    """argmin Σ ‖W' x − W x°‖² + n λ ‖W' − W‖² by least squares over stacked rows, λ = damping · mean x²."""
    pull = (len(now) * damping * now.square().mean()).sqrt()
    rows = torch.cat([now, pull * torch.eye(now.shape[1], dtype=now.dtype)])
    wanted = torch.cat([before @ weight.T, pull * weight.T])
    return torch.linalg.lstsq(rows, wanted).solution.T


STAGES = [
    ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"],
    ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"],
]  # fmt: skip


def test_layers_are_fitted_in_order_to_what_they_put_out_in_the_dense_network():
    dense, batches = tiny.model().double(), tiny.batches()
    pruned = copy.deepcopy(dense)
    walked(pruned, refit(), batches)
    expected = copy.deepcopy(dense)
    expected.model.layers[0].load_state_dict(pruned.model.layers[0].state_dict())
    for i in (1, 2):
        for stage in ([f"model.layers.{i}.{name}" for name in names] for names in STAGES):
            before, now = (entering(m, stage, batches) for m in (dense, expected))
            for name in stage:
                weight = expected.get_submodule(name).weight
                weight.data = nearest(weight.detach(), before[name], now[name], DAMPING)
                got = pruned.get_submodule(name).weight
                torch.testing.assert_close(got, weight, rtol=1e-6, atol=1e-9)
                assert not torch.allclose(got, dense.get_submodule(name).weight, rtol=1e-3)


@pytest.mark.parametrize(("method", "power"), [("wanda", 1.0), ("magnitude-layerwise", 0.0)])
def test_scores_are_those_of_the_weights_that_made_up(method, power):
    """Queries, keys and values of the second block, by least squares and sorting."""
    dense, batches = tiny.model().double(), tiny.batches()
    pruned = copy.deepcopy(dense)
    walk = {"walk": "blocks"}
    walked(pruned, sc.recipe(method, sparsity=0.5, refit=1.0, **walk), batches)
    expected = copy.deepcopy(dense)
    expected.model.layers[0].load_state_dict(pruned.model.layers[0].state_dict())
    stage = [f"model.layers.1.{name}" for name in STAGES[0]]
    before, now = (entering(m, stage, batches) for m in (dense, expected))
    for name in stage:
        weight = dense.get_submodule(name).weight.detach()
        moved = nearest(weight, before[name], now[name], DAMPING)
        scores = moved.abs() * now[name].square().mean(0).sqrt() ** power
        rows = scores if method == "wanda" else scores.view(1, -1)
        bar = rows.median(1, keepdim=True).values  # the largest of the lower half
        wanted = torch.where((rows > bar).view_as(moved), moved, 0)
        got = pruned.get_submodule(name).weight
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


def test_half_the_way_is_half_the_shift_where_inputs_are_the_same():
    """The queries of the second block: what enters them does not depend on the share."""
    dense, batches, name = tiny.model().double(), tiny.batches(), "model.layers.1.self_attn.q_proj"
    models = {share: copy.deepcopy(dense) for share in (0.5, 1.0)}
    for share, model in models.items():
        exact = Weights(include=("*.1.self_attn.q_proj.weight", "*.0.*q_proj.weight"))
        recipe = refit(share).model_copy(update={"structure": exact})
        walked(model, recipe, batches)
    half, whole = (m.get_submodule(name).weight for m in models.values())
    start = dense.get_submodule(name).weight
    torch.testing.assert_close(half - start, (whole - start) / 2)


def test_where_nothing_was_lost_nothing_changes_to_the_bit():
    model, batches = tiny.model(), tiny.batches()
    dense = copy.deepcopy(model)
    walked(model, refit(layers={"*": 1.0}), batches)
    for name, value in dense.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_the_first_layers_are_what_they_are_without():
    """Nothing was lost before the first stage of the first block."""
    models = [tiny.model() for _ in range(2)]
    for share, model in zip((0.0, 1.0), models, strict=True):
        walked(model, sc.recipe("sparsegpt", refit=share), tiny.batches())
    plain, refitted = (dict(m.named_parameters()) for m in models)
    for name in plain:
        if "layers.0.self_attn" in name and "o_proj" not in name:
            assert torch.equal(plain[name], refitted[name]), name
    assert not torch.equal(
        *(p["model.layers.0.self_attn.o_proj.weight"] for p in (plain, refitted))
    )


def test_padding_changes_nothing():
    """Whatever stands in the padding, and in front of which tokens."""
    dense, batches = tiny.model().double(), tiny.batches(pad=5)
    other = [
        {"input_ids": b["input_ids"].where(b["attention_mask"].bool(), 7), **_mask(b)}
        for b in batches
    ]
    models = [copy.deepcopy(dense) for _ in range(2)]
    for model, given in zip(models, (batches, other), strict=True):
        walked(model, sc.recipe("sparsegpt", refit=1.0), given)
    for one, two in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def _mask(batch):
    return {"attention_mask": batch["attention_mask"]}


def loss(model, dense, batches):
    """Mean squared distance of the hidden states of all tokens from those of the dense network."""
    total = 0.0
    with torch.no_grad():
        for batch in batches:
            keep = batch["attention_mask"].bool()
            one, two = (
                m(**batch, output_hidden_states=True).hidden_states[-1] for m in (model, dense)
            )
            total += float((one - two)[keep].square().mean())
    return total


def test_the_network_comes_nearer_to_the_dense_one():
    dense, batches = tiny.model(), tiny.batches(count=8, rows=8)
    found = []
    for share in (0.0, 1.0):
        model = copy.deepcopy(dense)
        walked(model, sc.recipe("sparsegpt", refit=share), batches)
        found.append(loss(model, dense, batches))
    assert found[1] < 0.9 * found[0]


@pytest.mark.parametrize("family", ["gpt2", "opt", "falcon", "gemma3_text", "phi3", "qwen2_moe"])
def test_families_and_narrow_dtypes(family, tmp_path):
    source = tiny.folder(tmp_path / "source", family, dtype=torch.bfloat16)
    done = prune_folder(
        source, sc.recipe("sparsegpt", refit=1.0), tmp_path / "out", batches=tiny.batches()
    )
    assert done.record["sparsity"] == pytest.approx(0.5, abs=1e-3)
    order = {t.name: i for i, t in enumerate(Weights().targets(tiny.load(source)))}
    rows = [row["target"] for row in done.record["layers"]]
    assert rows == sorted(rows, key=order.__getitem__)
    assert all(v.dtype == torch.bfloat16 for v in tiny.load(done.folder).state_dict().values())


def test_experts_stay_where_they_are():
    dense, batches = tiny.model("mixtral"), tiny.batches()
    model = copy.deepcopy(dense)
    walked(model, refit(), batches)
    same = {
        name: torch.equal(value, dense.get_parameter(name))
        for name, value in model.named_parameters()
        if "layers.1." in name and value.dim() > 1
    }
    moved = {name.split(".")[-2] for name, equal in same.items() if not equal}
    assert moved == {"q_proj", "k_proj", "v_proj", "o_proj"}


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_encoder_and_decoder(family):
    model, batches = made(family)
    dense = copy.deepcopy(model)
    result = sc.prune(model, sc.recipe("sparsegpt", refit=1.0), data=batches, example=batches[0])
    assert result.sparsity == pytest.approx(0.5, abs=1e-2)
    for name, value in dense.named_parameters():
        assert torch.isfinite(result.model.get_parameter(name)).all()
        assert value.shape == result.model.get_parameter(name).shape


def found_stages(family):
    model = tiny.model(family)
    targets, blocks = Weights().targets(model), find_blocks(model)
    with Conductor(model, blocks, tiny.batches(), lambda _: InMemory()).conducting() as conductor:
        block = conductor.next()
        mine = tuple(t for t in targets if block.owns(t.name))
        found = stages(conductor, block, mine)
    last = lambda path: path.split(".")[-1]  # noqa: E731
    names = [[last(t.name.removesuffix(".weight")) for t in s.targets] for s in found]
    return names, [[last(path) for path in s.beyond] for s in found]


def test_stages_are_layers_of_one_input_in_the_order_they_run():
    names, beyond = found_stages("llama")
    assert names == [[name.split(".")[-1] for name in stage] for stage in STAGES]
    assert beyond == [[n for later in names[i + 1 :] for n in later] for i in range(4)]
    assert found_stages("gpt2")[0] == [["c_attn"], ["c_proj"], ["c_fc"], ["c_proj"]]
    assert found_stages("mixtral")[0][-1] == ["gate_up_proj", "down_proj"]


def test_the_plan_counts_the_dense_block_and_what_flows_through_it(tmp_path):
    skeleton = Skeleton(Shards(tiny.folder(tmp_path / "source")))
    sampling = Sampling(samples=8, length=12)
    plans = {
        (share, where): preview(skeleton, sc.recipe("sparsegpt", refit=share), sampling, where)
        for share in (0.0, 1.0)
        for where in ("memory", "disk")
    }
    plain, beside = (plans[share, "memory"].memory for share in (0.0, 1.0))
    assert beside["activations"] == 2 * plain["activations"] > 0
    assert beside["that block as it was"] == plain["largest block"]
    assert beside["its statistics"] > 1.5 * plain["its statistics"]
    stored = plans[0.0, "memory"].disk
    assert plans[1.0, "disk"].disk - stored == 2 * (plans[0.0, "disk"].disk - stored) > 0


def test_what_would_have_no_effect_is_refused():
    with pytest.raises(PlanError, match=r"walk 'whole' does not tell; use walk 'blocks'"):
        sc.recipe("sparsegpt", refit=1.0, walk="whole")
    with pytest.raises(PlanError, match=r"walk 'whole' does not tell; use walk 'blocks'"):
        sc.recipe("magnitude-layerwise", refit=1.0)
    with pytest.raises(PlanError, match=r"refit: the method has solver 'exact-obs'"):
        sc.recipe("exact-obs", refit=1.0)
    with pytest.raises(PlanError, match=r"takes out whole units"):
        sc.recipe("llm-pruner", refit=1.0)
    with pytest.raises(PlanError, match="reconstruct=True"):
        sc.recipe("owl", refit=1.0)
    with pytest.raises(PlanError, match="refit"):
        sc.recipe("sparsegpt", refit=1.5)
    with pytest.raises(PlanError, match="runs beside it block by block"):
        collect(
            tiny.model(), ["input_shift"], ["model.layers.0.mlp.up_proj.weight"], tiny.batches()
        )


def heads(layer, x):
    """[tokens, width] what enters the output projection of an attention layer of torch."""
    fused = torch.nn.functional.linear(x, layer.in_proj_weight, layer.in_proj_bias)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in fused.chunk(3, -1))
    mixed = torch.softmax(q @ k.mT / 2, -1) @ v
    return mixed.transpose(1, 2).flatten(-2).flatten(0, 1)


def test_the_output_of_torch_attention_is_fitted_to_what_its_own_heads_give():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    dense = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()
    x = torch.randn(30, 5, 8, dtype=torch.float64)
    halves = {"layers.0.*": 0.5, "*": 1.0}
    got = sc.prune(dense, refit(layers=halves), data=[x]).model.layers[1].self_attn
    now, was = copy.deepcopy(dense.layers), dense.layers
    now[0] = sc.prune(dense, refit(layers=halves), data=[x]).model.layers[0]
    with torch.no_grad():
        inputs = [each[0](x) for each in (was, now)]
        attention = now[1].self_attn
        weight = attention.in_proj_weight
        weight.data = nearest(weight, *(each.flatten(0, 1) for each in inputs), DAMPING)
        entered = [heads(each[1].self_attn, y) for each, y in zip((was, now), inputs, strict=True)]
        out = nearest(attention.out_proj.weight, *entered, DAMPING)
    torch.testing.assert_close(got.in_proj_weight, weight, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(got.out_proj.weight, out, rtol=1e-6, atol=1e-9)
