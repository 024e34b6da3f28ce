"""Names, folders and hub names; where data are looked for."""

from __future__ import annotations

import datasets
import pytest
import torch
from PIL import Image

from secateur.core.errors import DataError, SecateurError, StorageError
from secateur.data import cache_dir, data_root, load


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No data root, an own cache, an empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("SECATEUR_DATA", raising=False)
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the hub that counts what is asked of it."""
    asked = []
    kinds = datasets.Features({
        "img": datasets.Image(),
        "fine_label": datasets.ClassLabel(num_classes=3),
        "coarse_label": datasets.ClassLabel(num_classes=2),
    })  # fmt: skip
    rows = {"img": [Image.new("RGB", (2, 2), (i, 0, 0)) for i in range(3)],
            "fine_label": [0, 1, 2], "coarse_label": [0, 0, 1]}  # fmt: skip
    made = datasets.Dataset.from_dict(rows, features=kinds)
    datasets.DatasetDict(train=made, test=made).save_to_disk(tmp_path / "hub")

    def answer(name, config=None, **options):
        asked.append((name, config))
        if name != "uoft-cs/cifar100":
            raise datasets.exceptions.DatasetNotFoundError(f"'{name}' doesn't exist\non the Hub")
        return datasets.load_from_disk(tmp_path / "hub")

    monkeypatch.setattr(datasets, "load_dataset", answer)
    return asked


def test_the_data_root_is_the_variable_then_the_shared_folder(nowhere, monkeypatch):
    assert data_root() is None
    (nowhere / "shared" / "data").mkdir(parents=True)
    assert data_root() == (nowhere / "shared" / "data").resolve()
    monkeypatch.setenv("SECATEUR_DATA", str(nowhere))
    assert data_root() == nowhere
    monkeypatch.setenv("SECATEUR_DATA", str(nowhere / "gone"))
    with pytest.raises(StorageError, match=r"SECATEUR_DATA names .*gone"):
        data_root()


def test_the_cache_folder_follows_the_variables(nowhere, monkeypatch):
    assert cache_dir() == nowhere / "cache"
    monkeypatch.delenv("SECATEUR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(nowhere))
    assert cache_dir() == nowhere / "secateur" / "data"


def test_cifar_comes_from_the_hub_where_there_is_no_data_root(hub, nowhere):
    data = load("cifar100")
    assert hub == [("uoft-cs/cifar100", None)]
    assert data.train.labels.tolist() == [0, 1, 2]  # the fine labels
    assert data.train.mean == (0.5071, 0.4865, 0.4409)
    assert len(list((nowhere / "cache").iterdir())) == 1


def test_hub_names_go_to_the_hub_with_their_columns(hub):
    data = load("uoft-cs/cifar100", label="coarse_label", config="plain")
    assert data.train.labels.tolist() == [0, 0, 1]
    assert torch.equal(data.train.images[2, :, 0, 0], torch.tensor([2, 0, 0], dtype=torch.uint8))
    assert hub == [("uoft-cs/cifar100", "plain")]
    with pytest.raises(DataError, match=r"2 columns .*fine_label, coarse_label"):
        load("uoft-cs/cifar100")


def test_what_the_hub_does_not_have_is_one_line(hub):
    with pytest.raises(DataError, match="'some/thing' of the hub cannot be read") as caught:
        load("some/thing")
    assert "\n" not in str(caught.value)


def test_a_data_root_is_never_passed_over_for_the_hub(hub, nowhere):
    with pytest.raises(StorageError, match=r"'cifar100' is not there in .*'uoft-cs/cifar100'"):
        load("cifar100", root=nowhere)
    assert hub == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", "did you mean 'digits'.*owner/name"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("flower", "did you mean 'flowers'"),
        ("cifar10-jpeg", "not there in"),
        ("./flower", "did you mean 'flowers'"),
        ("/no/such/folder", "no data folder '/no/such/folder'; check the path"),
    ],
)
def test_unknown_names_and_missing_folders(nowhere, monkeypatch, name, words):
    (nowhere / "data" / "flowers").mkdir(parents=True)
    (nowhere / "here" / "flowers").mkdir()
    monkeypatch.setenv("SECATEUR_DATA", str(nowhere / "data"))
    with pytest.raises(SecateurError, match=words) as caught:
        load(name)
    assert "\n" not in str(caught.value)


def test_a_missing_root_is_named_with_the_nearest_folder(nowhere):
    (nowhere / "data").mkdir()
    with pytest.raises(StorageError, match=r"dta' is no folder; did you mean .*data'"):
        load("cifar10", root=nowhere / "dta")
    with pytest.raises(StorageError, match="SECATEUR_DATA is not set"):
        load("cifar10-jpeg")
