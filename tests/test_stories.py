"""The trained story model: what a layer loses by each method, and what the model then writes."""

import copy

import pytest
import torch
from support_data import needs_data, weights

import secateur as sc
from secateur.engine.collect import collect
from secateur.scope import Row

pytest.importorskip("transformers")
TALE = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
)


@pytest.fixture(scope="module")
def stories():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = weights("stories260k")
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(
        folder
    )


def own_text(model, start, count=8, tokens=96):
    """Token ids the model samples at temperature 1."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        return model.generate(
            torch.full((count, 1), start), max_new_tokens=tokens, min_new_tokens=tokens,
            do_sample=True, top_k=0,
        )  # fmt: skip


@needs_data
def test_the_known_story_is_reproduced(stories):
    model, tokenizer = stories
    start = torch.tensor([[tokenizer.bos_token_id]])
    ids = model.generate(start, max_new_tokens=40, do_sample=False)
    assert tokenizer.decode(ids[0], skip_special_tokens=True).startswith(TALE)


def by_rows(method):
    """Half of every row: the same budget of the same groups for each criterion."""
    recipe = sc.recipe(method, sparsity=0.5, walk="whole")
    return recipe if method == "sparsegpt" else recipe.model_copy(update={"scope": Row()})


@needs_data
def test_sparsegpt_loses_least_in_every_layer_and_wanda_less_than_magnitude_of_the_same_rows(
    stories,
):
    """‖ΔW X‖² with 50 % of the weights removed, X what flows through the dense model."""
    model, tokenizer = stories
    batches = [{"input_ids": own_text(model, tokenizer.bos_token_id)}]
    names = [n for n, p in model.named_parameters() if ".layers." in n and p.dim() == 2]
    grams = collect(model, ["input_gram"], names, batches)["input_gram"]
    lost = {}
    for method in ("magnitude-layerwise", "wanda", "sparsegpt"):
        pruned = sc.prune(model, by_rows(method), data=batches).model
        delta = {
            n: (pruned.get_parameter(n) - model.get_parameter(n)).detach().double() for n in names
        }
        lost[method] = {n: float(((d @ grams[n].double()) * d).sum()) for n, d in delta.items()}
    worse = [n for n in names if lost["wanda"][n] > lost["magnitude-layerwise"][n]]
    assert worse == []
    for name in names:
        assert lost["sparsegpt"][name] <= lost["wanda"][name], name


@needs_data
def test_aiming_at_the_dense_outputs_gives_better_stories(stories):
    """Loss on other text of the model's own, with half of the weights left by SparseGPT."""
    model, tokenizer = stories
    calibration, other = own_text(model, tokenizer.bos_token_id, count=16).split(8)
    losses = []
    for share in (0.0, 0.5):
        pruned = copy.deepcopy(model)
        data = [{"input_ids": calibration}]
        pruned = sc.prune(pruned, "sparsegpt", sparsity=0.5, refit=share, data=data).model
        with torch.no_grad():
            losses.append(float(pruned(input_ids=other, labels=other).loss))
    assert losses[1] < losses[0] - 0.2
