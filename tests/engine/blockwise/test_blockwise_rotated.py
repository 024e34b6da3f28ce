"""SliceGPT from disk: bases found place after place, the same bytes as in memory, also when it is killed."""

import random

import pytest
import torch

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.artifact.source import state_digest
from secateur.engine.blockwise.rotated import RotatedSkeleton
from secateur.engine.blockwise.shards import Shards
from secateur.engine.blockwise.smaller import why_not_by_blocks
from secateur.language.texts import Given
from secateur.language.whole import prune_whole
from secateur.structure.graph.errors import ProofError
from secateur.text.calibration import Sampling
from tests.engine.blockwise import tiny
from tests.engine.blockwise.test_blockwise_folder import digests
from tests.engine.blockwise.test_blockwise_smaller import killed, prune, same_folders, texts
from tests.language.conftest import add_tokenizer

TWO = {"num_hidden_layers": 2}
SIZES = {"vocab_size": 64, **TWO}
CASES = {
    "sliced head": ("llama", {"head": True}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "layer norms": ("opt", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_files_are_those_of_a_run_in_memory(case, tmp_path):
    family, options = CASES[case][0], dict(CASES[case][1])
    recipe = sc.recipe("slicegpt", density=0.5, head=options.pop("head", False))
    source = tiny.folder(tmp_path / "source", family, shard="1GB", **SIZES, **options)
    add_tokenizer(source)
    before, words, sampling = digests(source), texts(), Sampling(6, 16)
    done = sc.prune_folder(source, recipe, tmp_path / "a", data=words, sampling=sampling)
    given = Given(str(source), words, sampling, True, 0, None)
    other = prune_whole(source, recipe, tmp_path / "b", given, None)
    same_folders(tmp_path)
    for key in ("parameters", "units", "layers", "loadable", "level", "perplexity"):
        assert done.record[key] == other.record[key], key
    assert done.record["pruning"]["passes"] == 2
    assert done.record["proof"]["error"] < 1e-5
    assert done.record["proof"]["effect"] > 1e-3
    assert digests(source) == before


def test_turned_and_whole_a_model_computes_the_same(tmp_path):
    """What the skeleton hands out, put together, with all axes kept."""
    source = tiny.folder(tmp_path / "source", "llama", tie_word_embeddings=True)
    basis = sc.recipe("slicegpt").basis
    skeleton = RotatedSkeleton(Shards(source), basis)
    bases: dict[str, torch.Tensor] = {}
    rng = torch.Generator().manual_seed(0)
    for place in skeleton.every:
        square = torch.randn(16, 16, generator=rng, dtype=torch.float64)
        bases[place.norm] = torch.linalg.qr(square).Q
    skeleton.turned(bases.__getitem__)
    for i in range(3):
        skeleton.load(f"model.layers.{i}")
    for name, p in skeleton.model.named_parameters():
        if p.is_meta:
            skeleton.fetch(name)
    dense, ids = tiny.load(source), torch.arange(4, 14).view(1, -1)
    wanted, found = dense(ids).logits, skeleton.model(ids).logits
    assert torch.allclose(found, wanted, atol=1e-5)
    assert skeleton.source() == state_digest(dense.state_dict())
    assert skeleton.parameters == sum(p.numel() for p in dense.parameters())


@pytest.mark.parametrize(("where", "stops"), [("memory", (1, 3)), ("disk", (2, 3))])
def test_killed_in_either_pass_it_ends_with_the_same_bytes(tmp_path, where, stops):
    """The first two events are of the pass that finds the bases, the next two of the one that cuts."""
    source = tiny.folder(tmp_path / "source", **TWO)
    prune(source, tmp_path / "whole", where, method="slicegpt")
    rng, out = random.Random(0), tmp_path / "out"
    for blocks in stops:
        killed(source, out, where, "slicegpt", blocks, rng.uniform(0, 0.01))
    assert not out.exists()
    prune(source, out, where, method="slicegpt")
    assert digests(out) == digests(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))
    assert len(read_manifest(out).shards) > 1


def test_narrow_weights(tmp_path):
    source = tiny.folder(tmp_path / "source", dtype=torch.bfloat16, **TWO)
    done = prune(source, tmp_path / "out", method="slicegpt")
    assert 0 < done.record["proof"]["error"] < 1e-4
    state = sc.load(tmp_path / "out").state_dict()
    assert {t.dtype for t in state.values()} == {torch.bfloat16}


def test_a_block_that_was_turned_wrongly_is_never_written(tmp_path, monkeypatch):
    source = tiny.folder(tmp_path / "source", **TWO)
    from secateur.engine.blockwise.rotating import RotatedCutter

    right = RotatedCutter._parts

    def wrong(self, block):
        return {n: t.flip(0) if "o_proj" in n else t for n, t in right(self, block).items()}

    monkeypatch.setattr(RotatedCutter, "_parts", wrong)
    with pytest.raises(ProofError, match=r"'model.layers.0' without what goes differs by"):
        prune(source, tmp_path / "out", method="slicegpt")
    assert not (tmp_path / "out").exists()


def test_where_the_code_of_a_model_holds_its_width_it_is_done_in_memory(tmp_path):
    """GPT-2 gives its output the width of its embedding, unless the head is sliced too."""
    source = tiny.folder(tmp_path / "source", "gpt2", **SIZES)
    add_tokenizer(source)
    why = why_not_by_blocks(Shards(source), sc.recipe("slicegpt"))
    assert "does not take the new widths" in why
    for head in (False, True):
        plan = sc.plan_folder(source, "slicegpt", density=0.5, head=head)
        assert ("the whole model is in memory" in str(plan)) == (not head)
    done = prune(source, tmp_path / "out", method="slicegpt", head=True)
    assert done.record["proof"]["error"] < 1e-5
