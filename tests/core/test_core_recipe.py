"""Recipes: valid or refused, equal or different, the same after a journey through text."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from secateur.allocation import ModelWide, StdThreshold, Uniform
from secateur.core.errors import PlanError
from secateur.core.recipe import SCHEMA, Recipe
from secateur.criteria import Magnitude, Random
from secateur.recover import FineTune
from secateur.schedule import Iterative, OneShot, Regrow, Repeat
from secateur.scope import NM, Model, Tensorwise
from secateur.structure import Weights


def make(**changed: Any) -> Recipe:
    axes: dict[str, Any] = {
        "structure": Weights(),
        "criterion": Magnitude(),
        "scope": Tensorwise(),
        "allocator": Uniform(),
        "schedule": OneShot(density=0.1),
    }
    return Recipe(**(axes | changed))


def test_the_digest_is_the_same_in_every_version() -> None:
    """Results are filed under it: if this changes, raise SCHEMA and say what it means."""
    assert make().digest == "7abdd7a1e2118de4"
    full = make(
        structure=Weights(exclude=("fc.*",), classifier=True),
        criterion=Magnitude(p=2),
        schedule=Iterative(rate=0.2, rounds=3, at="100%"),
        recovery=FineTune(length="30ep"),
    )
    assert full.digest == "a07f3954818b162f"


def test_canonical_text() -> None:
    assert json.loads(make().dumps()) == {
        "schema": SCHEMA,
        "name": "recipe",
        "structure": {"name": "weights"},
        "criterion": {"name": "magnitude"},
        "scope": {"name": "tensor"},
        "allocator": {"name": "uniform"},
        "schedule": {"name": "one-shot", "density": 0.1},
    }


def test_the_digest_depends_on_what_is_said_and_not_on_how() -> None:
    said = {"schedule": {"density": 0.1, "name": "one-shot", "at": "100%"}, "scope": "tensor"}
    same = {"structure": "weights", "criterion": "magnitude", "allocator": "uniform", **said}
    assert Recipe.from_plain(same).digest == make().digest
    assert Recipe.from_plain(same) == make()
    assert make(scope=Model()).digest != make().digest
    assert make(schedule=OneShot(density=0.2)).digest != make().digest


def test_round_trip_through_json_and_yaml() -> None:
    recipe = make(
        criterion=Magnitude(p=2),
        scope=NM(n=1, m=4),
        schedule=OneShot(density=0.25, at="30ep"),
        recovery=FineTune(length="5ep", lr_scale=0.01),
        method="mine",
    )
    assert Recipe.loads(recipe.dumps()) == recipe
    assert Recipe.loads(yaml.safe_dump(json.loads(recipe.dumps()))) == recipe
    assert hash(Recipe.loads(recipe.dumps())) == hash(recipe)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"allocator": StdThreshold()},
            "finds the density itself; the one of schedule 'one-shot' would be ignored",
        ),
        ({"schedule": Repeat(rounds=2)}, "names no density, but allocator 'uniform' needs one"),
        ({"scope": NM()}, "2:4 keeps density 50 % (sparsity 50 %) by itself; density 10 %"),
        (
            {"scope": NM(), "allocator": StdThreshold(), "schedule": Repeat()},
            "2:4 keeps density 50 %",
        ),
        ({"schedule": Regrow(density=0.1)}, "name a `grow` criterion"),
        ({"grow": Random()}, "never grows"),
        ({"start": Random()}, "never grows"),
        (
            {"scope": Model(), "allocator": ModelWide(floor=0.1)},
            "allocator 'model-wide' works with scope tensor, not 'model'",
        ),
    ],
)
def test_senseless_combinations_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError) as error:
        make(**changed)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"allocator": StdThreshold(), "schedule": Repeat()},
        {"scope": NM(), "schedule": OneShot(density=0.5)},
        {"scope": NM(n=1, m=3), "schedule": OneShot(density=1 / 3)},
        {"schedule": Regrow(density=0.1), "grow": Random(), "start": Random()},
        {"allocator": ModelWide(floor=0.1)},
    ],
)
def test_sensible_combinations_pass(changed: dict[str, Any]) -> None:
    recipe = make(**changed)
    assert Recipe.loads(recipe.dumps()) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "a recipe is a mapping of axes, not list"),
        ("just words", "a recipe is a mapping of axes, not str"),
        ("", "a recipe is a mapping of axes, not NoneType"),
        ("a: [", "the recipe is no YAML"),
        ("1: 2", "has the key 1"),
        ("schema: x", "recipe schema 'x' is no version"),
        (f"schema: {SCHEMA + 1}", "newer than this version reads"),
        ("name: snip", "is a 'snip', not a recipe"),
        ("structure: weights", "recipe needs 'criterion'"),
        ("critrion: magnitude", "did you mean 'criterion'"),
        ("structure: !!python/object/apply:os.getcwd []", "the recipe is no YAML"),
    ],
)
def test_bad_text_is_one_line(text: str, said: str) -> None:
    with pytest.raises(PlanError) as error:
        Recipe.loads(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_it_needs_is_the_union_over_its_parts() -> None:
    assert make().required() == frozenset()
