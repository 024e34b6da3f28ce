"""Structures taken out from disk, in two passes: the same bytes as in memory, also when it is killed."""

import json
import multiprocessing
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from support_thorough import but, thorough

import secateur as sc
from secateur.artifact.file import load_sparse
from secateur.artifact.manifest import read_manifest
from secateur.artifact.source import state_digest
from secateur.core.errors import DataError, PlanError, StorageError
from secateur.engine.blockwise import smaller
from secateur.engine.blockwise.blocks import Block
from secateur.engine.blockwise.cutting import Cutter
from secateur.engine.blockwise.smaller import shrink_folder, why_whole
from secateur.language.texts import Given
from secateur.language.whole import prune_whole
from secateur.saving import describe
from secateur.structure.graph.errors import ProofError
from secateur.text.calibration import Sampling
from tests.engine.blockwise import tiny
from tests.engine.blockwise.test_blockwise_folder import digests
from tests.language.conftest import HEADS, WORDS, add_tokenizer

LOADER = Path(__file__).parents[2] / "saving" / "stock_loader.py"
FORK = multiprocessing.get_context("fork")
TWO = {"num_hidden_layers": 2, "vocab_size": 64, **HEADS}
CASES = {
    "flap": ("llama", {"density": 0.5}),
    "smart-farm": ("gemma3_text", {"density": 0.7, "prune": "both", "late": 2.0}),
    "magnitude": ("phi3", {"density": 0.75, "importance": "magnitude", "equal": True}),
    "shortgpt": ("mixtral", {"density": 0.5}),
    "reap": ("mixtral", {"density": 0.5}),
}


def recipe_of(case):
    method = case if case in ("flap", "shortgpt", "reap") else "smart-farm"
    return sc.recipe(method, **CASES[case][1])


def texts():
    rng = torch.Generator().manual_seed(0)
    picks = torch.randint(len(WORDS), (40, 12), generator=rng).tolist()
    return [" ".join(WORDS[i] for i in row) for row in picks]


@pytest.mark.parametrize("case", but(["magnitude"], CASES))
def test_the_files_are_those_of_a_run_in_memory(case, tmp_path):
    family, recipe, words = CASES[case][0], recipe_of(case), texts()
    layers = {"layer_types": ["sliding_attention", "full_attention"]} if "gemma" in family else {}
    source = tiny.folder(tmp_path / "source", family, shard="1GB", **TWO, **layers)
    add_tokenizer(source)
    before, sampling = digests(source), Sampling(6, 16)
    done = sc.prune_folder(source, recipe, tmp_path / "a", data=words, sampling=sampling)
    given = Given(str(source), words, sampling, True, 0, None)
    other = prune_whole(source, recipe, tmp_path / "b", given, None)
    same_folders(tmp_path)
    for key in ("parameters", "units", "layers", "config", "loadable", "level", "perplexity"):
        assert done.record[key] == other.record[key], key
    assert done.record["proof"]["error"] < 1e-6
    assert done.record["proof"]["effect"] > 1e-3
    assert digests(source) == before


def same_folders(root):
    """Two results, `a` and `b`: the same bytes of weights, the same configuration, the same logits."""
    files = [root / name / "model.safetensors" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    configs = [json.loads((root / name / "config.json").read_text()) for name in "ab"]
    assert configs[0] == configs[1]
    ours, theirs = (sc.load(root / name) for name in "ab")
    ids = torch.arange(4, 14).view(1, -1)
    assert torch.equal(ours(ids).logits, theirs(ids).logits)


def prune(source, out, where="memory", tell=None, method="reap", **options):
    return shrink_folder(
        source, sc.recipe(method, **{"density": 0.5, **options}), out,
        lambda end: describe(end.model, end.folder, end.record, stock=not end.why),
        batches=tiny.batches(), activations=where, progress=tell,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("gemma3_text", "smart-farm", {"importance": "magnitude", "late": 2.0}),
        ("mixtral", "shortgpt", {}),
        pytest.param(
            "phi3", "smart-farm", {"importance": "magnitude", "equal": True}, marks=thorough
        ),
    ],
)
def test_shards_become_shards_that_hold_the_same(tmp_path, family, method, options):
    """As the model in one file becomes one; what needs no Secateur is read without it."""
    for name, shard in (("one", "1GB"), ("many", "9KB")):
        source = tiny.folder(tmp_path / name, family, shard=shard)
        prune(source, tmp_path / f"{name}-out", method=method, **options)
    one, many = tmp_path / "one-out", tmp_path / "many-out"
    assert [p.name for p in one.glob("*.safetensors*")] == ["model.safetensors"]
    files = sorted(p.name for p in many.glob("*.safetensors"))
    assert len(files) > 1
    assert files == [
        f"model-{i:05}-of-{len(files):05}.safetensors" for i in range(1, len(files) + 1)
    ]
    most = max(p.stat().st_size for p in (tmp_path / "many").glob("*.safetensors"))
    index = json.loads((many / "model.safetensors.index.json").read_text())["weight_map"]
    held = {file: load_file(many / file) for file in files}
    for file, tensors in held.items():
        assert {n for n, f in index.items() if f == file} == {*tensors}
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= most
    whole = load_file(one / "model.safetensors")
    assert {*index} == {*whole}
    assert all(torch.equal(held[index[name]][name], whole[name]) for name in whole)
    ids = torch.arange(4, 14).view(1, -1)
    ours = sc.load(many)
    assert torch.equal(ours(ids).logits, sc.load(one)(ids).logits)
    manifest = read_manifest(many)
    assert {*manifest.shards} == {*files}
    assert manifest.stock == (method == "shortgpt" or "equal" in options)
    if manifest.stock:
        stock = tiny.load(many)
        assert torch.equal(stock(ids).logits, ours(ids).logits)
    if method == "shortgpt":  # in an interpreter that cannot import Secateur, once for all of them
        seen = {"inputs": {"input_ids": ids}, "output": ours(ids).logits.detach()}
        torch.save(seen, many.with_suffix(".pt"))
        said = subprocess.run(
            [sys.executable, LOADER, many], capture_output=True, text=True, check=True
        )
        assert said.stdout.splitlines() == ["many-out True", "without secateur"]


def killed(source, out, where, method, blocks, delay):
    """Start, and SIGKILL `delay` seconds after so many blocks of both passes."""
    ours, theirs = FORK.Pipe()

    def work():
        prune(source, out, where, lambda event: theirs.send(event["done"]), method)

    process = FORK.Process(target=work)
    process.start()
    while ours.poll(40) and ours.recv() < blocks:
        pass
    time.sleep(delay)
    process.kill()
    process.join()


@pytest.mark.parametrize(
    ("method", "where", "stops"), [("reap", "memory", (1, 2, 3, 5)), ("flap", "disk", (1, 3))]
)
def test_killed_in_either_pass_it_ends_with_the_same_bytes(tmp_path, method, where, stops):
    """The first n events are of the pass that scores, the next n of the one that cuts."""
    family, n = ("mixtral", 3) if method == "reap" else ("llama", 2)
    source = tiny.folder(tmp_path / "source", family, num_hidden_layers=n, **HEADS)
    prune(source, tmp_path / "whole", where, method=method)
    rng, out = random.Random(0), tmp_path / "out"
    for blocks in stops:
        killed(source, out, where, method, blocks, rng.uniform(0, 0.01))
    assert not out.exists()
    journal = json.loads((tmp_path / ".out.partial" / ".journal.json").read_text())
    assert len(journal["scored"]) == n
    assert 1 <= len(journal["blocks"]) <= n
    seen = []
    prune(source, out, where, lambda event: seen.append(event["done"]), method)
    assert not seen or seen[0] == n + len(journal["blocks"]) + 1
    assert digests(out) == digests(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


def test_narrow_weights_are_proved_in_float32_and_known_by_their_digest(tmp_path):
    source = tiny.folder(tmp_path / "source", "mixtral", dtype=torch.bfloat16, **HEADS)
    done = prune(source, tmp_path / "out")
    assert 0 < done.record["proof"]["error"] < 1e-5
    files = (tmp_path / "out").glob("*.safetensors")
    assert {t.dtype for file in files for t in load_sparse(file).values()} == {torch.bfloat16}
    found = read_manifest(tmp_path / "out").provenance.source
    assert found == state_digest(tiny.load(source).state_dict())


def test_what_needs_the_whole_model_says_why():
    assert why_whole(sc.recipe("flap")) == ""
    assert "gradient" in why_whole(sc.recipe("llm-pruner"))
    assert "loss_without" in why_whole(sc.recipe("shortened-llama"))
    assert why_whole(sc.recipe("slicegpt")) == ""
    assert "basis" in why_whole(sc.recipe("slicegpt", progressive=False))
    assert "trains" in why_whole(sc.recipe("smart-farm", fine_tune="1ep"))
    assert "weighs" in why_whole(sc.recipe("flap", budget={"parameters": "80%"}))
    assert "connected" in why_whole(sc.recipe("flap").model_copy(update={"connected": True}))


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path):
    source = tiny.folder(tmp_path / "source", **HEADS)
    for recipe, batches, error, match in (
        (sc.recipe("llm-pruner"), tiny.batches(), PlanError, "needs the whole model in memory"),
        (sc.recipe("shortgpt"), (), DataError, "rests on activations"),
        (sc.recipe("magnitude", density=0.5), (), PlanError, "takes nothing out"),
    ):
        with pytest.raises(error, match=match):
            shrink_folder(source, recipe, tmp_path / "out", print, batches=batches)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(StorageError, match="is not empty"):
        prune(source, tmp_path / "out", method="shortgpt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_a_block_that_was_cut_wrongly_is_never_written(tmp_path, monkeypatch):
    """The experts of every block in another order than their rows of the router."""
    source = tiny.folder(tmp_path / "source", "mixtral", **HEADS)
    right = Cutter._parts

    def wrong(self, block):
        parts = right(self, block)
        return parts | {n: t.flip(0) for n, t in parts.items() if t.dim() == 3}

    monkeypatch.setattr(Cutter, "_parts", wrong)
    with pytest.raises(ProofError, match=r"'model.layers.0' without what goes differs by"):
        prune(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_the_stock_class_would_compute_otherwise_is_not_called_stock(tmp_path, monkeypatch):
    source = tiny.folder(tmp_path / "source", "mixtral", **HEADS)
    monkeypatch.setattr(smaller, "last_output", lambda *_: [torch.zeros(2, 16, 16)])
    done = prune(source, tmp_path / "out")
    assert "its outputs would differ by 1.0e+00" in done.record["why"]
    assert not read_manifest(tmp_path / "out").stock


class Alone(torch.nn.Linear):
    """As BigBird's blocks, whose attention the model sets while it runs."""

    def forward(self, x):
        raise ValueError("the model has not set this up")


def test_a_block_that_runs_only_within_its_model_is_refused():
    whole = torch.nn.Sequential(Alone(2, 2))
    cutter, block = SimpleNamespace(whole=whole), Block("0", "", whole[0])
    words = r"'0' does not run by itself .*ValueError: the model has not set this up.*in memory"
    with pytest.raises(ProofError, match=words):
        Cutter._whole(cutter, block, ((torch.ones(1, 2),), {}))
