"""Networks without some layers: the depth in the configuration, wherever and however it is counted there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.structure.by_layer import beside
from secateur.structure.depth import Depth
from secateur.structure.graph.capture import as_traced
from secateur.structure.graph.replay import replay
from secateur.structure.residual import residual_blocks
from tests.structure.graph.zoo.hf_text import build
from tests.structure.graph.zoo.hf_vision import IMAGE, pixels

TWO = {"depths": [2, 2, 2, 2]}
NAMES = ["stem", "stage1", "stage2", "stage3"]


def deep(name: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    """A model of the zoo with layers to lose; weights that start as constants are drawn."""
    config, kind, settings, size = IMAGE[name]
    torch.manual_seed(0)
    model = build((config, kind, {**settings, **more}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model, {"pixel_values": pixels(size)}


def assert_stock(small: Any, example: dict[str, Any]) -> None:
    """The class builds the network from nothing but the written configuration."""
    fresh = type(small)(type(small.config).from_dict(small.config.to_dict())).eval()
    fresh.load_state_dict(small.state_dict())
    with torch.no_grad(), as_traced(small), as_traced(fresh):
        assert torch.equal(small(**example)[0], fresh(**example)[0])


@pytest.mark.parametrize(
    ("name", "more", "layers", "settings"),
    [
        ("beit", {"num_hidden_layers": 3}, ["beit.layers.0"], ["num_hidden_layers: 3 -> 2"]),
        ("yolos", {"use_mid_position_embeddings": False}, ["vit.encoder.layer.0"],
         ["num_hidden_layers: 2 -> 1"]),
        ("mobilevitv2", {"n_attn_blocks": [2, 1, 1]}, ["mobilevitv2.encoder.layer.2.transformer.layer.1"],
         ["n_attn_blocks.0: 2 -> 1"]),
        ("levit", {"depths": [2, 1, 1]}, [f"levit.encoder.stages.0.layers.{i}" for i in (0, 1)],
         ["depths.0: 2 -> 1"]),
        ("efficientnet", {}, ["efficientnet.encoder.blocks.6"], ["num_block_repeats.5: 4 -> 3"]),
        ("segformer_segmentation", TWO, ["segformer.stages.0.blocks.0"], ["depths.0: 2 -> 1"]),
        ("hiera", {"depths": [2, 2]}, ["hiera.encoder.stages.1.layers.1"], ["depths.1: 2 -> 1"]),
        ("focalnet", {"depths": [2, 2]}, ["focalnet.encoder.stages.0.layers.0"], ["depths.0: 2 -> 1"]),
        ("pvt", TWO, ["pvt.encoder.block.3.1", "pvt.encoder.block.0.0"],
         ["depths.0: 2 -> 1", "depths.3: 2 -> 1"]),
        ("poolformer", TWO, ["poolformer.encoder.block.1.1"], ["depths.1: 2 -> 1"]),
        ("convnext", TWO, ["convnext.encoder.stages.3.layers.1"], ["depths.3: 2 -> 1"]),
        ("regnet", TWO, ["regnet.encoder.stages.3.layers.1"], ["depths.3: 2 -> 1"]),
    ],
)  # fmt: skip
def test_the_depth_is_found_in_the_configuration(
    name: str, more: dict[str, Any], layers: list[str], settings: list[str]
) -> None:
    model, example = deep(name, **more)
    before = model.config.to_dict()
    shrunk = sc.shrink(model, example, keep={layer: [] for layer in layers})
    assert shrunk.record["loadable"] == "stock", shrunk.record["why"]
    assert {*settings} <= {*shrunk.record["config"]}
    assert model.config.to_dict() == before
    assert_stock(shrunk.model, example)


def test_names_of_stages_and_choices_among_them_follow() -> None:
    model, example = deep("dinov2", num_hidden_layers=3, out_features=["stage1", "stage3"])
    shrunk = sc.shrink(model, example, keep={"dinov2.encoder.layer.1": []})
    assert shrunk.record["loadable"] == "stock", shrunk.record["why"]
    config = shrunk.model.config
    assert config.num_hidden_layers == 2
    assert config.stage_names == ["stem", "stage1", "stage2"]
    assert (config.out_features, config.out_indices) == (["stage1", "stage2"], [1, 2])
    assert_stock(shrunk.model, example)
    again = replay(model, shrunk.edits)
    assert again.config.to_dict() == config.to_dict()


def test_a_backbone_whose_code_gives_fewer_features_then_is_refused() -> None:
    from transformers import Dinov2Backbone

    model, example = deep("dinov2", num_hidden_layers=3, out_features=["stage1", "stage3"])
    backbone = Dinov2Backbone(model.config).eval()
    with pytest.raises(PlanError, match="or not with the same outputs"):
        sc.shrink(backbone, example, keep={"encoder.layer.1": []})


def test_a_depth_that_stands_in_the_code_is_said_to_be_in_no_configuration() -> None:
    model, example = deep("mobilevit")
    layer = "mobilevit.encoder.layer.4.transformer.layer.2"
    shrunk = sc.shrink(model, example, keep={layer: []})
    assert shrunk.record["loadable"] == "secateur"
    assert shrunk.record["config"] == []
    assert shrunk.record["why"].startswith(
        "no setting of the configuration was found that builds 2 instead of 3 layers in "
        "'mobilevit.encoder.layer.4.transformer.layer'"
    )
    with pytest.raises(PlanError, match="no setting of the configuration"):
        sc.shrink(model, example, keep={layer: []}, loadable="stock")


def test_half_of_a_pair_that_the_class_builds_together_is_no_stock_network() -> None:
    model, example = deep("levit", depths=[2, 1, 1])
    shrunk = sc.shrink(model, example, keep={"levit.encoder.stages.0.layers.0": []})
    assert shrunk.record["loadable"] == "secateur"
    assert "builds 5 instead of 6 layers" in shrunk.record["why"]


def test_a_network_that_does_not_run_without_a_layer_is_refused() -> None:
    model, example = deep("dpt")
    with pytest.raises(
        PlanError, match=r"without \['dpt.encoder.layer.3'\] the network does not run"
    ):
        sc.shrink(model, example, keep={"dpt.encoder.layer.3": []})


def test_blocks_are_found_where_outputs_are_collected_by_hooks() -> None:
    model, example = deep("segformer_segmentation", **TWO)
    with torch.no_grad():
        before = model(**example)[0]
    found = [b.name for b in residual_blocks(model, example) if b.identity]
    assert found == [f"segformer.stages.{s}.blocks.{i}" for s in range(4) for i in (0, 1)]
    with torch.no_grad():
        assert torch.equal(model(**example)[0], before)
    heard: list[nn.Module] = []
    handle = (
        model.segformer.stages[0]
        .blocks[0]
        .register_forward_hook(lambda module, *_: heard.append(module))
    )
    residual_blocks(model, example)
    handle.remove()
    assert len(heard) == 1  # the pass itself, not the trial with zeros


@pytest.mark.parametrize(
    ("stay", "chosen", "expected"),
    [
        ((1, 2), ["stage3"], ["stage2"]),
        ((1, 2), ["stage1", "stage2"], ["stem", "stage1"]),
        ((0, 2), ["stem", "stage2", "stage3"], ["stem", "stage1", "stage2"]),
        ((0,), ["stage2", "stage3"], ["stage1", "stage1"]),  # no class takes it; that is tried out
    ],
)
def test_states_between_layers(
    stay: tuple[int, ...], chosen: list[str], expected: list[str]
) -> None:
    places = [NAMES.index(name) for name in chosen]
    config = {"stage_names": NAMES, "out_features": chosen, "out_indices": places, "sizes": [7, 8]}
    found = dict(beside(config, Depth("layers", 3, stay)))
    assert found == {
        "stage_names": NAMES[: len(stay) + 1],
        "out_features": expected,
        "out_indices": [NAMES.index(name) for name in expected],
    }
