"""What holds for every answer on every axis: documented, named, hashable, and plain data."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from secateur.core.axes import AXES
from secateur.core.component import Component, from_dict
from secateur.core.errors import PlanError
from tests.contracts.samples import answers, everything, samples, unchanged

ALL = [pytest.param(cls, id=f"{cls.registry.axis}-{cls.name}") for cls in everything()]


def axis_of(cls: type[Component]) -> type[Component]:
    return next(axis for axis in AXES if issubclass(cls, axis))


def test_the_axes_this_project_has_are_filled() -> None:
    for axis in ("structure", "criterion", "scope", "allocator", "schedule", "recovery"):
        assert any(cls.registry.axis == axis for cls in everything()), axis


@pytest.mark.parametrize("cls", ALL)
def test_the_docstring_says_what_it_is_and_names_every_field(cls: type[Component]) -> None:
    text = cls.__dict__.get("__doc__") or ""
    first = text.strip().splitlines()[0] if text.strip() else ""
    assert first, f"{cls.__name__} has no docstring of its own"
    assert len(first) <= 110
    lineage = " ".join(c.__dict__.get("__doc__") or "" for c in cls.__mro__ if _ours(c))
    missing = [n for n in cls.model_fields if not re.search(rf"\b{n}\b", lineage)]
    assert not missing, f"{cls.__name__}'s docstring does not explain {missing}"


def _ours(cls: type) -> bool:
    """An inherited field is explained where it is declared."""
    return cls.__module__.startswith("secateur")


@pytest.mark.parametrize("cls", ALL)
def test_the_name_is_a_plain_word_for_the_command_line(cls: type[Component]) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cls.name)
    assert axis_of(cls).registry.get(cls.name) is cls


@pytest.mark.parametrize("cls", ALL)
def test_round_trip_through_json_and_yaml_with_every_field_changed(cls: type[Component]) -> None:
    axis = axis_of(cls)
    assert unchanged(cls) == []
    for sample in samples(cls):
        plain = sample.to_dict()
        assert from_dict(axis, json.loads(json.dumps(plain))) == sample
        assert from_dict(axis, yaml.safe_load(yaml.safe_dump(plain))) == sample


@pytest.mark.parametrize("cls", ALL)
def test_equal_values_are_equal_and_hash_alike_and_different_ones_differ(
    cls: type[Component],
) -> None:
    made = samples(cls)
    again = [from_dict(axis_of(cls), s.to_dict()) for s in made]
    assert [hash(s) for s in made] == [hash(s) for s in again]
    assert len({json.dumps(s.to_dict(), sort_keys=True) for s in made}) == len(made)


@pytest.mark.parametrize("cls", ALL)
def test_frozen_and_strict(cls: type[Component]) -> None:
    sample = samples(cls)[0]
    with pytest.raises((TypeError, ValueError)):
        sample.no_such_option = 1  # type: ignore[attr-defined]
    with pytest.raises(PlanError, match="no_such_option"):
        from_dict(axis_of(cls), {**sample.to_dict(), "no_such_option": 1})


@pytest.mark.parametrize("axis", [a for a in AXES if len(a.registry)])
def test_an_unknown_name_is_one_line_with_the_nearest_match(axis: type[Component]) -> None:
    for cls in answers(axis):
        wrong = cls.name + "x"
        with pytest.raises(PlanError) as error:
            from_dict(axis, wrong)
        text = str(error.value)
        assert f"'{wrong}'" in text
        assert cls.name in text
        assert "\n" not in text


def test_a_misspelt_option_is_one_line_with_the_nearest_match() -> None:
    for cls in everything():
        for field in cls.model_fields:
            wrong = {**samples(cls)[0].to_dict(), field + "s_": 1}
            with pytest.raises(PlanError) as error:
                from_dict(axis_of(cls), wrong)
            assert "\n" not in str(error.value)
            assert field in str(error.value)
