"""Places that cannot be written, folders that hold something, things that are no artifact."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from saving.nets import mlp, resnet, same_bits
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError, StorageError


class TestWhereItGoes:
    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("dear diary")
        for overwrite in (False, True):
            with pytest.raises(StorageError, match=r"is not empty; name a new one"):
                sc.save(mlp(), tmp_path, overwrite=overwrite)
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]

    def test_an_older_artifact_goes_only_when_asked(self, tmp_path: Path) -> None:
        old, new = mlp(), nn.Sequential(nn.Linear(2, 2))
        folder = sc.save(old, tmp_path / "a")
        with pytest.raises(StorageError, match="overwrite=True"):
            sc.save(new, folder)
        assert same_bits(sc.load(folder, model=mlp()), old)
        sc.save(new, folder, overwrite=True)
        assert same_bits(sc.load(folder, model=nn.Sequential(nn.Linear(2, 2))), new)
        assert [p.name for p in tmp_path.iterdir()] == ["a"]

    def test_an_artifact_with_something_else_in_it_is_left_alone(self, tmp_path: Path) -> None:
        folder = sc.save(mlp(), tmp_path / "a")
        (folder / "notes.txt").touch()
        with pytest.raises(StorageError, match="an older artifact and nothing else"):
            sc.save(mlp(), folder, overwrite=True)
        assert (folder / "notes.txt").exists()

    def test_an_empty_folder_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        sc.load(sc.save(resnet()[0], tmp_path / "a"))

    def test_a_file_and_a_missing_parent(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="is a file; name a folder"):
            sc.save(mlp(), tmp_path / "file")
        with pytest.raises(StorageError, match="create the folder first"):
            sc.save(mlp(), tmp_path / "no" / "where")

    def test_a_link_to_a_folder_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        sc.save(mlp(), tmp_path / "link")
        assert (tmp_path / "real" / "pruning.json").exists()
        assert (tmp_path / "link").is_symlink()

    @pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
    def test_a_folder_without_permission(self, tmp_path: Path) -> None:
        tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(StorageError, match="permission is denied; choose another folder"):
            sc.save(mlp(), tmp_path / "a")
        tmp_path.chmod(stat.S_IRWXU)

    @pytest.mark.parametrize(
        ("number", "words"),
        [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the file system is read-only")],
    )
    @pytest.mark.parametrize("place", ["fsync", "replace", "mkdir"])
    def test_a_disk_that_is_full_or_read_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, place: str
    ) -> None:
        folder, old = tmp_path / "a", mlp()
        sc.save(old, folder)

        def fails(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, place, fails)
            with pytest.raises(StorageError, match=words):
                sc.save(nn.Sequential(nn.Linear(2, 2)), folder, overwrite=True)
        assert [p.name for p in tmp_path.iterdir()] == ["a"]
        assert same_bits(sc.load(folder, model=mlp()), old)


def test_the_older_one_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old, rename = sc.save(mlp(), tmp_path / "a"), mlp(), os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: rename(a, b) if ".old" in f"{a}{b}" else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sc.save(nn.Sequential(nn.Linear(2, 2)), folder, overwrite=True)
    assert same_bits(sc.load(folder, model=mlp()), old)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_real_full_disk(tmp_path: Path) -> None:
    """A limit on file sizes, as a quota sets it, in a process of its own."""
    import subprocess
    import sys

    code = """
import resource, signal, sys, torch, secateur as sc
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    sc.save(torch.nn.Linear(100, 100), sys.argv[1])
except sc.SecateurError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "would be larger than this system allows" in done.stdout
    assert list(tmp_path.iterdir()) == []


class TestWhatIsNoArtifact:
    def test_folders_without_weights_or_plan(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="there is no folder"):
            sc.load(tmp_path / "none")
        with pytest.raises(StorageError, match=r"holds no pruning\.json; it is no artifact"):
            sc.load(tmp_path)
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(StorageError, match="load it with from_pretrained"):
            sc.load(tmp_path)

    def test_weights_that_are_gone(self, tmp_path: Path) -> None:
        folder = sc.save(mlp(), tmp_path / "a")
        (folder / "model.safetensors").unlink()
        with pytest.raises(StorageError, match=r"model\.safetensors.*no such file"):
            sc.load(folder, model=mlp())


def test_what_cannot_be_stored(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="only dense tensors with data"):
        sc.save(nn.Linear(2, 2, device="meta"), tmp_path / "a")
    with pytest.raises(PlanError, match="is no folder; give one, or the tokenizer itself"):
        sc.save(mlp(), tmp_path / "a", tokenizer="google/nothing")
    with pytest.raises(PlanError, match="holds no tokenizer"):
        sc.save(mlp(), tmp_path / "a", tokenizer=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_masks_that_were_trained_away_are_refused(tmp_path: Path) -> None:
    """A weight under a mask that is not zero would be lost."""
    result = sc.prune(mlp(), "magnitude", sparsity=0.5)
    name = next(iter(result.masks))
    with torch.no_grad():
        result.model.get_parameter(name).fill_(1)
    with pytest.raises(StorageError, match=r"not zero; apply the mask first"):
        sc.save(result, tmp_path / "a")
