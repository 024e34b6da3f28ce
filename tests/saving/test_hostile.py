"""Damaged and hostile artifacts: always an error, never a wrong network, nothing else touched."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from saving.nets import Baked, mlp, resnet

import secateur as sc
from secateur.artifact import manifest as format_
from secateur.artifact.container import _sealed
from secateur.artifact.masks import save_masks
from secateur.core.errors import SecateurError, StorageError

Content = dict[str, Any]


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller ResNet, which names its constructor."""
    model, x = resnet()
    result = sc.prune(model, "group-norm", density=0.5, example=x)
    return sc.save(sc.shrink(result, x), tmp_path_factory.mktemp("shrunk") / "a")


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked ResNet with its masks beside whole weights."""
    result = sc.prune(resnet()[0], "magnitude", sparsity=0.9)
    return sc.save(result, tmp_path_factory.mktemp("masked") / "a", compact=False)


@pytest.fixture
def folder(shrunk: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shrunk, tmp_path / "a"))


def rewrite(folder: Path, change: Callable[[Content], object]) -> None:
    """Change `pruning.json` and seal it again, as somebody with bad intentions would."""
    content = json.loads((folder / "pruning.json").read_text())
    content.pop("digest")
    change(content)
    content["digest"] = format_._digest(content)
    (folder / "pruning.json").write_text(json.dumps(content))


def refused(folder: Path, words: str = "", **options: Any) -> None:
    """Loading ends in an error that names the folder, and leaves every file as it was."""
    before = {p: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(SecateurError, match=words) as caught:
        sc.load(folder, **options)
    assert str(folder) in str(caught.value)
    assert {p: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


def test_a_sealed_artifact_loads(folder: Path) -> None:
    rewrite(folder, lambda content: content["provenance"]["record"].update(note="mine"))
    sc.load(folder)


@pytest.mark.parametrize("name", ["pruning.json", "model.safetensors", "masks.safetensors"])
def test_cut_and_missing_files(masked: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(masked, tmp_path / "a"))
    whole = (folder / name).read_bytes()
    for length in (0, 1, 8, len(whole) // 2, len(whole) - 2):
        (folder / name).write_bytes(whole[:length])
        refused(folder)
    (folder / name).write_bytes(whole + b"\0")
    refused(folder)
    (folder / name).unlink()
    refused(folder)
    (folder / name).write_bytes(whole)
    sc.load(folder)


@pytest.mark.parametrize("name", ["pruning.json", "model.safetensors", "masks.safetensors"])
def test_single_bits_that_flip(masked: Path, tmp_path: Path, name: str) -> None:
    """Every bit counts, blanks between words of the plan alone excepted."""
    folder, rng = Path(shutil.copytree(masked, tmp_path / "a")), random.Random(0)
    whole = (folder / name).read_bytes()
    for _ in range(40):
        at = rng.randrange(len(whole))
        changed = bytearray(whole)
        changed[at] ^= 1 << rng.randrange(8)
        if not (changed[at : at + 1].isspace() and whole[at : at + 1].isspace()):
            (folder / name).write_bytes(changed)
            refused(folder)


def test_files_of_another_artifact(masked: Path, shrunk: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(masked, tmp_path / "a"))
    shutil.copy(shrunk / "model.safetensors", folder)
    refused(folder, "another file than the artifact was saved with")
    shutil.copy(masked / "model.safetensors", folder)
    save_masks(folder / "masks.safetensors", {"conv1.weight": torch.ones(16, 3, 3, 3).bool()})
    refused(folder, "another file than the artifact was saved with")


def first_cut(content: Content) -> dict[str, int]:
    return next(iter(content["edits"][0]["tensors"].values()))


def kept(**changes: Any) -> Callable[[Content], object]:
    return lambda content: content["kept"][0].update(changes)


def edit(**changes: Any) -> Callable[[Content], object]:
    return lambda content: content["edits"][0].update(changes)


def change(**fields: Any) -> Callable[[Content], object]:
    full = {"module": "", "attribute": "x", "old": 1, "new": 2} | fields
    return edit(attributes=[full])


def built_by(constructor: str, **more: Any) -> Callable[[Content], object]:
    return lambda c: c.update(architecture={"constructor": constructor, **more})


PLANS: dict[str, tuple[Callable[[Content], object], str]] = {
    "kept beyond the end": (kept(ranges=[[0, 10_000]]), "do not lie within"),
    "kept nothing like it": (kept(ranges=[[0, 1]]), "do not fit the network"),
    "kept backwards": (kept(ranges=[[5, 2]]), "ascending"),
    "kept negative": (kept(ranges=[[-4, 2]]), "ascending"),
    "kept of another size": (kept(size=17), "should have 17 entries"),
    "kept of a huge size": (kept(size=10**15), "do not lie within"),
    "kept of a large size": (kept(size=10**11), "bytes.*allowed"),
    "kept words": (kept(ranges="all"), "ranges"),
    "a place that is none": (lambda c: first_cut(c).update({"0": 999}), "no kept numbers"),
    "a negative place": (lambda c: first_cut(c).update({"0": -1}), "no kept numbers"),
    "a true place": (lambda c: first_cut(c).update({"0": True}), "no kept numbers"),
    "a dimension too many": (lambda c: first_cut(c).update({"7": 0}), "dimension 7"),
    "a dimension below none": (lambda c: first_cut(c).update({"-1": 0}), "dimension -1"),
    "a tensor that is not there": (edit(tensors={"../../x": {"0": 0}}), "no module|no tensor"),
    "a removal that did not happen": (edit(tensors={}), "do not fit the network"),
    "edits in two": (lambda c: c["edits"].append(c["edits"][0]), "should have"),
    "another forward": (change(module="conv1", attribute="forward"), "should be 1"),
    "another class": (change(module="conv1", attribute="__class__", old=1), "should be 1"),
    "hooks": (change(module="conv1", attribute="_forward_hooks", old={}, new={}), "should be"),
    "training": (change(module="conv1", attribute="training", old=True, new="x"), "cannot become"),
    "stride": (change(module="conv1", attribute="stride", old=[1, 1], new=7), "cannot become"),
    "a configuration": (change(attribute="config.hidden_size"), "has no configuration"),
    "a module that is none": (change(module="../x"), "has no module"),
    "added over another": (lambda c: c.update(added={"conv1.weight": [1]}), "no place for"),
    "added nowhere": (lambda c: c.update(added={"conv1.other": [1]}), "no place for"),
    "added without a shape": (
        lambda c: c.update(added={"conv1.bias": [-1]}),
        "cannot have the shape",
    ),
    "a shell": (built_by("os:system", arguments={"command": "touch hacked"}), "not run unasked"),
    "a shell through ours": (
        built_by("secateur.models.resolve:resolve", arguments={"spec": "os:system"}),
        "not run unasked",
    ),
    "a shell by path": (built_by("secateur.models.registry:inspect.os.system"), "not run unasked"),
    "no name": (built_by("../../evil.py"), "constructor"),
    "no model": (built_by("transformers:Trainer", config={}), "no model class"),
    "no architecture": (built_by("transformers:AutoModel", config={}), "no model class"),
    "no configuration": (built_by("transformers:LlamaForCausalLM"), "no configuration"),
    "a wrong configuration": (
        built_by("transformers:LlamaForCausalLM", config={"num_hidden_layers": "many"}),
        "does not build",
    ),
    "arguments that it has not": (
        built_by("secateur.models.resnet_cifar:resnet8", arguments={"depth": 8}),
        "does not build",
    ),
    "a wide network": (
        built_by("secateur.models.resnet_cifar:resnet8", arguments={"width": 4096}),
        "far larger than the artifact",
    ),
    "an endless network": (
        built_by(
            "transformers:LlamaForCausalLM",
            config={"num_hidden_layers": 10**9, "hidden_size": 8, "intermediate_size": 8}
            | {"num_attention_heads": 1, "num_key_value_heads": 1, "vocab_size": 8},
        ),
        "far larger than the artifact",
    ),
    "other weights": (lambda c: c.update(weights="0" * 64), "another file"),
    "weights without digest": (lambda c: c.update(weights=None), "weights"),
    "masks that are not there": (lambda c: c.update(masks="0" * 64), "no such file"),
    "a later version": (lambda c: c.update(schema=2), "newer than the 1.*update secateur"),
    "no version": (lambda c: c.update(schema="1"), "not a version"),
    "another kind": (lambda c: c.update(kind="pickle"), "does not describe itself"),
    "a field that is none": (lambda c: c.update(code="import os"), "no option 'code'"),
    "no edits": (lambda c: c.pop("edits"), "edits"),
    "edits of words": (lambda c: c.update(edits=["rm"]), "damaged"),
    "layers by path": (edit(layers=["../.."]), "layer '../..'"),
    "a layer that is none": (edit(layers=["conv1"]), "layer 'conv1'"),
    "a layer too many": (edit(layers=["layer1.7"]), "layer 'layer1.7'"),
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_with_a_right_digest(folder: Path, name: str) -> None:
    change, words = PLANS[name]
    rewrite(folder, change)
    started = time.monotonic()
    refused(folder, words)
    assert time.monotonic() - started < 20
    assert not Path("hacked").exists()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"kind": NaN}',
        b'{"kind": -Infinity}',
        b'{"kind": 1e999}',
        b'{"kind": "secateur artifact", "kind": "x"}',
        b'{"size": ' + b"9" * 10_000 + b"}",
        b"\xff\xfe{}",
        b'"\\ud800"',
    ],
    ids=range(12),
)
def test_plans_that_are_none(folder: Path, text: bytes) -> None:
    (folder / "pruning.json").write_bytes(text)
    refused(folder)


def test_a_huge_plan_is_not_read(folder: Path) -> None:
    with (folder / "pruning.json").open("r+b") as file:
        file.truncate(1 << 40)  # takes no space on the disk
    with pytest.raises(StorageError, match="longer than"):
        sc.load(folder)


def test_a_header_of_very_many_entries(folder: Path) -> None:
    rows = {f"{n:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(40_000)}
    content = _sealed({"__metadata__": {"secateur.digest": "0" * 64, "secateur": "{}"}} | rows)
    (folder / "model.safetensors").write_bytes(content)
    refused(folder, "another file")
    own = json.loads(content[8:])["__metadata__"]["secateur.digest"]
    rewrite(folder, lambda c: c.update(weights=own))
    refused(folder, "does not describe itself")


class TestLinksAndDevices:
    def test_a_device_and_a_pipe_are_not_read(self, folder: Path) -> None:
        for name in ("model.safetensors", "pruning.json"):
            whole = (folder / name).read_bytes()
            (folder / name).unlink()
            (folder / name).symlink_to("/dev/zero")
            with pytest.raises(StorageError, match="no ordinary file"):
                sc.load(folder)
            (folder / name).unlink()
            os.mkfifo(folder / name)
            with pytest.raises(StorageError, match="no ordinary file"):
                sc.load(folder)
            (folder / name).unlink()
            (folder / name).write_bytes(whole)

    def test_a_link_is_read_but_never_written_through(self, folder: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        shutil.move(folder / "model.safetensors", elsewhere)
        (folder / "model.safetensors").symlink_to(elsewhere)
        model, before = sc.load(folder), elsewhere.read_bytes()
        with torch.no_grad():
            next(model.parameters()).add_(1)
        sc.save(model, folder, overwrite=True)
        assert elsewhere.read_bytes() == before
        assert not (folder / "model.safetensors").is_symlink()

    def test_a_folder_inside_is_never_removed(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis").touch()
        (folder / "extra").symlink_to(tmp_path / "mine")
        rewrite(folder, lambda c: c["files"].extend(["extra", "../mine", "/etc/passwd"]))
        with pytest.raises(StorageError, match="not empty"):
            sc.save(resnet()[0], folder, overwrite=True)
        (folder / "extra").unlink()
        sc.save(resnet()[0], folder, overwrite=True)
        assert (tmp_path / "mine" / "thesis").exists()


def test_an_example_that_would_fill_the_memory(tmp_path: Path) -> None:
    model, x = Baked(), torch.randn(4, 3)
    folder = sc.save(sc.shrink(model, x, keep={"inner#2": [0, 2]}), tmp_path / "a")
    for hostile in (
        {"tensor": [[1 << 40, 3], "float32"]},
        {"tensor": [[-1], "float32"]},
        {"tensor": [[2], "load"]},
        {"object": "os.system"},
        {"tuple": {"tensor": [2]}},
        7,
        None,
    ):
        rewrite(folder, lambda c, e=hostile: c["edits"][0]["retrace"].update(example=e))
        refused(folder, "example", model=Baked())
    rewrite(folder, lambda c: c["edits"][0]["retrace"].update(example={"tensor": [[4, 3], "int8"]}))
    refused(folder, model=Baked())


def test_a_stock_network_that_is_another(folder: Path) -> None:
    refused(folder, "has no|should have", model=mlp())
    refused(folder, "has no|should have", model=resnet()[0].__class__(8, width=8))


def test_tensors_beyond_the_memory_allowed(folder: Path) -> None:
    refused(folder, "more than the|allowed", limit=10_000)


def test_nothing_was_imported_or_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the artifact's own folder is not importable by naming it."""
    (folder / "evil.py").write_text("raise SystemExit('code of the artifact ran')")
    monkeypatch.chdir(folder)
    rewrite(folder, built_by("evil:net"))
    refused(folder, "not run unasked")
    assert "evil" not in sys.modules
