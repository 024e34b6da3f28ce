"""The report of a study of a language model."""

from .document import compose
from .rows import Rows, open_rows
from .tables import main_table

__all__ = ["Rows", "compose", "main_table", "open_rows"]
