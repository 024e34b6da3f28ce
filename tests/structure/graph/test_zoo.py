"""Every architecture: half of every axis removed, the output as the masked network's, the shape as it was."""

from __future__ import annotations

import pytest
from support_thorough import but

from secateur.structure.graph import trace
from secateur.structure.graph.proof import compare
from tests.structure.graph.choices import half, kept_parameters, some
from tests.structure.graph.zoo.table import ZOO, make

AGAIN = (
    "regnet", "bit", "mobilenet_v1", "mobilenet_v2", "mobilevit", "mobilevitv2", "poolformer", "pvt",
    "cvt", "swinv2", "focalnet", "deit", "vitmsn", "ijepa", "yolos", "dinov2_registers", "dpt",
    "segformer_segmentation", "mistral", "qwen2", "qwen3", "phi", "olmo2", "starcoder2", "stablelm",
    "cohere", "granite", "gpt_neo", "bloom", "opt", "qwen3_moe", "roberta", "distilbert", "electra",
    "mpnet", "deberta",
)  # fmt: skip
"""Networks of the makes that others have, too."""
NO_EXACT_AXIS = {"convnextv2": "every width passes a layer norm or a global response norm"}
FEWER_THAN_60 = "the issue asks for at least 60 architectures"


def test_the_zoo_is_large_enough() -> None:
    assert len(ZOO) - len(AGAIN) >= 60, FEWER_THAN_60


@pytest.mark.parametrize("name", but(AGAIN, ZOO))
def test_half_of_every_axis(name: str) -> None:
    model, (args, kwargs) = make(name)
    traced = trace(model, args, kwargs, dynamic=False)
    assert not traced.unknown

    exact = compare(traced.inference, half(a for a in traced.axes if a.exact), args, kwargs)
    assert exact.holds(1e-9), exact
    assert exact.effect > 1e-4 or name in NO_EXACT_AXIS

    mended = [a for a in traced.axes if a.exact or a.mends]
    with_old_counts = compare(traced.inference, half(mended), args, kwargs, preserve=True)
    assert with_old_counts.holds(1e-9), with_old_counts

    everything = half(traced.axes)
    removed = compare(traced.inference, everything, args, kwargs)
    assert removed.shapes
    assert removed.finite
    assert kept_parameters(traced, everything) < 0.7

    subset = compare(traced.inference, some(mended, seed=1), args, kwargs, preserve=True)
    assert subset.holds(1e-9), subset
