"""Blocks run one by one from disk give what the whole model gives, in every family."""

import re

import pytest
import torch
from support_thorough import thorough

from secateur.engine.blockwise.activations import InMemory, OnDisk
from secateur.engine.blockwise.blocks import find_blocks
from secateur.engine.blockwise.conductor import Conductor
from secateur.engine.blockwise.shards import Shards
from secateur.engine.blockwise.skeleton import Skeleton, build
from secateur.engine.blockwise.weightless import why_untraced
from tests.engine.blockwise import tiny


def last_block_outputs(model, batches):
    """What the last block gives for each batch, by an ordinary forward pass."""
    seen = []
    first = lambda out: out[0] if isinstance(out, tuple) else out  # noqa: E731
    last = find_blocks(model)[-1].module
    hook = last.register_forward_hook(lambda module, args, out: seen.append(first(out)))
    with torch.no_grad():
        for batch in batches:
            model(**batch, use_cache=False)
    hook.remove()
    return seen


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_block_by_block_from_disk_is_the_whole_model(family, tmp_path):
    source = tiny.folder(tmp_path / "source", family)
    skeleton = Skeleton(Shards(source))
    batches, blocks = tiny.batches(), find_blocks(skeleton.model)
    room = lambda name: OnDisk(tmp_path / "kept" / name) if len(family) % 2 else InMemory()  # noqa: E731
    order = []
    with Conductor(skeleton.model, blocks, batches, room).conducting() as conductor:
        while (block := conductor.next()) is not None:
            assert all(p.is_meta for p in block.module.parameters())
            skeleton.load(block.name)
            stored = skeleton.stored(block.name)
            assert sorted(stored) == sorted(skeleton.keys(block.name))
            assert all(torch.equal(v, skeleton.shards.read(k)) for k, v in stored.items())
            conductor.finish(block)
            conductor.forget()
            skeleton.release(block.name)
            order.append(block.name)
        got = [conductor.outputs[blocks[0].stack].get(i) for i in range(len(batches))]
    assert order == [block.name for block in blocks]
    got = [out[0] if isinstance(out, tuple) else out for out in got]
    valid = batches[0]["attention_mask"].bool()
    for ours, theirs in zip(got, last_block_outputs(tiny.load(source), batches), strict=True):
        torch.testing.assert_close(ours[valid], theirs[valid])


def test_only_what_is_called_is_loaded(tmp_path):
    skeleton = Skeleton(Shards(tiny.folder(tmp_path / "source", tie_word_embeddings=False)))
    conductor = Conductor(
        skeleton.model, find_blocks(skeleton.model), tiny.batches(), lambda n: InMemory()
    )
    with conductor.conducting():
        assert conductor.next().name == "model.layers.0"
    real = [name for name, p in skeleton.model.named_parameters() if not p.is_meta]
    assert real == ["model.embed_tokens.weight"]


def test_names_without_the_prefix_of_the_base_model_are_found_and_kept(tmp_path):
    """GPT-2's files on the hub say `h.0.…`, the model `transformer.h.0.…`."""
    from safetensors.torch import load_file, save_file

    source = tiny.folder(tmp_path / "source", "gpt2", shard="1GB")
    path = source / "model.safetensors"
    save_file({k.removeprefix("transformer."): v for k, v in load_file(path).items()}, path)
    skeleton = Skeleton(Shards(source))
    skeleton.load("transformer.h.1")
    assert "h.1.attn.c_attn.weight" in skeleton.stored("transformer.h.1")


AFMOE = tiny.COMMON | tiny.MOE | {"num_dense_layers": 1, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("mixtral", "routers decide by values"),
        pytest.param(
            "afmoe", "^AfmoeForCausalLM cannot be traced without its weights: [^.]", marks=thorough
        ),
    ],
)
def test_what_values_decide_is_not_traced_without_weights(family, reason, monkeypatch, tmp_path):
    monkeypatch.setitem(tiny.FAMILIES, "afmoe", AFMOE)
    said = why_untraced(build(Shards(tiny.folder(tmp_path, family))))
    assert re.search(reason, said)
    assert "Remedy" not in said
