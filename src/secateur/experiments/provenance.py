"""What a result was made with: versions, git state, machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

import torch

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
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {
        "platform": platform.platform(),
        "processor": name,
        "threads": torch.get_num_threads(),
        "device": device,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def now() -> str:
    """The time in UTC, ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")
