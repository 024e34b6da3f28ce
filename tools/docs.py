"""Regenerate what documentation takes from the code: docs/methods.md and the README's table."""

from __future__ import annotations

from pathlib import Path

import secateur  # noqa: F401  (fills the catalogue)
from secateur.methods.cards import markdown, table

ROOT = Path(__file__).resolve().parent.parent
START, STOP = "<!-- methods: made by `make docs` -->\n", "<!-- end of methods -->"


def readme(text: str) -> str:
    """The README with its table of methods as the catalogue has it."""
    head, _, rest = text.partition(START)
    _, stop, tail = rest.partition(STOP)
    if not stop:
        raise SystemExit(f"README.md lacks the markers {START.strip()} … {STOP}")
    return f"{head}{START}\n{table()}\n\n{STOP}{tail}"


def main() -> None:
    """Write both files."""
    (ROOT / "docs" / "methods.md").write_text(markdown(), encoding="utf-8")
    path = ROOT / "README.md"
    path.write_text(readme(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
