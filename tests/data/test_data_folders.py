"""Folders of pictures and of parquet files, columns by type, the cache, and what can go wrong."""

from __future__ import annotations

import io
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from secateur.core.errors import DataError, PlanError, SecateurError, StorageError
from secateur.data import load
from secateur.data.cache import digest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path))


def picture(value: int, size: tuple[int, int] = (4, 3), mode: str = "RGB") -> Image.Image:
    """A picture (width, height) whose pixels are value, value + 1, …"""
    width, height = size
    channels = {"RGB": 3, "RGBA": 4}.get(mode, 1)
    pixels = (value + np.arange(width * height * channels)).astype(np.uint8)
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Image.fromarray(pixels.reshape(shape), mode=mode)


def png(image: Image.Image) -> dict[str, object]:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write_parquet(folder: Path, split: str, columns: dict, features: dict | None = None) -> None:
    folder.mkdir(exist_ok=True)
    kinds = features or {
        "img": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
    }
    made = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    made.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def cells(*images: Image.Image) -> list[dict[str, object]]:
    return [png(image) for image in images]


@pytest.fixture
def parquet(tmp_path) -> Path:
    folder = tmp_path / "pets"
    write_parquet(folder, "train", {"img": cells(picture(0), picture(9), picture(5)),
                                    "label": [0, 1, 1]})  # fmt: skip
    write_parquet(folder, "test", {"img": cells(picture(7)), "label": [1]})
    return folder


def write_pictures(folder: Path, count: int = 5, mode: str = "RGB") -> None:
    for c, name in enumerate(["cat", "dog"]):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            picture(10 * c + i, mode=mode).save(folder / name / f"{i}.png")


def test_parquet_folders_are_read_pixel_for_pixel(parquet):
    data = load(parquet)
    assert (len(data.train), len(data.test), data.classes) == (3, 1, ("cat", "dog"))
    assert data.train.shape == (3, 3, 4)
    want = torch.from_numpy(np.array(picture(9))).permute(2, 0, 1)
    assert torch.equal(data.train.images[1], want)
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.test.split == "test"


def test_names_below_the_data_root_and_paths_mean_the_same(parquet, tmp_path):
    one, two = load("pets"), load("pets", root=tmp_path)
    assert torch.equal(one.train.images, load(str(parquet)).train.images)
    assert torch.equal(one.train.images, two.train.images)
    assert one.name == "pets"


def test_image_folders_with_splits(tmp_path):
    write_pictures(tmp_path / "photos" / "train")
    write_pictures(tmp_path / "photos" / "test", count=2)
    data = load(tmp_path / "photos")
    assert (len(data.train), len(data.test), data.classes) == (10, 4, ("cat", "dog"))
    want = torch.from_numpy(np.array(picture(13))).permute(2, 0, 1)
    dogs = data.train.images[data.train.labels == 1]
    assert any(torch.equal(image, want) for image in dogs)


def test_an_image_folder_without_splits_gives_a_fifth_to_the_test(tmp_path):
    write_pictures(tmp_path / "photos", mode="L")
    data = load(tmp_path / "photos")
    assert (len(data.train), len(data.test), data.in_channels) == (8, 2, 1)
    assert data.test.labels.tolist() == [0, 1]
    assert data.test.split == "test"
    assert "held out" in data.about


def test_grey_and_transparent_pictures_among_coloured_ones(tmp_path):
    folder = tmp_path / "mixed"
    grey, clear = picture(3, mode="L"), picture(0, mode="RGBA")
    write_parquet(folder, "train", {"img": cells(grey, picture(0), clear), "label": [0, 1, 0]})
    write_parquet(folder, "test", {"img": cells(grey), "label": [0]})
    data = load(folder)
    assert data.train.shape == data.test.shape == (3, 3, 4)
    for channel in data.train.images[0]:
        assert torch.equal(channel, torch.from_numpy(np.array(grey)))
    assert torch.equal(data.train.images[0], data.test.images[0])


def test_photographs_are_turned_upright(tmp_path):
    image = picture(0, size=(4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / "turned" / name).mkdir(parents=True)
        for i in range(5):
            image.save(tmp_path / "turned" / name / f"{i}.png", exif=exif)
    assert load(tmp_path / "turned").train.shape == (3, 4, 3)


def test_validation_data_stand_in_for_missing_test_data(tmp_path):
    write_parquet(tmp_path / "v", "train", {"img": cells(picture(0)), "label": [0]})
    write_parquet(tmp_path / "v", "validation", {"img": cells(picture(1)), "label": [1]})
    data = load("v")
    assert data.test.labels.tolist() == [1]
    assert data.test.split == "test"
    assert "validation" in data.about


def test_whole_numbers_are_labels_where_no_class_column_is(tmp_path):
    kinds = {"photo": datasets.Image(), "y": datasets.Value("int32")}
    write_parquet(tmp_path / "n", "train", {"photo": cells(picture(0)), "y": [2]}, kinds)
    write_parquet(tmp_path / "n", "test", {"photo": cells(picture(1)), "y": [4]}, kinds)
    assert (load("n").num_classes, load("n").classes) == (5, ())


def test_bytes_without_a_declared_type_are_pictures(tmp_path):
    cell = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    kinds = {"img": cell, "label": datasets.Value("int64")}
    write_parquet(tmp_path / "b", "train", {"img": cells(picture(0)), "label": [0]}, kinds)
    write_parquet(tmp_path / "b", "test", {"img": cells(picture(1)), "label": [1]}, kinds)
    assert load("b").train.shape == (3, 3, 4)


def test_the_second_load_reads_the_decoded_copy(parquet, monkeypatch):
    first = load("pets")
    monkeypatch.setattr(datasets, "load_dataset", None)
    second = load("pets")
    assert torch.equal(first.train.images, second.train.images)
    assert (second.classes, second.train.mean) == (first.classes, first.train.mean)


def test_a_changed_file_or_size_is_decoded_anew(parquet):
    load("pets")
    assert load("pets", size=8).train.shape == (3, 8, 8)
    write_parquet(parquet, "test", {"img": cells(picture(1), picture(2)), "label": [0, 1]})
    assert len(load("pets").test) == 2
    file = parquet / "test-00000-of-00001.parquet"
    os.utime(file, ns=(1, 1))
    before = len(list((parquet.parent / "cache").iterdir()))
    load("pets")
    assert len(list((parquet.parent / "cache").iterdir())) == before + 1


def test_the_key_knows_names_sizes_and_times(tmp_path):
    keys = []
    for name, text, time in (("a", "1", 1), ("b", "1", 1), ("a", "12", 1), ("a", "1", 2)):
        file = tmp_path / name
        file.write_text(text)
        os.utime(file, ns=(time, time))
        keys.append(digest([file], tmp_path))
        file.unlink()
    assert len(set(keys)) == 4
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "a").write_text("1")
    os.utime(tmp_path / "moved" / "a", ns=(2, 2))
    assert digest([tmp_path / "moved" / "a"], tmp_path / "moved") == keys[3]


def test_a_damaged_copy_is_named(parquet, tmp_path):
    load("pets")
    (copy,) = (tmp_path / "cache").iterdir()
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"\.safetensors' is damaged.*delete"):
        load("pets")


def test_a_cache_that_cannot_be_written_is_named(parquet, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(StorageError, match="SECATEUR_CACHE"):
        load("pets")


def test_pictures_of_different_size_need_one(tmp_path):
    both = cells(picture(0), picture(0, size=(5, 3)))
    write_parquet(tmp_path / "u", "train", {"img": both, "label": [0, 1]})
    write_parquet(tmp_path / "u", "test", {"img": both, "label": [0, 1]})
    with pytest.raises(DataError, match=r"image 1 of .*3x5 pixels, the first one 3x4.*size="):
        load("u")
    assert load("u", size=6).train.images.shape == (2, 3, 6, 6)


def broken(folder: Path, columns: dict, features: dict | None = None) -> None:
    write_parquet(folder, "train", columns, features)
    write_parquet(folder, "test", columns, features)


TWO = {"img": datasets.Image(), "other": datasets.Image(), "label": datasets.Value("int64")}
TEXT = {"img": datasets.Image(), "label": datasets.Value("string")}
BARE = {"label": datasets.Value("int64")}
SIXTEEN = Image.fromarray(np.zeros((3, 4), dtype=np.uint16))


@pytest.mark.parametrize(
    ("columns", "features", "options", "error", "words"),
    [
        ({"img": [png(picture(0))], "other": [png(picture(0))], "label": [0]}, TWO, {},
         DataError, r"2 columns that could be the image \(img, other\).*image="),
        ({"img": [png(picture(0))], "label": ["cat"]}, TEXT, {},
         DataError, r"no label column.*label \(string\)"),
        ({"img": [png(picture(0))], "label": ["cat"]}, TEXT, {"label": "label"},
         DataError, "holds string, not classes"),
        ({"label": [0]}, BARE, {}, DataError, "no image column"),
        ({"img": [png(picture(0))], "label": [0]}, None, {"label": "lable"},
         PlanError, "did you mean 'label'"),
        ({"img": [{"bytes": b"no picture", "path": None}], "label": [0]}, None, {},
         DataError, "image 0 of .* cannot be decoded"),
        ({"img": [None], "label": [0]}, None, {}, DataError, "image 0 of .* is missing"),
        ({"img": [png(picture(0))], "label": [None]}, None, {}, DataError, "has no label"),
        ({"img": [png(picture(0))], "label": [-1]}, TWO | {"label": datasets.Value("int64")},
         {"image": "img"}, DataError, "from -1"),
        ({"img": [png(SIXTEEN)], "label": [0]}, None, {}, DataError, "not 8 bits"),
        ({"img": [png(picture(0))], "label": [0]}, None, {"size": 0}, DataError, "size=0"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(
    tmp_path, columns, features, options, error, words
):
    if features and "other" in features and "other" not in columns:
        columns = columns | {"other": columns["img"]}
    broken(tmp_path / "bad", columns, features)
    with pytest.raises(error, match=words) as caught:
        load("bad", **options)
    assert "\n" not in str(caught.value)


def test_a_picture_too_large_to_be_one_is_refused(parquet, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(DataError, match=r"cannot be decoded .*exceeds limit"):
        load("pets")


def test_files_whose_columns_show_only_in_their_rows(tmp_path):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "train.csv").write_text("question,answer\nwhy?,3\n")
    with pytest.raises(DataError, match=r"no image column.*question \(string\)"):
        load("lines")


def test_a_truncated_parquet_file_is_one_line(parquet):
    file = parquet / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="cannot be read") as caught:
        load("pets")
    assert "\n" not in str(caught.value)


def test_folders_without_training_data_or_files(tmp_path):
    write_parquet(tmp_path / "t", "test", {"img": cells(picture(0)), "label": [0]})
    with pytest.raises(DataError, match="no split 'train'; it has: test"):
        load("t")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no files"):
        load("empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.xyz").write_text("hello")
    with pytest.raises(SecateurError, match="cannot be read") as caught:
        load("text")
    assert "\n" not in str(caught.value)
