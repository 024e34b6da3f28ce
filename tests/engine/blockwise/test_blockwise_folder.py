"""From a folder to a folder: names, shapes and bytes, masks, and what is left alone."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open

import secateur as sc
from secateur.artifact.manifest import read_manifest
from secateur.core.errors import DataError, PlanError, StorageError
from secateur.engine.blockwise.folder import prune_folder
from tests.engine.blockwise import tiny

MAGNITUDE = sc.recipe("magnitude-layerwise", sparsity=0.5, walk="blocks")


def digests(folder):
    """SHA-256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def headers(folder):
    """Name -> dtype and shape of every stored tensor, and the file it is in."""
    out = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                part = file.get_slice(name)
                out[name] = (path.name, part.get_dtype(), part.get_shape())
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_magnitude_from_disk_to_disk(tmp_path, dtype):
    source = tiny.folder(tmp_path / "source", dtype=dtype)
    before = digests(source)
    done = prune_folder(source, MAGNITUDE, tmp_path / "out")
    assert digests(source) == before
    assert headers(done.folder) == headers(source)
    assert len(list(done.folder.glob("*.safetensors"))) > 1
    dense, pruned = tiny.load(source).state_dict(), tiny.load(done.folder).state_dict()
    touched = {row["target"] for row in done.record["layers"]}
    assert len(touched) == 3 * 7
    for name, value in pruned.items():
        if name not in touched:
            assert torch.equal(value, dense[name]), name
            continue
        assert int((value != 0).sum()) == value.numel() // 2, name
        kept = value != 0
        assert torch.equal(value[kept], dense[name][kept])
        assert float(dense[name][kept].abs().min()) >= float(dense[name][~kept].abs().max())


def test_the_record_says_what_was_done(tmp_path):
    done = prune_folder(tiny.folder(tmp_path / "source"), MAGNITUDE, tmp_path / "out")
    record = read_manifest(done.folder).provenance.record
    assert record == json.loads(json.dumps(done.record))
    assert record["sparsity"] == 0.5
    assert sc.Recipe.from_plain(record["recipe"]) == MAGNITUDE
    row = record["layers"][0]
    assert row["block"] == "model.layers.0"
    assert (row["units"], row["kept"]) == (256, 128)


def test_other_files_come_along_and_foreign_weights_do_not(tmp_path):
    source = tiny.folder(tmp_path / "source")
    (source / "tokenizer.json").write_text("{}")
    (source / "pytorch_model.bin").write_bytes(b"old")
    done = prune_folder(source, MAGNITUDE, tmp_path / "out")
    names = {path.name for path in done.folder.iterdir()}
    assert {"tokenizer.json", "config.json", "pruning.json"} <= names
    assert "pytorch_model.bin" not in names
    assert not list(tmp_path.glob(".*"))


def test_an_output_that_is_not_empty_is_refused(tmp_path):
    source = tiny.folder(tmp_path / "source")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("precious")
    with pytest.raises(StorageError, match="is not empty"):
        prune_folder(source, MAGNITUDE, tmp_path / "out")
    with pytest.raises(StorageError, match="inside the source"):
        prune_folder(source, MAGNITUDE, source / "pruned")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_output_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    done = prune_folder(tiny.folder(tmp_path / "source"), MAGNITUDE, tmp_path / "out")
    assert (done.folder / "config.json").exists()


def test_missing_and_damaged_files_are_one_line_each(tmp_path):
    source = tiny.folder(tmp_path / "source")
    for break_it, words in [
        (lambda: (source / "config.json").unlink(), "holds no config.json"),
        (lambda: sorted(source.glob("*.safetensors"))[1].unlink(), "lacks 1 of"),
        (lambda: (source / "model.safetensors.index.json").write_text("{"), "no sound index"),
        (lambda: (source / "model.safetensors.index.json").unlink(), "holds no weights"),
    ]:
        break_it()
        with pytest.raises(StorageError, match=words) as error:
            prune_folder(source, MAGNITUDE, tmp_path / "out")
        assert "\n" not in str(error.value)
    with pytest.raises(StorageError, match="is no folder"):
        prune_folder(tmp_path / "nothing", MAGNITUDE, tmp_path / "out")


def test_a_shard_that_is_cut_off_is_named(tmp_path):
    source = tiny.folder(tmp_path / "source")
    path = sorted(source.glob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StorageError, match=f"{path.name}.*is cut off"):
        prune_folder(source, MAGNITUDE, tmp_path / "out")


def test_weights_of_another_configuration_are_refused(tmp_path):
    source = tiny.folder(tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config["intermediate_size"] = 24
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(StorageError, match="do not belong together"):
        prune_folder(source, MAGNITUDE, tmp_path / "out")


def test_a_disk_too_small_is_found_before_anything_is_written(tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    source = tiny.folder(tmp_path / "source")
    usage = namedtuple("usage", "total used free")(100, 99, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match="free some space"):
        prune_folder(source, MAGNITUDE, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_recipes_that_cannot_walk_are_refused(tmp_path):
    source = tiny.folder(tmp_path / "source")
    with pytest.raises(PlanError, match="walks the whole model"):
        prune_folder(source, sc.recipe("magnitude-layerwise"), tmp_path / "out")
    with pytest.raises(PlanError, match="scope 'model' compares layers of the whole model"):
        sc.recipe("magnitude").model_copy(update={"walk": "blocks"}).validate_axes()
    snip = sc.recipe("magnitude-layerwise", walk="blocks").to_dict() | {
        "criterion": "snip",
        "walk": "blocks",
    }
    with pytest.raises(PlanError, match="is taken over the whole model"):
        prune_folder(source, sc.Recipe.from_plain(snip), tmp_path / "out", batches=tiny.batches())
    with pytest.raises(DataError, match="rests on activations"):
        prune_folder(source, sc.Recipe.from_plain(snip), tmp_path / "out")
