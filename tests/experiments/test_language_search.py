"""Two processes search one study at once: every trial is done once, and none is lost."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("optuna")
import optuna
from experiments.test_language_study import SHORT, study

from secateur.experiments.language.results import load_language
from secateur.experiments.language.runner import LanguageRunner
from secateur.experiments.language.search import open_study

TRIALS = 6
PHASES = [
    {"phase": 0, "runs": [{"id": "origin", "method": "dense"}]},
    {"phase": 1, "search": {"trials": TRIALS, "ranges": {"sparsity": [0.1, 0.4]}}},
]
FORK = multiprocessing.get_context("fork")


def work(root: Path, events: Any) -> None:
    runner = LanguageRunner(root, study(model=SHORT, phases=PHASES))
    runner.run(lambda event: events.put((multiprocessing.current_process().name, dict(event))))


def test_two_processes_share_one_search(tmp_path: Path) -> None:
    events = FORK.SimpleQueue()
    both = [FORK.Process(target=work, args=(tmp_path, events), name=name) for name in "ab"]
    for process in both:
        process.start()
    heard = []
    while any(process.is_alive() for process in both) or not events.empty():
        if not events.empty():
            heard.append(events.get())
        else:
            both[0].join(0.05)
    assert [process.exitcode for process in both] == [0, 0]
    done = [(who, event["id"]) for who, event in heard if event["kind"] == "done"]
    counts = Counter(id for _, id in done)
    assert counts == {"origin": 1} | {f"1-t{n}": 1 for n in range(TRIALS)}
    assert {who for who, id in done if id != "origin"} == {"a", "b"}  # both did their part
    runner = LanguageRunner(tmp_path, study(model=SHORT, phases=PHASES))
    trials = open_study(runner, runner.study.phases[1]).trials
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
    found = load_language(tmp_path)
    results = {entry.id: entry.options["sparsity"] for entry in found.entries if entry.searched}
    assert results == {f"1-t{t.number}": round(t.params["sparsity"], 4) for t in trials}
