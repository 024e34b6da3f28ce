"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import secateur

ROOT = Path(secateur.__file__).parent
FILE_MEDIAN, FILE_CAP = 150, 400
BODY_MEDIAN, BODY_MOST, BODY_CAP = 8, 25, 60

LONG_FILES: dict[str, tuple[int, str]] = {}
"""File -> (lines it may have, why it is one file). An entry that is not needed any more fails."""

LONG_FUNCTIONS: dict[str, tuple[int, str]] = {}
"""file::function -> (body lines it may have, why it is one function). Stale entries fail."""


def files() -> dict[str, int]:
    """Lines of every module; empty ones are left out."""
    paths = sorted(ROOT.rglob("*.py"))
    lines = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in paths}
    return {name: n for name, n in lines.items() if n}


def functions() -> dict[str, int]:
    """Body lines of every function and method, without signature and docstring."""
    out: dict[str, int] = {}
    for path in sorted(ROOT.rglob("*.py")):
        where = str(path.relative_to(ROOT))
        for name, node in _defined(ast.parse(path.read_text("utf-8")), ""):
            lines = body_lines(node)
            if lines:
                out[f"{where}::{name}"] = lines
    return out


def _defined(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function below `node` with its dotted name, nested ones too."""
    for child in ast.iter_child_nodes(node):
        name = f"{inside}.{child.name}".lstrip(".") if hasattr(child, "name") else inside
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, child  # type: ignore[misc]
        yield from _defined(child, str(name))


def body_lines(node: ast.FunctionDef) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def over(sizes: dict[str, int], cap: int, known: dict[str, tuple[int, str]]) -> dict[str, int]:
    """What is above the cap, or above the size its exception grants."""
    return {n: size for n, size in sizes.items() if size > max(cap, known.get(n, (0, ""))[0])}


def stale(sizes: dict[str, int], cap: int, known: dict[str, tuple[int, str]]) -> list[str]:
    """Exceptions for things that are gone, fit the cap by now, or could be granted less."""
    return [n for n, (granted, _) in known.items() if not cap < sizes.get(n, 0) == granted]


FILES, FUNCTIONS = files(), functions()


def test_files() -> None:
    modules = [n for name, n in FILES.items() if not name.endswith("__init__.py")]
    assert median(modules) <= FILE_MEDIAN
    assert over(FILES, FILE_CAP, LONG_FILES) == {}


def test_functions() -> None:
    sizes = sorted(FUNCTIONS.values())
    assert median(sizes) <= BODY_MEDIAN
    assert sum(s < BODY_MOST for s in sizes) >= 0.9 * len(sizes)
    assert over(FUNCTIONS, BODY_CAP, LONG_FUNCTIONS) == {}


def test_exceptions_only_shrink() -> None:
    assert stale(FILES, FILE_CAP, LONG_FILES) == []
    assert stale(FUNCTIONS, BODY_CAP, LONG_FUNCTIONS) == []
    assert all(reason for _, reason in [*LONG_FILES.values(), *LONG_FUNCTIONS.values()])


def test_what_counts_as_a_body_and_as_stale() -> None:
    """The measure itself, on code small enough to count by eye."""
    tree = ast.parse('def f(\n    a,\n):\n    """Doc."""\n    b = a\n\n    return b\n')
    assert [body_lines(f) for _, f in _defined(tree, "")] == [3]
    tree = ast.parse('class A:\n    def f(self):\n        """Only a docstring."""\n')
    assert [(n, body_lines(f)) for n, f in _defined(tree, "")] == [("A.f", 0)]
    assert over({"a": 70, "b": 61}, 60, {"a": (70, "why")}) == {"b": 61}
    assert stale({"a": 70, "b": 60, "c": 65}, 60, {"a": (70, "x"), "b": (60, "x")}) == ["b"]
    assert stale({"c": 65}, 60, {"c": (70, "x"), "gone": (70, "x")}) == ["c", "gone"]
