"""The benchmark of the selection runs, prints both ratios, and compares like with like."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks.selection import fresh, main, said, same


def test_it_prints_the_ratios_and_the_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.selection.fresh", lambda *_: 1.25)
    main(["--size", "64", "--units", "200000", "--pairs", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert re.match(r"rows of 64 x 64: \d+\.\d\d .* of top-k with scatter \(limit 1\.5\)", lines[0])
    assert lines[1].startswith("0.1 of 200,000 units: ")
    assert lines[3].startswith("a round with 99% of 200,000 units gone: ")
    assert all("1.25 extra copies (limit 4)" in line for line in lines[4:])


def test_memory_is_counted_in_copies_of_the_scores() -> None:
    """A selection of four million scores needs some memory, and not ten times theirs."""
    assert 0.2 < fresh(4_000_000, 0.5, "constant") < 6  # a few MB do not grow with the scores


def test_it_refuses_to_compare_different_selections() -> None:
    score = torch.tensor([1.0, 2.0, 2.0, 3.0])
    first, second = torch.tensor([0, 1, 0, 1]) > 0, torch.tensor([0, 0, 1, 1]) > 0
    same(first, second, score)  # either of the twos
    with pytest.raises(AssertionError):
        same(first, torch.tensor([1, 0, 0, 1]) > 0, score)
    with pytest.raises(AssertionError):
        same(first, torch.tensor([0, 1, 1, 1]) > 0, score)


def test_the_median_and_the_middle_half_are_said() -> None:
    assert said([1.0, 2.0, 3.0, 4.0, 5.0]) == "3.00 (middle half 2.00 to 4.00)"
