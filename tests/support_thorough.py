"""Cases that repeat a claim on one more network: `make thorough` runs them, `make test` the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest

thorough = pytest.mark.thorough


def but(again: Collection[Any], every: Iterable[Any]) -> list[Any]:
    """All cases, those of `again` left to `make thorough`; every one of `again` must be there."""
    cases = list(every)
    missing = [case for case in again if case not in cases]
    assert not missing, f"no such cases: {missing}"
    return [_marked(case) if case in again else case for case in cases]


def _marked(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=thorough)
