"""Which weights may go, under which names, and which layer is the classifier."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.core.errors import DataError, PlanError
from secateur.structure.prunable import chosen, classifier, prunable


def names(model: nn.Module) -> list[str]:
    return [w.name for w in prunable(model)]


def select(
    model: nn.Module,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    head: bool = False,
    example: object = None,
) -> list[str]:
    return [w.name for w in chosen(model, example, include, exclude, head)]


class Net(nn.Module):
    """Registered in another order than it runs: the classifier comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.embed = nn.Embedding(5, 4)
        self.scale = nn.Parameter(torch.ones(2, 2))
        self.hidden = nn.Linear(4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.norm(self.conv(x)).mean((2, 3))
        return self.head(self.hidden(pooled).relu())


IMAGE = torch.zeros(2, 3, 4, 4)


def test_linear_and_convolution_weights_and_nothing_else() -> None:
    assert names(Net()) == ["head.weight", "conv.weight", "hidden.weight"]


def test_dimensions_are_named_inputs_first_where_they_are_stored_first() -> None:
    model = nn.ModuleList([nn.Conv1d(2, 4, 3), nn.ConvTranspose2d(2, 4, 3), nn.Linear(2, 4)])
    assert [w.dims for w in prunable(model)] == [
        ("out", "in", "k"), ("in", "out", "k", "k"), ("out", "in"),
    ]  # fmt: skip


def test_attention_and_recurrent_weights() -> None:
    model = nn.ModuleDict({"a": nn.MultiheadAttention(8, 2), "r": nn.LSTM(4, 6)})
    assert names(model) == [
        "a.in_proj_weight", "a.out_proj.weight", "r.weight_ih_l0", "r.weight_hh_l0",
    ]  # fmt: skip


class Stacked(nn.Module):
    """Experts: gate and up projection in one tensor, then down."""

    def __init__(self, first: tuple[int, int], second: tuple[int, int], **said: object) -> None:
        super().__init__()
        self.num_routed_experts = 3
        self.up = nn.Parameter(torch.zeros(3, *first))
        self.down = nn.Parameter(torch.zeros(3, *second))
        vars(self).update(said)


@pytest.mark.parametrize(
    ("experts", "dims"),
    [
        (Stacked((12, 4), (4, 6)), ("expert", "out", "in")),
        (Stacked((4, 12), (6, 4)), ("expert", "in", "out")),  # as Llama 4 has them
        (Stacked((4, 4), (4, 4), is_transposed=True), ("expert", "in", "out")),
        (Stacked((4, 4), (4, 4)), ("expert", "out", "in")),
        (Stacked((8, 4), (4, 4)), ("expert", "out", "in")),
        (Stacked((4, 8), (4, 4)), ("expert", "in", "out")),
    ],
)
def test_which_side_of_stacked_experts_is_the_input(
    experts: nn.Module, dims: tuple[str, ...]
) -> None:
    assert [w.dims for w in prunable(experts)] == [dims, dims]


def test_integer_weights_and_biases_are_left_alone() -> None:
    layer = nn.Linear(2, 2)
    del layer.weight
    layer.register_parameter("weight", nn.Parameter(torch.ones(2, 2).long(), requires_grad=False))
    assert names(nn.Sequential(layer)) == []


def test_a_tied_weight_counts_once_under_the_name_its_parameter_has() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    assert names(model) == ["0.weight", "2.weight"]
    language = nn.ModuleDict({"embed": nn.Embedding(7, 4), "head": nn.Linear(4, 7, bias=False)})
    language["head"].weight = language["embed"].weight
    (tied,) = prunable(language)
    assert tied.name in dict(language.named_parameters())
    assert tied.layer == "head"
    assert select(language, include=("*",)) == ["embed.weight"]


def test_the_classifier_is_the_linear_layer_that_runs_last() -> None:
    assert classifier(Net()) == "hidden"  # registered last: the best guess without an example
    assert classifier(Net(), IMAGE) == "head"
    assert classifier(Net(), {"x": IMAGE}) == "head"
    assert classifier(Net(), (IMAGE,)) == "head"


def test_without_an_example_it_is_what_the_model_calls_its_output_embeddings() -> None:
    """As CamemBERT, which registers its head before its body; a model on the meta device cannot run."""
    net = Net()
    net.get_output_embeddings = lambda: net.head
    assert classifier(net) == "head"
    net.get_output_embeddings = lambda: None
    assert classifier(net) == "hidden"


def test_without_linear_layers_it_is_the_last_convolution() -> None:
    convs = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert classifier(convs) == "2"
    assert classifier(nn.ReLU()) is None


def test_looking_for_the_classifier_leaves_the_model_as_it_was() -> None:
    net = Net().train()
    net.norm.eval()  # frozen on purpose
    before = {n: t.clone() for n, t in net.state_dict().items()}
    state = torch.get_rng_state()
    classifier(net, IMAGE)
    assert net.training
    assert not net.norm.training
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks for m in net.modules())


def test_a_failing_example_leaves_no_trace_either() -> None:
    net = Net().train()
    with pytest.raises(DataError, match="cannot take the example"):
        classifier(net, torch.zeros(2, 5, 4, 4))
    assert all(m.training for m in net.modules())
    assert not any(m._forward_hooks for m in net.modules())


def test_the_classifier_stays_unless_asked_for() -> None:
    assert select(Net(), example=IMAGE) == ["conv.weight", "hidden.weight"]
    assert select(Net(), example=IMAGE, head=True) == names(Net())
    assert select(nn.Sequential(nn.Linear(4, 2))) == ["0.weight"]  # nothing else to prune


def test_include_names_what_is_pruned_the_classifier_and_free_parameters_too() -> None:
    assert select(Net(), include=("head.weight", "conv.*")) == ["head.weight", "conv.weight"]
    assert select(Net(), include=("scale", "embed.weight")) == ["scale", "embed.weight"]


def test_the_classifier_may_be_excluded_once_more() -> None:
    assert select(Net(), exclude=("head.*",), example=IMAGE) == ["conv.weight", "hidden.weight"]


def test_exclude_takes_away() -> None:
    assert select(Net(), exclude=("conv.*",), example=IMAGE) == ["hidden.weight"]
    assert select(Net(), include=("*.weight",), exclude=("re:^(head|embed)",)) == [
        "conv.weight", "hidden.weight",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"include": ("conf.weight",)}, "did you mean 'conv.weight'"),
        ({"exclude": ("hidden.wieght",)}, "did you mean 'hidden.weight'"),
        ({"exclude": ("*",)}, "no prunable layers"),
    ],
)
def test_mistakes_are_named(options: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(PlanError) as error:
        select(Net(), **options)
    assert said in str(error.value)


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(PlanError, match="no prunable layers"):
        select(nn.Sequential(nn.ReLU()))


def test_weights_that_a_parametrisation_computes_are_not_left_dense_in_silence() -> None:
    net = Net()
    nn.utils.parametrizations.weight_norm(net.conv)
    with pytest.raises(
        PlanError, match=r"'conv\.weight' is computed.*exclude='conv.weight'"
    ) as error:
        select(net, example=IMAGE)
    assert select(net, exclude=("conv.weight",), example=IMAGE) == ["hidden.weight"]
    assert select(net, include=("hidden.weight",)) == ["hidden.weight"]
    said = str(error.value)
    advice = said[said.index("torch.nn.utils.parametrize") : said.index(", or leave")]
    remove = nn.utils.parametrize.remove_parametrizations
    assert (
        advice
        == f"torch.nn.utils.parametrize.{remove.__name__}(model.get_submodule('conv'), 'weight')"
    )
    remove(net.get_submodule("conv"), "weight")
    assert set(select(net, example=IMAGE)) == {"conv.weight", "hidden.weight"}


def test_a_parametrised_classifier_stays_as_any_other() -> None:
    net = Net()
    nn.utils.parametrizations.spectral_norm(net.head)
    assert select(net, example=IMAGE) == ["conv.weight", "hidden.weight"]
    with pytest.raises(PlanError, match=r"'head\.weight' is computed"):
        select(net, example=IMAGE, head=True)
