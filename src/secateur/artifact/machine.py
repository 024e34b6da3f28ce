"""What a network was pruned on: device, processor, threads, version of torch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import torch


def machine(device: torch.device | str) -> dict[str, Any]:
    """Plain data on the device: its kind, its name, the threads of the CPU, torch.

    >>> machine("cpu")["device"]
    'cpu'
    """
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "processor": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def in_words(found: object) -> str:
    """`cpu (AMD EPYC), 2 threads, torch 2.13.0`, of what `machine` found; empty where a record has none."""
    if not isinstance(found, Mapping) or not {"device", "processor", "threads"} <= found.keys():
        return ""
    version = f", torch {found['torch']}" if "torch" in found else ""
    threads = "1 thread" if found["threads"] == 1 else f"{found['threads']} threads"
    return f"{found['device']} ({found['processor']}), {threads}{version}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
