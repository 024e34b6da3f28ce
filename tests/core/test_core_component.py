"""Answers as values: read from names and mappings, written as plain data, refused on one line."""

from __future__ import annotations

from typing import ClassVar

import pytest

from secateur.core.axes import Criterion, Schedule, Scope
from secateur.core.component import Component, Registry, encode, from_dict, register
from secateur.core.errors import PlanError
from secateur.core.scale import scale_times
from secateur.core.time import END, Time, TimeField
from secateur.criteria import Magnitude
from secateur.schedule import Exponential, OneShot, Regrow
from secateur.scope import NM, Model


class Fruit(Component):
    registry: ClassVar[Registry] = Registry("fruit")


@register("apple")
class Apple(Fruit):
    seeds: int = 5
    at: TimeField = END
    colours: tuple[str, ...] = ()


@register("graft")
class Graft(Fruit):
    inner: Fruit
    times: int = 1


def test_defaults_are_left_out_and_times_are_words() -> None:
    assert Apple().to_dict() == {"name": "apple"}
    assert Apple(at="3it", colours=["red"]).to_dict() == {
        "name": "apple", "at": "3it", "colours": ["red"],
    }  # fmt: skip
    assert encode((Time(1, "ep"), [Apple()])) == ["1ep", [{"name": "apple"}]]


def test_wrappers_nest_and_go_by_name_or_mapping() -> None:
    made = from_dict(Fruit, {"name": "graft", "inner": {"name": "graft", "inner": "apple"}})
    assert made == Graft(inner=Graft(inner=Apple()))
    assert made.to_dict()["inner"] == {"name": "graft", "inner": {"name": "apple"}}
    assert from_dict(Fruit, made.to_dict()) == made


def test_it_reads_as_a_word_with_what_is_not_default() -> None:
    assert str(Apple()) == "apple"
    assert str(Graft(inner=Apple(seeds=2))) == "graft(inner=apple(seeds=2))"


def test_equal_and_hashable_but_not_across_kinds() -> None:
    assert {Apple(): 1}[Apple(seeds=5)] == 1
    assert Apple() != Apple(seeds=4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("aple", "unknown fruit 'aple'; did you mean 'apple'? Allowed: apple, graft"),
        ({"name": "apple", "seed": 3}, "apple has no option 'seed'; did you mean 'seeds'?"),
        ({"name": "apple", "seeds": "many"}, "apple.seeds: "),
        ({"name": "apple", "colours": "red"}, "several are a list: [a, b]"),
        ({"name": "graft"}, "graft needs 'inner'"),
        ({"seeds": 3}, "is neither a name nor a mapping"),
        ({"name": 5}, "is neither a name nor a mapping"),
        ({"name": ["apple"]}, "is neither a name nor a mapping"),
        ({"name": "apple", 3: 4}, "has the key 3, which is no word"),
        (7, "is neither a name nor a mapping"),
        (None, "is neither a name nor a mapping"),
        ({"name": "apple", "at": "3"}, "has no unit"),
    ],
)
def test_mistakes_are_one_line(given: object, said: str) -> None:
    with pytest.raises(PlanError) as error:
        from_dict(Fruit, given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mistake_deep_inside_names_its_owner() -> None:
    with pytest.raises(PlanError, match="apple has no option 'sedes'; did you mean 'seeds'"):
        from_dict(Fruit, {"name": "graft", "inner": {"name": "apple", "sedes": 1}})


def test_an_answer_of_another_axis_is_refused() -> None:
    with pytest.raises(PlanError):
        from_dict(Criterion, "one-shot")
    with pytest.raises(PlanError, match="inner"):
        Graft(inner=Model())


def test_an_answer_without_a_name_says_how_to_get_one() -> None:
    class Pear(Fruit):
        pass

    with pytest.raises(PlanError, match=r"Pear has no name .* decorate it with @register"):
        Pear()


def test_two_answers_cannot_share_a_name() -> None:
    with pytest.raises(PlanError, match="'apple' is registered twice"):
        register("apple")(Apple)


def test_registries_are_lists_of_names() -> None:
    assert list(Fruit.registry) == ["apple", "graft"]
    assert len(Fruit.registry) == 2
    assert Scope.registry.get("model") is Model


def test_values_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Apple().seeds = 3  # type: ignore[misc]


def test_fields_are_checked_and_converted() -> None:
    assert OneShot(density=1) == OneShot(density=1.0)
    assert OneShot(density=1).to_dict() == {"name": "one-shot", "density": 1.0}
    assert Magnitude(p=2).to_dict() == {"name": "magnitude", "p": 2.0}
    with pytest.raises(PlanError, match=r"density 1\.5 is outside"):
        OneShot(density=1.5)
    with pytest.raises(PlanError, match="keeps N non-zeros of every M inputs"):
        NM(n=4, m=4)


def test_shrinking_scales_times_only() -> None:
    small = scale_times(Regrow(density=0.1, every="100it", end="75%"), 0.1)
    assert small == Regrow(density=0.1, every="10it", end="75%")
    assert scale_times(Exponential(density=0.1, at="0it"), 0.1) == Exponential(density=0.1)
    assert scale_times(Regrow(density=0.1, every="2it"), 0.001).every == Time(1, "it")
    assert isinstance(small, Schedule)
