"""What a model is measured by before and after: perplexity on texts of its own, tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ..engine.blockwise.skeleton import quiet
from ..text.tasks import check_tasks, evaluate_tasks
from .texts import Given, Ready, compare, tokenizer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Tasks:
    """Tasks of the Language Model Evaluation Harness that a model is asked before and after.

    Attributes:
        names: of tasks or groups; there is at least one.
        folder: of YAML files with tasks of one's own; to be trusted as code is.
        limit: the first so many questions of each.
    """

    names: Sequence[str]
    folder: str | Path | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        check_tasks(self.names, self.folder)

    def ask(self, model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """{task: version, samples, scores}."""
        return evaluate_tasks(model, tokenizer, self.names, folder=self.folder, limit=self.limit)


class Figures:
    """Figures of a model as it goes through its states, for the record.

    Args:
        source: the folder it comes from.
        given, ready: what the call says, and what its data became.
        tasks: what it is asked, too.
    """

    def __init__(self, source: Path, given: Given, ready: Ready, tasks: Tasks | None) -> None:
        self._texts = ready.texts if given.compare else None
        self._device = given.device
        self._tasks, self._source = tasks, source
        self._tokenizer = ready.tokenizer
        self.facts: dict[str, Any] = {}

    @property
    def any(self) -> bool:
        """Whether there is anything to measure."""
        return self._texts is not None or self._tasks is not None

    def take(self, name: str, model: nn.Module) -> None:
        """Everything of the model as it is now, on the call's device, under `name` (`dense`, `pruned`)."""
        tokenizer = self._tokenizer or (tokenizer_of(self._source) if self.any else None)
        if tokenizer is None:
            return
        model.to(self._device)
        if self._texts is not None:
            found = self.facts.setdefault("perplexity", {"held_out": self._texts.apart})
            found[name] = asdict(compare(model, tokenizer, self._texts))
        if self._tasks is not None:
            self.facts.setdefault("tasks", {})[name] = self._tasks.ask(model, tokenizer)

    def take_folder(self, name: str, folder: Path) -> None:
        """The same of the model of a folder, as stock transformers loads it."""
        if self.any:
            from transformers import AutoModelForCausalLM

            with quiet():
                self.take(name, AutoModelForCausalLM.from_pretrained(folder))
