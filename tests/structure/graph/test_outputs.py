"""Which outputs hold the sizes of a network."""

from __future__ import annotations

import pytest
import torch
from support_thorough import but
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import secateur as sc
from secateur.core.errors import PlanError
from secateur.structure import Coupled
from secateur.structure.graph import trace
from secateur.structure.graph.outputs import outputs_of
from tests.structure.graph.zoo.table import make


class Two(nn.Module):
    """A result and what it was made from."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        hidden = self.a(x).relu()
        return self.b(hidden), {"hidden": hidden, "input": x}


X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


def held(spec: pytree.TreeSpec, *chosen: str) -> list[str]:
    found = outputs_of(spec, chosen or None)
    return [found.names[i] for i in sorted(found.held)]


def test_names_are_keys_and_numbers() -> None:
    spec = pytree.tree_structure((0, {"a": 0, "b": [0, 0]}, None))
    assert outputs_of(spec).names == ("0", "1.a", "1.b.0", "1.b.1", "2")
    assert held(spec, "1.b") == ["1.b.0", "1.b.1"]
    assert held(spec, "0", "*.a") == ["0", "1.a"]
    assert outputs_of(pytree.tree_structure(0)).names == ("0",)


def test_states_beside_predictions_are_free_but_never_all_there_is() -> None:
    whisper = {"logits": 0, "encoder_last_hidden_state": 0, "decoder_attentions": 0}
    assert held(pytree.tree_structure(whisper)) == ["logits"]
    bert = {"last_hidden_state": 0, "pooler_output": 0}
    assert held(pytree.tree_structure(bert)) == list(bert)
    assert held(pytree.tree_structure(whisper), "*") == list(whisper)


def test_every_output_holds_by_default() -> None:
    assert not sc.trace(Two(), X)
    assert [a.name for a in sc.trace(Two(), X, outputs=0)] == ["a"]
    assert [a.name for a in sc.trace(Two(), X, outputs=["0", "1.input"])] == ["a"]
    assert [a.name for a in sc.trace(Two(), X, outputs="1.hidden")] == ["b"]


def test_an_output_that_does_not_exist_is_named_with_the_nearest() -> None:
    with pytest.raises(PlanError, match=r"unknown output '1\.hiden'; did you mean '1\.hidden'"):
        sc.trace(Two(), X, outputs="1.hiden")


def test_pruning_and_shrinking_keep_to_the_outputs() -> None:
    model = Two()
    with pytest.raises(PlanError, match="no coupled structure"):
        Coupled().targets(model, X)
    (target,) = Coupled(outputs=("0",)).targets(model, X)
    assert target.name == "a"
    made = sc.shrink(model, X, keep={"a": [0, 3]}, outputs="0")
    result, states = made.model(X)
    assert (result.shape, states["hidden"].shape) == ((2, 2), (2, 2))
    assert made.record["difference"] < 1e-6
    recipe = sc.recipe("group-norm", density=0.5)
    recipe = recipe.model_copy(update={"structure": Coupled(outputs=("0",))})
    again = sc.shrink(sc.prune(model, recipe, example=X), X)
    assert again.model.a.out_features == 4


@pytest.mark.parametrize("name", but(["whisper"], ["t5", "whisper", "detr"]))
def test_the_width_of_an_encoder_decoder_is_free_when_it_predicts(name: str) -> None:
    model, (args, kwargs) = make(name)
    kinds = [a.kind for a in trace(model, args, kwargs, dynamic=False).axes]
    every = [a.kind for a in trace(model, args, kwargs, dynamic=False, outputs=["*"]).axes]
    assert "residual width" in kinds
    assert kinds.count("residual width") > every.count("residual width")
