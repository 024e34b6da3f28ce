"""One run: prune, answer, measure; all of it as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from ...core.component import Plain
from ...core.recipe import Recipe
from ...data.questions import Question
from ...text.compare import score_texts
from ...text.generate import Answer, generate
from ...text.match import keywords
from ...text.memory import memory
from ...text.perplexity import perplexity
from ...text.response import paired_time
from ...text.tasks import evaluate_tasks
from .config import SCHEMA, Asking
from .pruned import Pruned
from .subject import Subject, spread

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrialConfig(Plain):
    """Everything that decides a run's numbers.

    Attributes:
        model: digest of the weights. questions: digest of the questions. recipe: None = the original.
        training: how a recovery trains, where there is one.
    """

    model: str
    questions: str
    recipe: dict[str, Any] | None
    asking: Asking
    chat: bool
    seed: int
    training: dict[str, Any] | None = None

    @property
    def digest(self) -> str:
        """16 hex digits; fields at their default do not count."""
        plain = {"schema": SCHEMA, **self.model_dump(mode="json", exclude_defaults=True)}
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_of(subject: Subject, recipe: Recipe | None) -> TrialConfig:
    """The configuration of a run on a subject."""
    study = subject.study
    return TrialConfig(
        model=subject.digest,
        questions=_digest(subject),
        recipe=recipe.to_dict() if recipe is not None else None,
        asking=study.asking,
        chat=study.model.chat,
        seed=study.seed,
        training=study.trained.model_dump(mode="json") if recipe and recipe.recovery else None,
    )


def _digest(subject: Subject) -> str:
    asking, data = subject.study.asking, subject.questions
    rows = (
        subject.calibration,
        subject.validation,
        spread(data.test, asking.test),
    )
    text = json.dumps([[[r.question, r.answer] for r in part] for part in rows], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def carry_out(subject: Subject, recipe: Recipe | None) -> dict[str, Any]:
    """Prune and measure; the original is measured against itself."""
    if recipe is None:
        done = Pruned(subject.model, {}, "", 0.0)
    else:
        done = subject.prune(recipe)
    study, model = subject.study, done.model
    test = spread(subject.questions.test, study.asking.test)
    validation = subject.validation
    answers = answer(subject, model, test)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": {name: list(counts) for name, counts in done.layers.items()},
        "level": done.level,
        "error": done.error,
        **({"recovery": list(done.recovery)} if done.recovery else {}),
        "validation": scores(validation, answer(subject, model, validation)),
        "test": scores(test, answers),
        "perplexity": asdict(perplexity(model, subject.tokenizer, [row.answer for row in test])),
        **({"tasks": _tasks(subject, model)} if study.asking.tasks else {}),
        "memory": _memory(subject, model, test),
        "response": _response(subject, model, test),
        **({"copy": copied(test)} if recipe is None else {}),
        "samples": _samples(test, answers, study.asking.samples),
    }


def answer(subject: Subject, model: PreTrainedModel, rows: Sequence[Question]) -> list[Answer]:
    """The model's greedy answers."""
    asking = subject.study.asking
    return generate(
        model,
        subject.tokenizer,
        [row.question for row in rows],
        max_new_tokens=asking.tokens,
        batch_size=asking.batch,
        chat=subject.study.model.chat,
    )


def scores(rows: Sequence[Question], answers: Sequence[Answer]) -> dict[str, Any]:
    """ROUGE, BLEU, exact and keyword match; `ended`: share of answers that came to an end."""
    wanted = [row.answer for row in rows]
    found = score_texts(wanted, [a.text for a in answers], keywords=_keywords(wanted))
    return {**asdict(found), "ended": sum(a.ended for a in answers) / len(answers)}


def copied(rows: Sequence[Question]) -> dict[str, float]:
    """What answering with the question itself would score: the baseline of the original model."""
    found = score_texts([row.answer for row in rows], [row.question for row in rows])
    return {"rougeL": found.rougeL.f1, "bleu": found.bleu.score}


def _keywords(references: Sequence[str]) -> list[list[str]]:
    """Keywords of each answer; the first word stands in where none tells it from the others."""
    return [
        found or text.split()[:1]
        for found, text in zip(keywords(references), references, strict=True)
    ]


def _tasks(subject: Subject, model: PreTrainedModel) -> dict[str, Any]:
    asking = subject.study.asking
    return evaluate_tasks(
        model,
        subject.tokenizer,
        asking.tasks,
        folder=asking.task_folder,
        limit=asking.task_limit,
        batch_size=asking.batch,
        chat=subject.study.model.chat,
        seed=subject.study.seed,
    )


def _memory(subject: Subject, model: PreTrainedModel, rows: Sequence[Question]) -> dict[str, Any]:
    batch = rows[: subject.study.asking.batch]
    return asdict(memory(model, lambda: answer(subject, model, batch)))


def _response(subject: Subject, model: PreTrainedModel, rows: Sequence[Question]) -> dict[str, Any]:
    asking = subject.study.asking
    found = paired_time(
        model,
        subject.model,
        subject.tokenizer,
        [row.question for row in spread(rows, asking.timed)],
        max_new_tokens=asking.timed_tokens,
        repeats=asking.repeats,
        chat=subject.study.model.chat,
        seed=subject.study.seed,
    )
    return {**asdict(found.model), "ratio": asdict(found.ratio), "threads": torch.get_num_threads()}


def _samples(
    rows: Sequence[Question], answers: Sequence[Answer], count: int
) -> list[dict[str, str]]:
    picked = [i * len(rows) // count for i in range(count)] if count else []
    return [
        {"question": rows[i].question, "wanted": rows[i].answer, "answer": answers[i].text}
        for i in dict.fromkeys(picked)
    ]
