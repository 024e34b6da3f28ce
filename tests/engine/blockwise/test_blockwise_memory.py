"""Peak memory does not grow with the number of layers, and may be smaller than the model.

Each run is a process of its own; models are large enough to tell one block from all.
"""

import sys

import pytest

from benchmarks import blockwise as bench

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read as Linux has them")
RUN = {"method": "wanda", "samples": 4, "length": 32, "batch": 2}


def test_memory_is_that_of_a_block_and_may_be_less_than_the_model(tmp_path):
    """The deep model is pruned within a limit that half of its file fits into; whole, it does not."""
    bench.generate(tmp_path / "shallow", 6, 256, 1536)
    size = bench.generate(tmp_path / "deep", 24, 256, 1536)
    shallow = bench.run(source=str(tmp_path / "shallow"), out=str(tmp_path / "a"), **RUN)
    asked = {"spare": size // 2, "activations": "disk", **RUN}
    deep = bench.run(source=str(tmp_path / "deep"), out=str(tmp_path / "b"), **asked)
    assert deep["sparsity"] == 0.5
    assert not deep["whole"]
    assert deep["peak"] <= 1.1 * shallow["peak"]
    assert 0.75 * size > 0.2 * shallow["peak"]  # holding all layers would have shown


def test_taking_structures_out_needs_no_more(tmp_path):
    """As above, in two passes over the files: neurons and heads of every layer."""
    bench.generate(tmp_path / "shallow", 4, 256, 2048)
    size = bench.generate(tmp_path / "deep", 20, 256, 2048)
    run = RUN | {"method": "flap"}
    shallow = bench.run(source=str(tmp_path / "shallow"), out=str(tmp_path / "a"), **run)
    asked = {"spare": size // 2, "activations": "disk", **run}
    deep = bench.run(source=str(tmp_path / "deep"), out=str(tmp_path / "b"), **asked)
    assert deep["parameters"][1] < 0.6 * deep["parameters"][0]
    assert not deep["whole"]
    assert deep["peak"] <= 1.1 * shallow["peak"]
    assert len(list((tmp_path / "b").glob("model-*.safetensors"))) > 1
    assert 0.8 * size > 0.2 * shallow["peak"]  # holding all layers would have shown
