"""What a result was made with: versions, git state, machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

from ..artifact.machine import machine as pruned_on

PACKAGES = ("secateur", "torch", "numpy", "safetensors", "datasets", "accelerate", "transformers")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed made no number
    return found


def git() -> dict[str, Any] | None:
    """Commit of the working directory and whether it differs from it; None outside a checkout."""
    commit = _git("rev-parse", "HEAD")
    return (
        None if commit is None else {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}
    )


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine(device: str) -> dict[str, Any]:
    """Platform, processor, threads and device."""
    found = pruned_on(device)
    named = {key: found[key] for key in ("processor", "threads")}
    return {"platform": platform.platform(), **named, "device": device}


def now() -> str:
    """The time in UTC, ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")
