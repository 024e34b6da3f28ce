"""Kill -9 at random moments and start again: the run ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from e2e.started import start

from secateur.artifact import load_sparse

STUDY = """
schema: 1
name: kill
network: {spec: lenet-300-100}
data: {source: digits, validation: 0.1, flip: false}
training: {preset: short, length: 2ep, batch_size: 128}
scoring: {samples: 128}
seeds: [3]
runs:
  - {method: METHOD, options: OPTIONS}
"""


def words(study: Path, out: Path) -> list[str]:
    return ["run", str(study), "--out", str(out), "--checkpoint-seconds", "0", "--device", "cpu"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


CASES = {
    "lottery-ticket": ("{rounds: 2, rate: 0.5, rewind_to: 5it}", 1),
    "han": ("{rounds: 2, fine_tune: 1ep}", 2),
    "rigl": ("{sparsity: 0.8, every: 4it}", 3),
}


def study_of(method: str, options: str, folder: Path) -> Path:
    """The file of a study of one method."""
    study = folder / f"{method}.yaml"
    study.write_text(STUDY.replace("METHOD", method).replace("OPTIONS", options))
    return study


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case to its end, in an interpreter of its own: strings hash otherwise than in the killed ones."""
    folder = tmp_path_factory.mktemp("undisturbed")
    asked = [
        words(study_of(method, options, folder), folder / method)
        for method, (options, _) in CASES.items()
    ]
    code = f"from secateur.cli.main import call\nassert not any([call(words) for words in {asked}])"
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, capture_output=True)
    return folder


def kill_until_done(study: Path, out: Path, rng: random.Random) -> int:
    """Start, kill -9 after a random while, start again; returns how often it was killed."""
    kills = 0
    while kills < 6:
        process = start(words(study, out))
        begun = wait_for_work(process, out)
        time.sleep(rng.uniform(0.0, 0.3) if begun else 0)
        if not process.is_alive():
            assert process.exitcode == 0
            return kills
        process.kill()
        process.join()
        kills += 1
    process = start(words(study, out))
    process.join()
    assert process.exitcode == 0
    return kills


def wait_for_work(process: BaseProcess, out: Path) -> bool:
    """Wait until the process has written something new; False where it ended before."""
    before = newest(out)
    while process.is_alive():
        if newest(out) > before:
            return True
        time.sleep(0.02)
    return False


def newest(out: Path) -> float:
    """When the last weights were written; a run deletes the ones before while they are looked at."""
    times = []
    for path in out.rglob("*.safetensors"):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


def outcome(out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The points without their times, and the final weights."""
    (path,) = out.glob("*/3/result.json")
    points = json.loads(path.read_text())["points"]
    for point in points:
        del point["seconds"]
    last = max(path.parent.glob("point-*.safetensors"))
    return points, load_sparse(last)


@pytest.mark.parametrize("method", CASES)
def test_a_killed_run_ends_bit_identically(undisturbed: Path, tmp_path: Path, method: str) -> None:
    options, seed = CASES[method]
    study = study_of(method, options, tmp_path)
    kills = kill_until_done(study, tmp_path / "killed", random.Random(seed))
    assert kills >= 2, "the run was over before it could be killed; the test proved nothing"
    (whole, weights), (points, after) = outcome(undisturbed / method), outcome(tmp_path / "killed")
    assert points == whole
    assert after.keys() == weights.keys()
    assert all(after[name].equal(weights[name]) for name in weights)
