"""What a study of a language model is: a model, questions, phases of prunings, goals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ...core.cards import METHODS
from ...core.cards import recipe as make_recipe
from ...core.component import Plain
from ...core.errors import PlanError, unknown
from ...core.recipe import Recipe
from ...engine.train import Training, preset
from ..config import read_definition
from .small import Small

SCHEMA = 1
KIND = "language-model"
DENSE = "dense"


class Model(Plain):
    """Which language model.

    Attributes:
        source: a hub id, a local folder, or `small`: one trained here on the questions.
        small: size and training of that one.
        dtype: of the weights.
        chat: whether questions are asked through the tokenizer's chat template.
    """

    source: str = "small"
    small: Small = Small()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    chat: bool = True


class Asking(Plain):
    """How much is asked, and how.

    Attributes:
        calibration: training questions that importances are taken of.
        validation, test: questions answered: the first decide, the second are reported.
        tokens: longest answer. batch: questions answered together.
        timed, repeats, timed_tokens: questions, repetitions and tokens of the timing.
        samples: answers kept side by side.
        tasks: lm-eval tasks every run is asked too (`pip install 'secateur[eval]'`). task_folder: of
            YAML files with tasks of one's own. task_limit: the first so many questions of each.
    """

    calibration: int = Field(default=128, gt=0)
    validation: int = Field(default=60, gt=0)
    test: int = Field(default=100, gt=0)
    tokens: int = Field(default=64, gt=0)
    batch: int = Field(default=16, gt=0)
    timed: int = Field(default=4, gt=0)
    repeats: int = Field(default=3, gt=0)
    timed_tokens: int = Field(default=32, gt=1)
    samples: int = Field(default=6, ge=0)
    tasks: tuple[str, ...] = ()
    task_folder: str | None = None
    task_limit: int | None = Field(default=None, gt=0)

    def scaled(self, scale: float) -> Asking:
        """Fewer questions, at least four of each."""
        names = ("calibration", "validation", "test")
        fewer = {name: max(4, round(getattr(self, name) * scale)) for name in names}
        return self.model_copy(update=fewer)


class Goals(Plain):
    """What a pruned model shall keep, and what it shall save, against the original."""

    rouge: float = Field(default=0.95, gt=0)
    bleu: float = Field(default=0.90, gt=0)
    time: float = Field(default=0.30, ge=0, lt=1)
    memory: float = Field(default=0.20, ge=0, lt=1)


class Line(Plain):
    """One run: its name in the table, options beside those of study and base, a note.

    Attributes:
        method: another than the study's; the options of study and base are not its own then.
        recovery: how accuracy is won back, on the training questions: `{name: lora, length: 2ep}`.
    """

    id: str
    method: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    recovery: dict[str, Any] | None = None
    note: str = ""


class Search(Plain):
    """A search by Optuna.

    Attributes:
        trials: how many, over all processes that work on it.
        ranges: option -> [lowest, highest] (whole where both are), or three and more choices.
    """

    trials: int = Field(default=20, gt=0)
    ranges: dict[str, list[Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _pairs(self) -> Search:
        for name, values in self.ranges.items():
            if len(values) < 2:
                raise PlanError(f"search range '{name}' has {len(values)} values; give two or more")
        return self


class Phase(Plain):
    """A step of the study.

    Attributes:
        phase: its number. title: what it is for.
        base: `study` = the study's options alone; `best` = those of the best run so far on top.
        runs: its runs. search: a search after them.
    """

    phase: int = Field(ge=0)
    title: str = ""
    base: Literal["study", "best"] = "study"
    runs: list[Line] = Field(default_factory=list)
    search: Search | None = None


class LanguageStudy(Plain):
    """A study of one language model.

    Attributes:
        name: what it is called. kind: `language-model`.
        model, data: what is pruned, and the questions it is asked.
        method, options: what prunes, unless a run says otherwise.
        training: how recoveries train, beside the preset `language`; `distil: {}` learns from the
            original model too.
        phases: in order; the first run of the first is the original model.
        goals: what counts as success.
    """

    name: str
    kind: Literal["language-model"] = "language-model"
    model: Model = Model()
    data: str = "smartfarm"
    asking: Asking = Asking()
    method: str = "smart-farm"
    options: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    phases: list[Phase] = Field(min_length=1)
    goals: Goals = Goals()
    schema_version: int = Field(default=SCHEMA, alias="schema")

    @model_validator(mode="after")
    def _sane(self) -> LanguageStudy:
        lines = list(self.lines())
        if not lines or lines[0].method != DENSE:
            raise PlanError(
                f"study '{self.name}' must begin with the original model: a run with method 'dense'"
            )
        ids = [line.id for line in lines]
        for line in lines:
            if ids.count(line.id) > 1:
                raise PlanError(f"two runs are called '{line.id}'; names must be unique")
            self.recipe_of(line, self.options)
        _ = self.trained
        for phase in self.phases:
            for name in phase.search.ranges if phase.search else ():
                self._check_option(name)
        return self

    def _check_option(self, name: str) -> None:
        known = {*METHODS[self.method].options, "sparsity"}
        if name not in known:
            raise unknown(f"option of method '{self.method}'", name, known)

    def lines(self) -> Iterator[Line]:
        """Every run that is written out, in order."""
        for phase in self.phases:
            yield from phase.runs

    @property
    def trained(self) -> Training:
        """How recoveries train."""
        return Training(**{**preset("language").model_dump(), **self.training})

    def own(self, method: str | None) -> bool:
        """Whether a run is of the study's method, whose options it begins with."""
        return method in (None, self.method)

    def options_of(self, line: Line, base: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a run whose phase begins with those of `base`."""
        if line.method == DENSE:
            return {}
        given = {**base, **line.options} if self.own(line.method) else dict(line.options)
        return one_density(given, line.options)

    def recipe_of(self, line: Line, base: Mapping[str, Any]) -> Recipe | None:
        """The recipe of a run; None for the original model."""
        if line.method == DENSE:
            return None
        made = make_recipe(line.method or self.method, **self.options_of(line, base))
        if line.recovery is None:
            return made
        return Recipe.from_plain({**made.to_dict(), "recovery": line.recovery})

    def scaled(self, scale: float) -> LanguageStudy:
        """The study with fewer questions and steps; the definition stays as it is."""
        if scale == 1:
            return self
        small = self.model.small
        small = small.model_copy(update={"steps": max(10, round(small.steps * scale))})
        changed = {
            "asking": self.asking.scaled(scale),
            "model": self.model.model_copy(update={"small": small}),
        }
        return self.model_copy(update=changed)


def one_density(options: dict[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """Options where a newer density or sparsity takes the place of the other word for it."""
    for word, other in (("density", "sparsity"), ("sparsity", "density")):
        if word in newer and other in options and other not in newer:
            del options[other]
    return options


def load_language_study(path: str | Path) -> LanguageStudy:
    """Read and check a study of a language model."""
    return LanguageStudy(**read_definition(path))


def is_language_file(path: str | Path) -> bool:
    """Whether a study's file is about a language model."""
    return read_definition(path).get("kind") == KIND
