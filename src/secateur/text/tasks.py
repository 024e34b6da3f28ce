"""Tasks of the Language Model Evaluation Harness, as plain numbers with their standard errors."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..core.errors import DataError, unknown
from ..core.extras import need
from .state import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def evaluate_tasks(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    *,
    folder: str | Path | None = None,
    shots: int | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    chat: bool = False,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Scores of a causal language model on lm-eval tasks: {task: {version, samples, scores}}.

    `scores` is {metric: {"value", "error"}}, with the filter behind the metric's name where there is
    one, and the standard error as lm-eval takes it, None where it takes none.

    Args:
        model: a Hugging Face model in memory, also one that is smaller than its class knows.
        tasks: names of tasks or groups (`arc_easy`, `mmlu`); most fetch their data from the hub.
        folder: of YAML files with tasks of one's own, which go first. A task may name Python
            functions, so they are to be trusted as code is.
        shots: examples before each question; None = what each task says.
        limit: the first so many questions of each task, for a quick look.
        chat: whether questions go through the tokenizer's chat template.
        seed: which examples are shown before a question.
    """
    manager = check_tasks(tasks, folder)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    with evaluating(model), _own_random_numbers():
        wrapped: Any = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
        found = simple_evaluate(
            wrapped, tasks=list(tasks), task_manager=manager, num_fewshot=shots, limit=limit,
            apply_chat_template=chat, log_samples=False, fewshot_random_seed=seed,
            random_seed=None, numpy_random_seed=None, torch_random_seed=None,
        )  # fmt: skip
    assert found is not None  # None on the further processes of a distributed run only
    return {name: _plain(name, found) for name in found["results"]}


def check_tasks(tasks: Sequence[str], folder: str | Path | None = None) -> Any:
    """What finds the tasks; an error where lm-eval, one of them or the folder is not to be had."""
    if isinstance(tasks, str) or not tasks:
        raise DataError("tasks are a list with at least one name, e.g. ['arc_easy']")
    need("lm_eval.models.huggingface", "a task")
    return _manager(tasks, folder)


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """What is drawn inside leaves the global generators as they were: lm-eval draws from them."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _manager(tasks: Sequence[str], folder: str | Path | None) -> Any:
    """What finds the tasks; lm-eval's own thousands are only read where the folder lacks one."""
    if folder is not None and not Path(folder).is_dir():
        raise DataError(f"there is no folder of tasks '{folder}'")
    if folder is not None:
        own = _index(str(folder), defaults=False)
        if set(tasks) <= set(own.all_tasks):
            return own
    every = _index(None if folder is None else str(folder), defaults=True)
    for name in tasks:
        if name not in every.all_tasks:
            raise unknown("lm-eval task", name, every.all_tasks)
    return every


@cache
def _index(folder: str | None, defaults: bool) -> Any:
    """lm-eval's list of tasks, kept: its own take ten seconds to read."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder, include_defaults=defaults)


def _plain(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One task's result: lm-eval says "metric,filter" and "metric_stderr,filter"."""
    scores: dict[str, dict[str, float | None]] = {}
    for key, value in found["results"][name].items():
        metric, _, how = key.partition(",")
        if not how or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = found["results"][name].get(f"{metric}_stderr,{how}")
        scores[metric if how == "none" else f"{metric} ({how})"] = {
            "value": float(value),
            "error": float(error) if isinstance(error, int | float) else None,
        }
    counts = found["n-samples"].get(name)
    return {
        "version": found["versions"].get(name),
        "samples": counts["effective"] if counts else None,  # a group has none of its own
        "scores": scores,
    }
