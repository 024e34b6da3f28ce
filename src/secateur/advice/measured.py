"""What was measured of the methods, as far as it can be compared: `measured.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from .need import Need, Takes


class Table(BaseModel):
    """Methods on one network at one budget.

    Attributes:
        what: network, data, budget and figure, in words.
        source: the page it stands on, or pages with commas between.
        network, takes, training: the choices it bears on.
        trained: whether the network came trained.
        higher: whether more is better.
        dense: the figure before pruning, as the page prints it.
        rows: method -> figure, as the page prints it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    source: str
    network: str
    takes: Takes
    training: bool
    trained: bool = True
    higher: bool
    dense: str
    rows: dict[str, str]

    def place(self, method: str) -> int | None:
        """From 0, the best; None where it was not measured."""
        if method not in self.rows:
            return None
        values = sorted(self.rows, key=lambda m: float(self.rows[m]), reverse=self.higher)
        return values.index(method)

    def says(self, method: str) -> str:
        """The figure of a method in words."""
        return f"{self.rows[method]}, dense {self.dense}: {self.what} ({self.source})"


@cache
def tables() -> tuple[Table, ...]:
    """All of them."""
    text = Path(__file__).with_name("measured.yaml").read_text("utf-8")
    return tuple(Table.model_validate(one) for one in yaml.safe_load(text))


def table_for(need: Need, takes: Takes) -> Table | None:
    """The table that bears on a choice, None where nothing comparable was measured."""
    same = [t for t in tables() if t.network == need.network and t.takes == takes]
    return next(
        (t for t in same if (t.training, t.trained) == (need.training, need.trained)),
        None,
    )
