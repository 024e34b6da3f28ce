"""The command `secateur`: errors are one line and exit code 2, never a traceback."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence

import typer

from ..core.errors import SecateurError
from ..core.extras import EXTRA, missing
from . import advise, catalogue, export, measure, prune, results, run, trace, transfer

INTERRUPTED = 130
CHATTY = (
    "huggingface_hub",
    "datasets",
    "torchao",
    "torch.utils._pytree",
    "weasyprint",
    "fontTools",
)
"""Libraries whose warnings would bury the one line."""

app = typer.Typer(
    name="secateur",
    help="Prune neural networks: choose what can go, take it out, prove it, measure it, save it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (run, prune, transfer, trace, measure, export, results, catalogue, advise):
    module.add(app)


def entry(words: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 a mistake said in one line, 130 interrupted."""
    sys.exit(call(words))


def call(words: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    logging.basicConfig(format="secateur: %(message)s", level=logging.WARNING)
    for library in CHATTY:
        logging.getLogger(library).setLevel(logging.ERROR)
    # of torch about itself, whenever a traced graph is copied
    warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)`", FutureWarning)
    warnings.filterwarnings("ignore", "Attempted to insert a get_attr Node", UserWarning)
    try:
        code = app(args=None if words is None else list(words), standalone_mode=False)
    except SecateurError as error:
        return _fail(str(error))
    except typer.exceptions.TyperException as error:
        return _fail(error.format_message() if hasattr(error, "format_message") else str(error))
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in EXTRA:
            raise
        return _fail(str(missing(error, "this command")))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # also typer's own answer to a keyboard interrupt
        print("secateur: stopped; the same command goes on from here", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    if message:  # without a command the help is all there is to say
        print(f"secateur: {' '.join(message.split())}", file=sys.stderr)
    return 2
