"""The catalogue: names, options and either word for how much goes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secateur.allocation import Uniform
from secateur.core.cards import METHODS, Method, method, recipe
from secateur.core.errors import PlanError
from secateur.core.recipe import Recipe
from secateur.criteria import Magnitude
from secateur.schedule import Never, OneShot
from secateur.scope import Model
from secateur.structure import Weights


@pytest.fixture
def shears() -> Iterator[Method]:
    @method("test-shears", family="tests", paper="On Shears", authors="A & B", year=1999)
    def build(density: float = 0.5, at: str = "100%") -> Recipe:
        """Cut once.

        More about cutting.
        """
        return Recipe(
            structure=Weights(),
            criterion=Magnitude(),
            scope=Model(),
            allocator=Uniform(),
            schedule=OneShot(density=density, at=at),
        )

    yield build
    del METHODS["test-shears"]


@pytest.fixture
def bare() -> Iterator[Method]:
    @method("test-bare", family="tests")
    def build(classifier: bool = False) -> Recipe:
        """Cut nothing."""
        return Recipe(
            structure=Weights(classifier=classifier),
            criterion=Magnitude(),
            scope=Model(),
            allocator=Uniform(),
            schedule=Never(),
        )

    yield build
    del METHODS["test-bare"]


def test_the_card_is_the_docstring(shears: Method) -> None:
    assert shears.summary == "Cut once."
    assert shears.card.endswith("More about cutting.")
    assert shears.options == {"density": 0.5, "at": "100%"}
    assert (shears.year, shears.arxiv) == (1999, "")


def test_a_recipe_by_name_carries_the_name(shears: Method) -> None:
    made = recipe("test-shears", sparsity=0.9, at="0it")
    assert made.method == "test-shears"
    assert made.schedule == OneShot(density=0.1, at="0it")
    assert recipe("test-shears") == shears()
    assert recipe("test-shears", density=0.1) == recipe("test-shears", sparsity=0.9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"density": 0.1, "sparsity": 0.9}, "exactly one of density and sparsity"),
        ({"sparsity": 1.0}, "outside [0, 1)"),
        ({"desnity": 0.1}, "did you mean 'density'"),
    ],
)
def test_wrong_options_are_refused(shears: Method, options: dict[str, float], said: str) -> None:
    with pytest.raises(PlanError) as error:
        shears(**options)
    assert said in str(error.value)


def test_a_method_without_density_refuses_one(bare: Method) -> None:
    with pytest.raises(PlanError, match="'test-bare' takes no density or sparsity"):
        bare(sparsity=0.5)


def test_an_unknown_method_has_a_nearest_match(shears: Method) -> None:
    with pytest.raises(PlanError, match="did you mean 'test-shears'"):
        recipe("test-sheers")


def test_names_are_unique(shears: Method) -> None:
    with pytest.raises(PlanError, match="registered twice"):
        method("test-shears", family="tests")(lambda: None)  # type: ignore[arg-type, return-value]
