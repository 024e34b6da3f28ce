"""Killed at any moment, the same request goes on and ends with the same bytes."""

import multiprocessing
import random
import signal
import time

import pytest

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.artifact.source import state_digest
from secateur.core.errors import StorageError
from secateur.engine.blockwise.folder import prune_folder
from tests.engine.blockwise import tiny
from tests.engine.blockwise.test_blockwise_folder import digests

FORK = multiprocessing.get_context("fork")


def prune(source, out, where, tell, refit=0.0):
    recipe = sc.recipe("owl", density=0.5, reconstruct=True, refit=refit)
    return prune_folder(
        source, recipe, out, batches=tiny.batches(), activations=where, progress=tell
    )


def killed(source, out, where, blocks, delay, refit):
    """Start, and SIGKILL `delay` seconds after so many blocks; True where it hit in time."""
    ours, theirs = FORK.Pipe()

    def work():
        theirs.send(0)
        prune(source, out, where, lambda event: theirs.send(event["done"]), refit)

    process = FORK.Process(target=work)
    process.start()
    while ours.poll(20) and ours.recv() < blocks:
        pass
    time.sleep(delay)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("refit", [0.0, 1.0])
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path, where, refit):
    source = tiny.folder(tmp_path / "source", num_hidden_layers=6)
    before = digests(source)
    prune(source, tmp_path / "whole", where, None, refit)
    rng, hits = random.Random(0 if where == "memory" else 1), 0
    for blocks in (0, *(rng.randrange(6) for _ in range(6))):
        hits += killed(source, tmp_path / "out", where, blocks, rng.uniform(0, 0.02), refit)
        if (tmp_path / "out").exists():
            break
    assert hits >= 2
    if not (tmp_path / "out").exists():
        prune(source, tmp_path / "out", where, None, refit)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    found = read_manifest(tmp_path / "out").provenance.source
    assert found == state_digest(tiny.load(source).state_dict())
    assert digests(source) == before
    assert not list(tmp_path.glob(".*"))


def test_work_of_another_request_is_not_gone_on_with(tmp_path):
    source, batches = tiny.folder(tmp_path / "source"), tiny.batches()

    def stop(event):
        if event["done"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune_folder(source, sc.recipe("wanda"), tmp_path / "out", batches=batches, progress=stop)
    for change in (
        {"recipe": sc.recipe("ria")},
        {"seed": 1},
        {"batches": tiny.batches(seed=1)},
    ):
        request = {"recipe": sc.recipe("wanda"), "batches": batches} | change
        with pytest.raises(StorageError, match="unfinished work of another request"):
            prune_folder(source, request.pop("recipe"), tmp_path / "out", **request)
    done = prune_folder(source, sc.recipe("wanda"), tmp_path / "out", batches=batches)
    assert done.record["sparsity"] == 0.5


def test_activations_go_away_and_two_processes_do_not_meet(tmp_path):
    source, batches = tiny.folder(tmp_path / "source"), tiny.batches()
    folders = []

    def look(event):
        kept = tmp_path / ".out.partial" / ".activations"
        folders.append(sorted(p.parent.name for p in kept.rglob("*.safetensors")))
        with pytest.raises(StorageError, match="another process works on"):
            prune_folder(
                source, sc.recipe("wanda"), tmp_path / "out", batches=batches, activations="disk"
            )

    prune_folder(
        source, sc.recipe("wanda"), tmp_path / "out", batches=batches, activations="disk",
        progress=look,
    )  # fmt: skip
    assert folders == [["model.layers.0"] * 2, ["model.layers.1"] * 2, ["model.layers.2"] * 2]
