"""Write a report: make everything first, then put the files in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ..artifact.atomic import storage_error, write_bytes
from ..core.errors import StorageError, unknown
from ..experiments.language.results import is_language_study
from . import language
from .blocks import Document
from .document import compose
from .html import MARK, web
from .markdown import markdown
from .pdf import pdf
from .study import open_study
from .words import Words

FORMATS: dict[str, Callable[[Document], bytes]] = {
    "html": lambda document: web(document).encode(),
    "pdf": pdf,
    "md": lambda document: markdown(document).encode(),
}


def write(
    root: str | Path,
    out_folder: str | Path,
    *,
    lang: str = "en",
    formats: Iterable[str] = ("html", "pdf", "md"),
    experiment: str | None = None,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write the report of a results folder; nothing is written where anything fails.

    A file that a report wrote before is replaced. Any other file of that name is left alone, and
    an error, unless `overwrite` is set.

    Args:
        root: results folder.
        out_folder: where `report.html`, `report.pdf` and `report.md` go; in Korean
            `report-ko.html` and so on.
        lang: `en` or `ko`.
        formats: any of `html`, `pdf`, `md`.
        experiment: the study, where the folder holds several.
        overwrite: replace whatever is there.

    Returns:
        Format -> path.
    """
    wanted = list(dict.fromkeys(formats))
    for name in wanted:
        if name not in FORMATS:
            raise unknown("report format", name, FORMATS)
    suffix = "" if lang == "en" else f"-{lang}"
    document = _document(root, experiment, Words(lang))
    paths = {name: Path(out_folder) / f"report{suffix}.{name}" for name in wanted}
    for path in paths.values():
        _check_free(path, overwrite)
    contents = {name: FORMATS[name](document) for name in wanted}
    _make(Path(out_folder))
    for name, path in paths.items():
        write_bytes(path, contents[name])
    return paths


def _document(root: str | Path, experiment: str | None, words: Words) -> Document:
    """The report of whatever kind of study lies there."""
    if is_language_study(root):
        return language.compose(language.open_rows(root), words)
    return compose(open_study(root, experiment), words)


def _check_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite and not _ours(path):
        raise StorageError(
            f"'{path}' exists and was not written by a report; choose another folder or ask for "
            "overwrite"
        )


def _ours(path: Path) -> bool:
    """The mark stands near the beginning of HTML and Markdown, at the very end of a PDF."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise storage_error(error, path, "read") from error
    return MARK.encode() in content[:2000] + content[-200:]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder, "create") from error
