"""The model a study prunes again and again: traced once, its statistics taken once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ...artifact.huggingface import quiet
from ...core.errors import StorageError
from ...core.recipe import Recipe
from ...core.types import Target, Update
from ...data.questions import Question, Questions, load_questions
from ...engine.collect import collect
from ...engine.costs import Costs
from ...engine.step import step
from ...engine.view import ModelView
from ...structure.coupled import Coupled
from ...structure.graph import Trace, remove, trace
from .anymethod import prune_any
from .config import LanguageStudy, Model
from .pruned import Pruned, checked
from .small import Tell, train_small
from .turns import calibration, calibration_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Subject:
    """Model, tokenizer and questions of a study.

    Args:
        study: names them.
        root: where a small model is trained to.
        device: where the model works.
        tell: hears how the training of a small model goes on.
    """

    def __init__(
        self, study: LanguageStudy, root: Path, device: torch.device, tell: Tell | None = None
    ) -> None:
        self.study, self.device = study, device
        self.questions: Questions = load_questions(study.data, study.seed)
        source = study.model.source
        if source == "small":
            train = self.questions.train
            source = str(train_small(root / "model", train, study.model.small, study.seed, tell))
        self.model, self.tokenizer = load_model(source, study.model)
        self.model.to(device)
        self._seen: dict[str, dict[str, Tensor]] = {}
        self._asked: dict[str, set[str]] = {}
        """Statistic -> parameters it was taken for, those that have none included."""

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the weights."""
        sums = hashlib.blake2b(digest_size=8)
        for name, tensor in self.model.state_dict().items():
            sums.update(name.encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            sums.update(memoryview(flat.view(torch.uint8).numpy()))
        return sums.hexdigest()

    @property
    def calibration(self) -> list[Question]:
        """The first training questions: the small set is shuffled, others come as they are."""
        return spread(self.questions.train, self.study.asking.calibration)

    @property
    def validation(self) -> list[Question]:
        """The questions that decide."""
        return spread(self.questions.validation, self.study.asking.validation)

    @cached_property
    def batches(self) -> list[dict[str, Tensor]]:
        """Calibration batches."""
        made = calibration(
            self.tokenizer, self.calibration, self.study.model.chat, self.study.asking.batch
        )
        return [{k: v.to(self.device) for k, v in batch.items()} for batch in made]

    @cached_property
    def example(self) -> dict[str, Tensor]:
        """Two short inputs for tracing."""
        ids = torch.ones((2, 8), dtype=torch.long, device=self.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    @cached_property
    def traced(self) -> Trace:
        """The model's coupled structures."""
        return trace(self.model, (), self.example)

    def prune(self, recipe: Recipe) -> Pruned:
        """A pruned copy; the subject itself stays whole.

        What only takes coupled structures out uses the trace and the statistics that are there.
        """
        density = recipe.schedule.final_density
        if not isinstance(recipe.structure, Coupled) or recipe.solver or recipe.recovery:
            return prune_any(self, recipe)
        targets = recipe.structure.of(self.traced, self.model)
        costs = Costs(recipe.structure, self.model, self.example, targets)
        recipe.allocator.check(recipe.scope.groups(targets), density, targets, costs)
        stats, seed = self._statistics(recipe, targets), self.study.seed
        view = ModelView(self.model, targets, stats=stats, seed=seed, costs=costs)
        masks = step(recipe, view, Update(density=density), first=True)
        return self._without(masks)

    def _without(self, masks: Mapping[str, Tensor]) -> Pruned:
        axes = {axis.name: axis for axis in self.traced.axes}
        kept = {axes[name]: mask.nonzero()[:, 0].tolist() for name, mask in masks.items()}
        plan = {axis: units for axis, units in kept.items() if len(units) < axis.units}
        removal = remove(self.traced, self.model, plan, (), self.example)
        layers = {axis.name: (axis.units - len(units), axis.units) for axis, units in kept.items()}
        smaller = checked(removal.module, removal.level)
        return Pruned(smaller, layers, removal.level, removal.error)

    def _statistics(
        self, recipe: Recipe, targets: tuple[Target, ...]
    ) -> dict[str, dict[str, Tensor]]:
        """What the recipe needs; what an earlier run needed is there already."""
        params = {member.param for target in targets for member in target.members}
        names = recipe.required()
        missing = {n for n in names if not self._has(n, params)}
        if missing:
            loss = calibration_loss
            found = collect(self.model, missing, targets, self.batches, loss, seed=self.study.seed)
            for name, values in found.items():
                self._seen.setdefault(name, {}).update(values)
                self._asked.setdefault(name, set()).update(params)
        return {name: self._seen[name] for name in names}

    def _has(self, name: str, params: set[str]) -> bool:
        return params <= self._asked.get(name, set())


def spread(rows: Sequence[Question], count: int) -> list[Question]:
    """At most `count` questions, evenly over all."""
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def load_model(source: str, model: Model) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model and its tokenizer from a folder or the hub."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        with quiet() if Path(source).is_dir() else nullcontext():  # a download shows its progress
            found = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, model.dtype))
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise StorageError(f"model '{source}' cannot be loaded: {first}") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    whole = cast("nn.Module", found).eval().requires_grad_(False)
    _check_vocabulary(source, tokenizer, found)
    return cast("PreTrainedModel", whole), tokenizer


def _check_vocabulary(source: str, tokenizer: Any, model: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise StorageError(
            f"the tokenizer of '{source}' has {len(tokenizer)} tokens, the model only {rows}; they "
            "do not belong together"
        )
