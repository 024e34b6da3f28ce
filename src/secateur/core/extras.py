"""Libraries that are no part of the plain installation, and the extras that bring them."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import PlanError

EXTRA = {
    "PIL": "image",
    "accelerate": "image",
    "datasets": "image",
    "fontTools": "report",
    "gguf": "export",
    "gymnasium": "policy",
    "huggingface_hub": "llm",
    "jinja2": "report",
    "koreanize_matplotlib": "report",
    "lm_eval": "eval",
    "matplotlib": "report",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "optuna": "search",
    "peft": "llm",
    "psutil": "llm",
    "rouge_score": "llm",
    "sacrebleu": "llm",
    "scipy": "report",
    "sklearn": "image",
    "stable_baselines3": "policy",
    "tokenizers": "llm",
    "torchao": "quant",
    "transformers": "llm",
    "weasyprint": "report",
}
"""Top module of a library -> the extra of this project that installs it."""


def need(module: str, what: str = "this") -> Any:
    """Import a library of an extra, or say how to install it.

    Args:
        module: what to import, e.g. `sklearn.datasets`.
        what: what needs it, for the message.

    Raises:
        PlanError: where it is not installed, or cannot be imported.

    >>> need("math").sqrt(4)
    2.0
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error, what) from None
    except ImportError as error:  # one built for another version of Python or torch
        name = module.partition(".")[0]
        reason = next(iter(str(error).splitlines()), "")
        raise PlanError(
            f"{what} needs '{name}', which is installed but cannot be imported: {reason:.200}; install a "
            f"version that fits, pip install {_how(name)}"
        ) from error


def missing(error: ModuleNotFoundError, what: str = "this") -> PlanError:
    """What to say where a library is not installed.

    >>> str(missing(ModuleNotFoundError("no optuna", name="optuna"), "a search"))
    "a search needs 'optuna', which is not installed; pip install 'secateur[search]'"
    """
    name = str(error.name)
    return PlanError(f"{what} needs '{name}', which is not installed; pip install {_how(name)}")


def _how(name: str) -> str:
    """What pip is to install: the extra that has the library, or the library."""
    extra = EXTRA.get(name.partition(".")[0])
    return f"'secateur[{extra}]'" if extra else name
