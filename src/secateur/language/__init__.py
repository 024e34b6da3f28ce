"""Language models from a folder to a folder: calibrate, prune, compare, describe."""

from .figures import Tasks
from .folders import plan_folder, prune_folder, short_of_memory
from .texts import Texts, fitting, local, split_texts, tokenizer_of

__all__ = [
    "Tasks",
    "Texts",
    "fitting",
    "local",
    "plan_folder",
    "prune_folder",
    "short_of_memory",
    "split_texts",
    "tokenizer_of",
]
