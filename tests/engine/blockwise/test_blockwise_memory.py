"""Peak memory does not grow with the number of layers, and may be smaller than the model.

Each run is a process of its own; models are large enough to tell one block from all.
"""

import sys

import pytest

from benchmarks import blockwise as bench

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read as Linux has them")


def test_memory_is_that_of_a_block_and_may_be_less_than_the_model(tmp_path):
    """The deep model is pruned within a limit that half of its file fits into; whole, it does not.

    By Wanda, and by FLAP, which takes neurons and heads out in two passes over the files.
    """
    bench.generate(tmp_path / "shallow", 2, 256, 4096)
    size = bench.generate(tmp_path / "deep", 10, 256, 4096)
    wanted, limited = [], {"spare": size // 2, "activations": "disk"}
    for method in ("wanda", "flap"):
        run = {"method": method, "samples": 4, "length": 32, "batch": 2}
        for name, more in (("shallow", {}), ("deep", limited)):
            out = str(tmp_path / f"{method}-{name}")
            wanted.append({"source": str(tmp_path / name), "out": out, **run, **more})
    found = bench.runs(*wanted)
    for shallow, deep in (found[:2], found[2:]):
        assert not deep["whole"]
        assert deep["peak"] <= 1.1 * shallow["peak"]
        assert 0.8 * size > 0.2 * shallow["peak"]  # holding all layers would have shown
    wanda, flap = found[1], found[3]
    assert wanda["sparsity"] == 0.5
    assert flap["parameters"][1] < 0.6 * flap["parameters"][0]
    assert len(list((tmp_path / "flap-deep").glob("model-*.safetensors"))) > 1
