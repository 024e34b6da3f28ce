"""The table of structures: what differs in one number of its name shares a line."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

import secateur as sc
from secateur.structure.table import Row, table, together

CELLS = ("neurons", "8", "2", "16", "32", "on")


def row(name: str, note: str = "") -> Row:
    return Row(name, CELLS, "exact", note, (f"    {name}.weight, dimension 0",))


def test_only_names_that_differ_in_one_number_share_a_line() -> None:
    names = ["a.0.b.1", "a.0.b.2", "c.3", "c.10", "c.4", "d", "d2"]
    two = [row("x.0.y.0"), row("x.1.y.1")]  # {0-1}.{0-1} would claim four
    found = [r.name for r in together([*map(row, names), *two])]
    assert found == ["a.0.b.{1-2}", "c.{3-4,10}", "d", "d2", "x.0.y.0", "x.1.y.1"]


def test_rows_with_other_sizes_or_notes_stay_apart() -> None:
    other = replace(row("a.2"), cells=("neurons", "9", *CELLS[2:]))
    rows = [row("a.0"), row("a.1", "why"), other, replace(row("a.3"), removal="not exact")]
    assert together(rows) == rows


def test_equal_notes_have_one_number_and_details_follow_their_row() -> None:
    lines = list(table([row("a", "x"), row("b", "y"), row("c", "x")]))
    assert [line.split()[-1] for line in lines[1:6:2]] == ["[1]", "[2]", "[1]"]
    assert lines[2] == "    a.weight, dimension 0"
    assert lines[-2:] == ["[1] x", "[2] y"]


def test_the_tensors_of_every_structure_are_told_on_request_alone() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2))
    found = sc.trace(net, torch.randn(2, 4))
    names = [line.split()[0] for line in list(found.lines())[1:4]]
    assert names == ["0", "1", "2"]  # 4 + 6, 6 + 6 and 6 + 2 weights a unit
    assert not any("dimension" in line for line in found.lines())
    tensors = [line for line in found.lines(everything=True) if line.startswith("    ")]
    assert len(tensors) == 9  # weight and bias that write a neuron, weight that reads it
