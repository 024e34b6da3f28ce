"""The report's tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from .blocks import Block, Document, Facts, Figure, Section, Table
from .html import MARK


def markdown(document: Document) -> str:
    """Everything but the figures, whose numbers stand in tables of their own."""
    lines = [f"<!-- {MARK} -->", f"# {document.title}", document.subtitle, document.lead]
    if document.warnings:
        lines += [f"## {document.labels['warn.title']}", _bullets(document.warnings)]
    for section in document.sections:
        lines += _section(section)
    if document.missing:
        lines += [f"## {document.labels['missing.title']}", _bullets(document.missing)]
    return "\n\n".join(line for line in [*lines, document.labels["foot"]] if line) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    for block in section.blocks:
        yield from _block(block)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Facts):
        yield "\n".join(f"- {_plain(name)}: {_plain(value)}" for name, value in block.rows)
        return
    yield f"### {block.title}"
    table = block.table if isinstance(block, Figure) else block
    if table is not None:
        yield _table(table)
    yield block.caption


def _table(table: Table) -> str:
    heads = [_plain(column.title) for column in table.columns]
    rules = [":--" if column.align == "left" else "--:" for column in table.columns]
    rows = [[_plain(cell) for cell in row.cells] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rules, *rows])


def _bullets(items: tuple[str, ...]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(text: str) -> str:
    """One line, with what Markdown would read as its own marks made plain."""
    for mark in ("\\", "|", "*", "_", "<", "`"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
