"""The report as PDF, through WeasyPrint."""

from __future__ import annotations

from ..core.errors import PlanError
from . import fonts
from .blocks import Document
from .html import MARK, page


def pdf(document: Document) -> bytes:
    """The bytes of a PDF with the same content as the page."""
    weasyprint = _weasyprint()
    faces = fonts.korean().faces() if document.lang == "ko" else ""
    written: bytes = weasyprint.HTML(string=page(document, paper=True, faces=faces)).write_pdf()
    return written.rstrip() + f"\n%{MARK}\n".encode()


def _weasyprint():  # type: ignore[no-untyped-def]
    try:
        import weasyprint
    except ImportError:
        raise PlanError(
            "a PDF needs weasyprint; install it with: pip install 'secateur[report]'"
        ) from None
    except OSError as error:  # its libraries (Pango) are not part of the Python package
        raise PlanError(
            f"a PDF needs the system library Pango ({error}); install it, e.g. "
            "apt-get install libpango-1.0-0 libpangoft2-1.0-0, or ask for html and md only"
        ) from None
    return weasyprint
