"""Folders pruned block by block are artifacts too: `load` checks every byte and trusts nothing beside."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest
import torch

pytest.importorskip("transformers")
from saving.test_hostile import built_by, refused, rewrite

import secateur as sc
from secateur.artifact.covered import digest_of
from secateur.artifact.manifest import read_manifest
from secateur.engine.blockwise.folder import prune_folder
from tests.engine.blockwise import tiny

RECIPE = sc.recipe("magnitude-layerwise", density=0.5, walk="blocks")
IDS = torch.arange(3, 15).view(2, 6)


def pruned(path, family="llama", **options):
    source = tiny.folder(path / "source", family, **options)
    return prune_folder(source, RECIPE, path / "out").folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A Llama in several shards."""
    return pruned(tmp_path_factory.mktemp("covered"))


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "a")


@pytest.mark.parametrize("family", ["llama", "mixtral", "gemma3_text", "gpt2"])
def test_it_loads_as_the_stock_class_does_and_stays_sparse(tmp_path, family):
    out = pruned(tmp_path, family)
    assert len(list(out.glob("*.safetensors"))) > 1
    model, stock = sc.load(out), tiny.load(out)
    assert type(model) is type(stock)
    assert model.config.use_cache == stock.config.use_cache
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, stock(IDS).logits)
    zeros = {n: p.detach() == 0 for n, p in model.named_parameters() if p.dim() >= 2}
    model.train()(IDS, labels=IDS).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for name in read_manifest(out).zeros:
        assert torch.equal(zeros[name], model.get_parameter(name).detach() == 0)
        assert bool(zeros[name].any())


def test_one_file_and_what_stands_beside(tmp_path):
    source = tiny.folder(tmp_path / "source", shard="1GB")
    (source / "generation_config.json").write_text('{"eos_token_id": 7}')
    out = prune_folder(source, RECIPE, tmp_path / "out").folder
    assert set(read_manifest(out).covered) == {"model.safetensors", "generation_config.json"}
    assert sc.load(out).generation_config.eos_token_id == 7
    again = sc.save(sc.load(out), tmp_path / "again")
    assert torch.equal(sc.load(again)(IDS).logits, sc.load(out)(IDS).logits)


def test_files_beside_the_list_are_not_looked_at(folder):
    wanted = sc.load(folder)(IDS).logits
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    (folder / "model.safetensors").write_bytes(b"other weights that a loader might prefer")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/evil"}')
    assert torch.equal(sc.load(folder)(IDS).logits, wanted)


def test_cut_missing_and_changed_files(folder):
    names = [*read_manifest(folder).covered, "pruning.json"]
    assert "model.safetensors.index.json" in names
    rng = random.Random(0)
    for name in names:
        whole = (folder / name).read_bytes()
        for length in (0, 8, len(whole) // 2, len(whole) - 2):
            (folder / name).write_bytes(whole[:length])
            refused(folder)
        for _ in range(4):
            changed = bytearray(whole)
            at = rng.randrange(len(whole))
            changed[at] ^= 1 << rng.randrange(8)
            if not (changed[at : at + 1].isspace() and whole[at : at + 1].isspace()):
                (folder / name).write_bytes(changed)
                refused(folder)
        (folder / name).unlink()
        refused(folder)
        (folder / name).write_bytes(whole)
    sc.load(folder)


def listing(**changes):
    """Change the list of files, and the digest of it, as somebody with bad intentions would."""

    def change(content):
        content["covered"] |= changes
        content["covered"] = {k: v for k, v in content["covered"].items() if v is not None}
        content["weights"] = digest_of(content["covered"])

    return change


def config(**changes):
    return lambda content: content["architecture"]["config"].update(changes)


PLANS = {
    "a file elsewhere": (listing(**{"../source/config.json": "0" * 64}), "no name of a file"),
    "a hidden file": (listing(**{".lock": "0" * 64}), "no name of a file"),
    "a configuration as a file": (listing(**{"config.json": "0" * 64}), "no name of a file"),
    "a list that was changed": (lambda c: c["covered"].popitem(), "does not match its digest"),
    "a file that is not there": (listing(**{"more.safetensors": "0" * 64}), "no such file"),
    "a file left out": (listing(**{"model.safetensors.index.json": None}), "cannot read|fit"),
    "masks of nothing": (lambda c: c.update(zeros=["model.embed.weight"]), "does not have"),
    "a shell": (built_by("os:system", config={}), "not read by"),
    "no model": (built_by("transformers:Trainer", config={}), "no model class"),
    "no configuration": (lambda c: c["architecture"].update(config=None), "has none"),
    "another model": (built_by("transformers:GPT2LMHeadModel", config={}), "cannot read|fit"),
    "more layers than weights": (config(num_hidden_layers=4), "do not fit"),
    "fewer layers than weights": (config(num_hidden_layers=2), "do not fit"),
    "wider layers": (config(intermediate_size=64), "cannot read|do not fit"),
    "endless layers": (config(num_hidden_layers=10**8), "far larger than"),
    "code in the configuration": (
        config(num_hidden_layers=4, auto_map={"AutoModel": "evil.py"}),
        "do not fit",
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_with_a_right_digest(folder, name):
    change, words = PLANS[name]
    rewrite(folder, change)
    refused(folder, words)


def test_sizes_beyond_the_memory_allowed_devices_and_pipes(folder):
    refused(folder, "are allowed", limit=1000)
    shard = next(folder.glob("*.safetensors"))
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(sc.SecateurError, match="no ordinary file"):
        sc.load(folder)


def test_a_pruned_folder_can_be_pruned_again(made, tmp_path):
    recipe = sc.recipe("magnitude-layerwise", density=0.25, walk="blocks")
    again = prune_folder(made, recipe, tmp_path / "again").folder
    assert json.loads((again / "pruning.json").read_text())["provenance"]["record"]["kept"]
    weight = sc.load(again).model.layers[0].mlp.up_proj.weight
    assert float((weight != 0).float().mean()) == 0.25
