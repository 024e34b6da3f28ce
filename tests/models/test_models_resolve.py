"""Networks by name and from users' own modules, seeds, and errors in one line."""

from __future__ import annotations

import inspect
import textwrap

import pytest
import torch
from torch import nn

from secateur.core.errors import PlanError
from secateur.models import build, build_seeded, names, resolve
from secateur.models.registry import BUILT_IN

DIGITS = {"num_classes": 10, "in_channels": 1, "image_size": 8}

OWN = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, num_classes, width=4):
            super().__init__()
            self.linear = nn.Linear(width, num_classes)

    def tiny(in_channels, image_size, **rest):
        assert not rest, rest
        return nn.Linear(in_channels * image_size, 2)

    def loose(**anything):
        return nn.Linear(1, anything.get("num_classes", 1000))

    def wrong():
        return 3

    def needy(secret):
        return nn.Linear(secret, secret)

    constant = 5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(textwrap.dedent(OWN))
    (tmp_path / "broken_net.py").write_text("def f(:\n")
    (tmp_path / "needs_other.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", names())
def test_every_name_builds_with_the_three_data_arguments_only(name):
    for p in inspect.signature(BUILT_IN[name]).parameters.values():
        assert p.default is not p.empty, p.name
    assert isinstance(build(name, num_classes=3, in_channels=2, image_size=32), nn.Module)


def test_the_users_class_gets_what_its_signature_names(own):
    assert resolve("own_nets:Net", **DIGITS).linear.weight.shape == (10, 4)
    assert resolve("own_nets:Net", **DIGITS, width=6).linear.weight.shape == (10, 6)
    assert resolve("own_nets:tiny", **DIGITS).weight.shape == (2, 8)


def test_keyword_catch_alls_get_options_only(own):
    assert resolve("own_nets:loose", **DIGITS).out_features == 1000


def test_the_import_path_is_left_as_it_was(own):
    import sys

    before = list(sys.path)
    resolve("own_nets:Net", **DIGITS)
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "options", "words"),
    [
        ("resnet_20", {}, "did you mean 'resnet20'.*package.module:function"),
        ("resnet20", {"widht": 8}, "did you mean 'width'"),
        ("own_nets:Nett", {}, "did you mean 'Net'"),
        ("own_net:Net", {}, "did you mean 'own_nets'"),
        ("own_nets:wrong", {}, "gave a int"),
        ("own_nets:needy", {}, "needs 'secret'"),
        ("own_nets:constant", {}, "is a int, not a function"),
        ("own_nets:Net", {"wdth": 8}, "did you mean 'width'"),
        ("own_nets:", {}, "not of the form"),
        (".own_nets:Net", {}, "not of the form"),
        ("broken_net:f", {}, "line 1"),
        ("needs_other:f", {}, "not_installed_anywhere"),
    ],
)
def test_mistakes_are_one_line_that_says_what_to_do(own, spec, options, words):
    with pytest.raises(PlanError, match=words) as caught:
        resolve(spec, **DIGITS, **options)
    assert "\n" not in str(caught.value)


def test_seeded_weights_depend_on_the_seed_alone_and_leave_the_generator_alone():
    before = torch.get_rng_state()
    one = build_seeded("cnn", 5, **DIGITS).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    two = build_seeded("cnn", 5, **DIGITS).state_dict()
    other = build_seeded("cnn", 6, **DIGITS).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_seeding_gives_the_generator_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(PlanError):
        build_seeded("vgg16-bn", 0, **DIGITS)
    assert torch.equal(torch.get_rng_state(), before)
