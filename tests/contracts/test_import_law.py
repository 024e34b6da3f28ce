"""Who may import whom: core <- axes <- engine <- methods <- experiments, cli; leaves stand apart."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

import secateur

ROOT = Path(secateur.__file__).parent

AXES = {
    "structure", "basis", "initial", "criteria", "scope", "allocation", "schedule", "pressure", "gates",
    "tuning", "solve", "recover", "precision", "materialise",
}  # fmt: skip
LEAVES = {"artifact", "data", "dynamic", "export", "measure", "models", "text"}

LAW: dict[str, set[str]] = {
    "core": set(),
    **{axis: {"core"} for axis in AXES},
    "materialise": {"core", "dynamic"},
    **{leaf: {"core"} for leaf in LEAVES},
    "batches": {"core"},
    "engine": {"core", "artifact", "costing", "measure", "shrinking"} | AXES,
    "methods": {"core", "engine"} | AXES,
    "advice": {"core", "engine"},
    "api": {"core", "artifact", "batches", "engine", "measure", "methods"} | AXES,
    "shrinking": {"core", "artifact", "materialise", "structure"},
    "structural": {"core", "measure", "shrinking", "structure"},
    "exporting": {
        "core",
        "api",
        "artifact",
        "export",
        "materialise",
        "saving",
        "structural",
        "structure",
    },
    "costing": {"core", "measure", "structure"},
    "folding": {"core", "structure"},
    "saving": {"core", "api", "artifact", "materialise", "models", "structural", "structure"},
    "transferring": {"core", "artifact", "materialise", "saving", "structure"},
    "language": {"core", "api", "artifact", "engine", "saving", "structural", "text"},
    "experiments": {
        "core",
        "api",
        "batches",
        "engine",
        "exporting",
        "methods",
        "saving",
        "shrinking",
    }
    | AXES
    | LEAVES,
    "report": {"core", "artifact", "experiments", "measure"},
    "cli": {
        "advice",
        "core",
        "api",
        "batches",
        "engine",
        "experiments",
        "exporting",
        "folding",
        "language",
        "methods",
        "report",
        "saving",
        "structural",
        "transferring",
    }
    | AXES
    | LEAVES,
    "__main__": {"cli"},
    "__init__": {
        "advice",
        "core",
        "api",
        "costing",
        "engine",
        "exporting",
        "folding",
        "language",
        "saving",
        "structural",
        "transferring",
    }
    | AXES
    | LEAVES,
}
"""Package (or module beside the packages) -> what it may import; a package may import itself."""

SPARING: dict[tuple[str, str], str] = {
    ("data", "artifact"): "a decoded data set is cached with the same atomic writes as an artifact",
    ("measure", "artifact"): "the size on disk is that of the file an artifact is saved as",
    ("measure", "engine"): "dead paths are found on the forward pass that the engine rewrites",
}
"""Exceptions with their reasons; one that nothing uses any more fails, so that the list shrinks."""


def imports() -> dict[tuple[str, str], list[str]]:
    """(importing package, imported package) -> the files that do it."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        where = path.relative_to(ROOT)
        package = where.parts[0].removesuffix(".py")
        for target in _targets(path.read_text(encoding="utf-8"), where.parent):
            if target != package:
                found[package, target].append(str(where))
    return found


def _targets(code: str, folder: Path) -> set[str]:
    """The packages of secateur that a file of `folder` imports, at its top or inside functions."""
    here = ("secateur", *folder.parts)
    out: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            parts = (*base, *(node.module or "").split(".")) if node.module else base
            out |= _package(parts, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                out |= _package(tuple(alias.name.split(".")), [])
    return out


def _package(parts: tuple[str, ...], names: list[str]) -> set[str]:
    """The first part below `secateur`, or the imported names where that is all there is."""
    if not parts or parts[0] != "secateur":
        return set()
    if len(parts) > 1:
        return {parts[1]}
    return {n for n in names if (ROOT / n).is_dir() or (ROOT / f"{n}.py").is_file()}


FOUND = imports()


@pytest.mark.parametrize("package", sorted({p for p, _ in FOUND}))
def test_imports_keep_the_law(package: str) -> None:
    assert package in LAW, f"'{package}' has no row in the law"
    for (importer, target), files in FOUND.items():
        if importer == package and (importer, target) not in SPARING:
            assert target in LAW[package], f"{package} may not import {target}: {files}"


def test_an_axis_never_imports_another_axis() -> None:
    crossing = {pair: files for pair, files in FOUND.items() if set(pair) <= AXES}
    assert not crossing


def test_no_exception_is_stale_and_none_is_between_axes() -> None:
    assert [pair for pair in SPARING if pair not in FOUND] == []
    assert [pair for pair in SPARING if pair[1] in LAW[pair[0]]] == []
    assert [pair for pair in SPARING if set(pair) <= AXES or pair[0] == "core"] == []


def test_every_package_is_in_the_law() -> None:
    packages = {p.name for p in ROOT.iterdir() if p.is_dir() and any(p.rglob("*.py"))}
    assert packages <= set(LAW)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from ..scope import Row", {"scope"}),
        ("from ..core.types import Target", {"core"}),
        ("from .. import scope", {"scope"}),
        ("import secateur.engine.step", {"engine"}),
        ("from secateur.data import load", {"data"}),
        ("from secateur import models", {"models"}),
        ("def f():\n    from ..engine import step", {"engine"}),
        ("from .budget import least", {"allocation"}),
        ("import torch", set()),
    ],
)
def test_the_reader_of_imports_sees_every_form(code: str, expected: set[str]) -> None:
    """The law is only as good as what reads the imports."""
    assert _targets(code, Path("allocation")) == expected
