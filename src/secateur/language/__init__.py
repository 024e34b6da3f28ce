"""Language models from a folder to a folder: calibrate, prune, compare, describe."""

from .figures import Tasks
from .folders import plan_folder, prune_folder
from .texts import Texts, fitting, local, split_texts, tokenizer_of

__all__ = [
    "Tasks",
    "Texts",
    "fitting",
    "local",
    "plan_folder",
    "prune_folder",
    "split_texts",
    "tokenizer_of",
]
