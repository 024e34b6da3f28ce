"""What an experiment is: plain, checked data that can be read from YAML and named by a digest."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.cards import recipe
from ..core.component import Plain
from ..core.errors import PlanError, StorageError, unknown
from ..core.recipe import Recipe
from ..core.scale import scale_times
from ..engine.train import Training, preset
from ..models.registry import BUILT_IN

SCHEMA = 1


class Network(Plain):
    """Which network: a built-in name, `package.module:function`, or a folder, and options for it.

    Attributes:
        spec: the name, the import path, or the folder of a trained network: a classifier of images
            of transformers, or what `secateur.save` wrote.
        options: keyword arguments of the constructor; of a folder `trust`, as in `secateur.load`.
        weights: safetensors file of trained weights, or None; `{models}` stands for the folder
            `models` beside the data folder.
        trained: whether the network comes trained without `weights` (its constructor loads them);
            the main training of a trained network is skipped unless a method works during it.
    """

    spec: str
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    trained: bool = False

    @property
    def folder(self) -> Path | None:
        """Where the network lies, if it is named by its folder; a built-in name is no folder."""
        path = Path(self.spec)
        return path if self.spec not in BUILT_IN and path.is_dir() else None

    @property
    def comes_trained(self) -> bool:
        """Whether its weights are trained before anything begins."""
        return self.trained or self.weights is not None or self.folder is not None


class Data(Plain):
    """Which images: a name or a path, the validation share, and how much of it is used.

    Attributes:
        source: `digits`, `cifar10`, …, a folder, or a hub name.
        validation: share of the training images held out.
        fraction: share of the training images used (`--scale` shrinks it).
        augment: random crops and flips while training.
        size: resize all images to size x size.
        image, label, config: columns and configuration, where the data set leaves a choice.
        mean, std: normalisation per channel; taken from the data where None.
        flip: whether augmentation mirrors images (digits must not be mirrored).
    """

    source: str
    validation: float = Field(default=0.1, ge=0, lt=1)
    fraction: float = Field(default=1.0, gt=0, le=1)
    augment: bool = True
    flip: bool = True
    size: int | None = None
    image: str | None = None
    label: str | None = None
    config: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class Scoring(Plain):
    """The data that scores see: `samples` training images without augmentation, in `batch`es."""

    samples: int = Field(default=1024, gt=0)
    batch: int = Field(default=128, gt=0)


class RunConfig(Plain):
    """One run but for its seed: everything that decides its numbers."""

    network: Network
    data: Data
    training: dict[str, Any] | None = None
    recipe: dict[str, Any]
    scoring: Scoring = Scoring()
    on_collapse: Literal["report", "error"] = "report"

    @property
    def digest(self) -> str:
        """16 hex digits; fields at their default do not count, so new fields keep old digests."""
        plain = {"schema": SCHEMA, **self.model_dump(mode="json", exclude_defaults=True)}
        text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def dense_digest(self) -> str:
        """Names the dense training this run begins with: the same for every method."""
        plain = [self.network.model_dump(), self.data.model_dump(), self.training]
        text = json.dumps(plain, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def build_recipe(self) -> Recipe:
        """The recipe as a value."""
        return Recipe.from_plain(self.recipe)

    def build_training(self) -> Training | None:
        """The training as a value, or None where a trained network is only pruned."""
        return training_of(self.training)


def training_of(plain: dict[str, Any] | None) -> Training | None:
    """A training from `{"preset": name, field: value, …}`."""
    if plain is None:
        return None
    fields = dict(plain)
    base = preset(fields.pop("preset", "cifar-reference"))
    known = {field: getattr(base, field) for field in type(base).model_fields}
    return Training(**{**known, **fields})


class Entry(Plain):
    """One line of an experiment's grid: a method, its options, and options to vary.

    Attributes:
        method: catalogue name, or a name of your own beside a `recipe`.
        recipe: a recipe written out, axis by axis, instead of a catalogue method.
        label: what reports call it; made from the method where None.
        options: fixed options of the method.
        grid: option -> values; every combination becomes a run.
        training: fields that differ from the experiment's training.
    """

    method: str
    label: str | None = None
    recipe: dict[str, Any] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    def build(self, options: dict[str, Any]) -> Recipe:
        """The recipe for one combination of options."""
        if self.recipe is None:
            return recipe(self.method, **options)
        if options:
            raise PlanError(f"'{self.method}' has its recipe written out; options would be ignored")
        return Recipe.from_plain({**self.recipe, "method": self.method})


class Experiment(Plain):
    """A study: a network, data, training, seeds, and the methods to compare.

    Attributes:
        name: what the study is called.
        seeds: every run is repeated for each.
        runs: the methods.
        analyses: analysis name -> its options, done when the runs are.
    """

    name: str
    network: Network
    data: Data
    training: dict[str, Any] | None = None
    scoring: Scoring = Scoring()
    seeds: list[int] = Field(default=[0], min_length=1)
    runs: list[Entry] = Field(min_length=1)
    analyses: dict[str, dict[str, Any]] = Field(default_factory=dict)
    schema_version: int = Field(default=SCHEMA, alias="schema")

    def planned(self, scale: float = 1.0) -> list[Planned]:
        """Every run of the study, one seed after the other, so that early results compare."""
        configs = self._configs(scale)
        return [
            Planned(self.name, label, method, seed, config)
            for seed in self.seeds
            for label, method, config in configs
        ]

    def only(self, methods: list[str]) -> Experiment:
        """The study with some of its methods; one it does not have is an error."""
        names = {entry.method for entry in self.runs}
        for name in methods:
            if name not in names:
                raise unknown("method of this study", name, names)
        kept = [entry for entry in self.runs if entry.method in methods]
        return self.model_copy(update={"runs": kept})

    def _configs(self, scale: float) -> list[tuple[str, str, RunConfig]]:
        return [
            (entry.label or entry.method, entry.method, self._config(entry, options, scale))
            for entry in self.runs
            for options in combinations(entry)
        ]

    def _config(self, entry: Entry, options: dict[str, Any], scale: float) -> RunConfig:
        data, training = self.data, None
        if self.training is not None:
            training = scaled({**self.training, **entry.training}, scale)
        if scale < 1:
            data = data.model_copy(update={"fraction": data.fraction * max(scale, 0.02)})
        made = scale_times(entry.build(options), scale)
        return RunConfig(
            network=self.network,
            data=data,
            training=training,
            recipe=made.to_dict(),
            scoring=self.scoring,
        )


class Planned(BaseModel):
    """A run with its seed and its name in the study."""

    model_config = ConfigDict(frozen=True)

    experiment: str
    label: str
    method: str
    seed: int
    config: RunConfig

    def __init__(self, *args: Any, **fields: Any) -> None:
        names = ("experiment", "label", "method", "seed", "config")
        super().__init__(**dict(zip(names, args, strict=False)), **fields)


def combinations(entry: Entry) -> list[dict[str, Any]]:
    """Every combination of the grid's values, on top of the fixed options."""
    keys = list(entry.grid)
    return [
        {**entry.options, **dict(zip(keys, values, strict=True))}
        for values in itertools.product(*(entry.grid[key] for key in keys))
    ]


def scaled(training: dict[str, Any], scale: float) -> dict[str, Any]:
    """The training at a smaller scale, as plain data; the definition itself stays as it is."""
    if scale == 1:
        return training
    built = training_of(training)
    assert built is not None
    return built.scaled(scale).model_dump(mode="json", exclude_defaults=True)


def load_experiment(path: str | Path) -> Experiment:
    """Read and check an experiment file."""
    return experiment_of(read_definition(path), path)


def read_definition(path: str | Path) -> dict[str, Any]:
    """A study's file as plain data, of a schema this version knows."""
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot read experiment '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanError(
            f"'{path}' is no text in UTF-8 (byte {error.start + 1}); save the experiment as UTF-8"
        ) from error
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise PlanError(f"'{path}' is no valid YAML: {first}") from error
    if not isinstance(plain, dict):
        raise PlanError(f"'{path}' holds no experiment; it must be a mapping with name, runs, …")
    if type(plain.get("schema", SCHEMA)) is not int:
        raise PlanError(
            f"'{path}' has schema {plain['schema']!r}, which is no version; write {SCHEMA}"
        )
    if plain.get("schema", SCHEMA) > SCHEMA:
        raise PlanError(f"'{path}' has schema {plain['schema']}, newer than {SCHEMA}; upgrade")
    return plain


def experiment_of(plain: dict[str, Any], path: str | Path) -> Experiment:
    """The experiment that a file defines."""
    if plain.get("kind", "images") != "images":
        raise PlanError(f"'{path}' is a study of kind '{plain['kind']}', not of images")
    experiment = Experiment(**{k: v for k, v in plain.items() if k != "kind"})
    for entry in experiment.runs:
        for options in combinations(entry):
            entry.build(options)  # a wrong option is found before anything runs
    return experiment
