"""The report as PDF, through WeasyPrint."""

from __future__ import annotations

from typing import Any

from ..core.errors import PlanError
from ..core.extras import need
from . import fonts
from .blocks import Document
from .html import MARK, page


def pdf(document: Document) -> bytes:
    """The bytes of a PDF with the same content as the page."""
    weasyprint = _weasyprint()
    faces = fonts.korean().faces() if document.lang == "ko" else ""
    written: bytes = weasyprint.HTML(string=page(document, paper=True, faces=faces)).write_pdf()
    return written.rstrip() + f"\n%{MARK}\n".encode()


def _weasyprint() -> Any:
    try:
        return need("weasyprint", "a PDF")
    except OSError as error:  # its libraries (Pango) are not part of the Python package
        raise PlanError(
            f"a PDF needs the system library Pango ({error}); install it, e.g. "
            "apt-get install libpango-1.0-0 libpangoft2-1.0-0, or ask for html and md only"
        ) from None
