"""All benchmarks, one after the other: `python -m benchmarks [name …]`."""

from __future__ import annotations

import importlib
import sys

NAMES = ("selection", "masks", "tracing", "structured_latency", "blockwise", "proxies")


def main() -> None:
    """Run the named benchmarks, or all."""
    chosen = sys.argv[1:] or NAMES
    for name in chosen:
        if name not in NAMES:
            raise SystemExit(f"unknown benchmark '{name}'. Allowed: {', '.join(NAMES)}")
        print(f"== {name}")
        importlib.import_module(f"benchmarks.{name}").main([])


if __name__ == "__main__":
    main()
