"""A disk that fills up in the middle of a study: one line, and the last good state in place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.test_kill import STUDY, finish, outcome

SMALL, LARGE = "900k", "64m"

SCRIPT = """
mount -t tmpfs -o size={small} tmpfs disk || exit 77
{run}
echo "first run: $?"
mount -o remount,size={large} disk
{run}
echo "second run: $?"
cp -r disk/out copy
"""


def can_mount(folder: Path) -> bool:
    """Whether a file system of a chosen size can be made here (root on Linux)."""
    if shutil.which("unshare") is None:
        return False
    (folder / "probe").mkdir()
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "probe"]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0


def test_a_study_survives_a_full_disk(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("needs root and `unshare` to make a file system of a chosen size")
    (tmp_path / "disk").mkdir()
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.replace("METHOD", "lottery-ticket").replace("OPTIONS", "{rounds: 3}"))
    words = "-m secateur run study.yaml --out disk/out --checkpoint-seconds 0 --device cpu"
    script = SCRIPT.format(small=SMALL, large=LARGE, run=f"{sys.executable} {words}")
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip
    assert "first run: 2" in done.stdout
    assert "second run: 0" in done.stdout
    said = [line for line in done.stderr.splitlines() if line.startswith("secateur: ")]
    assert len(said) == 1
    assert "the disk is full; free some space" in said[0]
    assert "Traceback" not in done.stderr
    finish(study, tmp_path / "undisturbed")
    points, weights = outcome(tmp_path / "copy")
    expected, bits = outcome(tmp_path / "undisturbed")
    assert points == expected
    assert all((weights[name] == tensor).all() for name, tensor in bits.items())
