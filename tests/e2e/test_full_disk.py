"""A disk that fills up in the middle of a study: one line, and the last good state in place."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from e2e.started import forked, server, start
from e2e.test_kill import outcome, study_of, words

SMALL, LARGE = "900k", "64m"
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of linux/sched.h


def can_mount(folder: Path) -> bool:
    """Whether a file system of a chosen size can be made here (root on Linux)."""
    if shutil.which("unshare") is None:
        return False
    (folder / "probe").mkdir()
    words = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "probe"]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False).returncode == 0


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def on_a_small_disk(folder: Path, asked: list[str]) -> None:
    """The command twice, each in a process of its own, on a disk that is larger the second time."""
    os.chdir(folder)
    assert ctypes.CDLL(None).unshare(NEW_MOUNTS) == 0
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", "disk")
    first = forked(asked, said="said")
    mount("-o", f"remount,size={LARGE}", "disk")
    second = forked(asked, said="said")
    shutil.copytree("disk/out", "copy")
    Path("codes").write_text(f"{first} {second}")


def test_a_study_survives_a_full_disk(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("needs root and `unshare` to make a file system of a chosen size")
    (tmp_path / "disk").mkdir()
    study = study_of("lottery-ticket", "{rounds: 3}", tmp_path)
    undisturbed = start(words(study, tmp_path / "undisturbed"))
    asked = words(study, tmp_path / "disk" / "out")
    process = server().Process(target=on_a_small_disk, args=(tmp_path, asked))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "codes").read_text() == "2 0"
    said = (tmp_path / "said").read_text()
    (line,) = [line for line in said.splitlines() if line.startswith("secateur: ")]
    assert "the disk is full; free some space" in line
    assert "Traceback" not in said
    undisturbed.join()
    points, weights = outcome(tmp_path / "copy")
    expected, bits = outcome(tmp_path / "undisturbed")
    assert points == expected
    assert all((weights[name] == tensor).all() for name, tensor in bits.items())
