"""Batches: every image once, randomness from (seed, epoch, step) alone, crops as by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import DataError
from secateur.data import Augment, Batches, ImageData
from secateur.data.stream import cut


def numbered(n: int, size: int = 8) -> ImageData:
    """Images that carry their number in every pixel, which is their label too."""
    labels = torch.arange(n)
    images = labels.to(torch.uint8).view(n, 1, 1, 1).expand(n, 2, size, size).contiguous()
    return ImageData(images, labels, max(n, 1), (0.0, 0.5), (1.0, 0.25))


def noise(n: int) -> ImageData:
    images = torch.randint(256, (n, 3, 6, 5), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % 3
    return ImageData(images.to(torch.uint8), labels, 3, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))


def epoch(batches: Batches, number: int, start: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(batches.epoch(number, start))


def same(one, two) -> bool:
    pairs = zip(one, two, strict=True)
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)


@settings(deadline=None)
@given(
    n=st.integers(1, 40),
    batch=st.integers(1, 45),
    seed=st.integers(0, 2**40),
    number=st.integers(0, 300),
)
def test_every_image_comes_exactly_once_with_its_own_label(n, batch, seed, number):
    got = epoch(Batches(numbered(n), batch, seed), number)
    assert [len(y) for _, y in got[:-1]] == [batch] * (len(got) - 1)
    assert sorted(torch.cat([y for _, y in got]).tolist()) == list(range(n))
    for x, y in got:
        torch.testing.assert_close(x[:, 0, 0, 0] * 255, y.float())


@settings(deadline=None)
@given(batch=st.integers(1, 9), start=st.integers(0, 10), number=st.integers(0, 50))
def test_an_epoch_begun_at_any_step_is_the_tail_of_the_whole_one(batch, start, number):
    batches = Batches(noise(20), batch, 3, Augment())
    whole = epoch(batches, number)
    start = min(start, len(whole))
    assert same(epoch(Batches(noise(20), batch, 3, Augment()), number, start), whole[start:])


def test_equal_seeds_give_equal_bits_and_epochs_differ():
    one, two = (Batches(noise(20), 4, 7, Augment(crop_padding=2)) for _ in range(2))
    epoch(two, 5)
    assert same(epoch(one, 1), epoch(two, 1))
    assert not same(epoch(one, 1), epoch(one, 2))
    assert not same(epoch(one, 1), epoch(Batches(noise(20), 4, 8, Augment(crop_padding=2)), 1))


def test_order_and_augmentation_are_each_drawn_anew_in_every_epoch():
    ordered = Batches(noise(20), 20, 7)
    assert not torch.equal(epoch(ordered, 1)[0][1], epoch(ordered, 2)[0][1])
    for augment in (Augment(2, flip=False), Augment(0)):
        augmented = Batches(noise(20), 20, 7, augment, shuffle=False)
        assert not torch.equal(epoch(augmented, 1)[0][0], epoch(augmented, 2)[0][0])


def test_the_global_generator_is_never_touched():
    before = torch.get_rng_state()
    epoch(Batches(noise(20), 4, 7, Augment()), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_augmentation_does_not_change_the_order():
    plain, augmented = Batches(noise(20), 4, 7), Batches(noise(20), 4, 7, Augment())
    for (_, a), (_, b) in zip(plain.epoch(0), augmented.epoch(0), strict=True):
        assert torch.equal(a, b)


def test_the_last_batch_is_smaller_or_left_out():
    whole, cut_off = Batches(numbered(10), 4, 0), Batches(numbered(10), 4, 0, drop_last=True)
    assert [len(y) for _, y in whole.epoch(0)] == [4, 4, 2]
    assert [len(y) for _, y in cut_off.epoch(0)] == [4, 4]
    assert (whole.steps_per_epoch, len(whole), len(cut_off)) == (3, 3, 2)


def test_without_shuffling_images_come_in_order_and_normalised():
    data = noise(7)
    batches = Batches(data, 3, shuffle=False)
    got = torch.cat([x for x, _ in batches])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (data.mean, data.std))
    torch.testing.assert_close(got, (data.images / 255 - mean) / std)
    assert got.dtype == torch.float32
    assert torch.equal(torch.cat([y for _, y in batches]), data.labels)
    assert same(epoch(batches, 0), epoch(batches, 3))


def test_a_crop_by_hand():
    image = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8).view(1, 1, 2, 2).repeat(4, 1, 1, 1)
    down, right = torch.tensor([1, 0, 2, 1]), torch.tensor([1, 0, 1, 0])
    got = cut(image, 1, down, right, torch.tensor([0, 0, 0, 1]))[:, 0]
    assert got[0].tolist() == [[1, 2], [3, 4]]  # in place
    assert got[1].tolist() == [[0, 0], [0, 1]]  # the corner of the border
    assert got[2].tolist() == [[3, 4], [0, 0]]  # one row down
    assert got[3].tolist() == [[1, 0], [3, 0]]  # [[0, 1], [0, 3]] mirrored


@settings(deadline=None)
@given(pad=st.integers(0, 3), seed=st.integers(0, 1000))
def test_cutting_a_batch_equals_cutting_image_by_image(pad, seed):
    rng = torch.Generator().manual_seed(seed)
    images = noise(9).images
    down, right = torch.randint(2 * pad + 1, (2, 9), generator=rng)
    mirror = torch.randint(2, (9,), generator=rng)
    got = cut(images, pad, down, right, mirror)
    for i in range(9):
        border = torch.zeros(3, 6 + 2 * pad, 5 + 2 * pad, dtype=torch.uint8)
        border[:, pad : pad + 6, pad : pad + 5] = images[i]
        one = border[:, down[i] : down[i] + 6, right[i] : right[i] + 5]
        assert torch.equal(got[i], one.flip(2) if mirror[i] else one)


def test_all_offsets_and_both_sides_occur_about_equally_often():
    data = ImageData(torch.ones(9000, 1, 3, 3, dtype=torch.uint8), torch.zeros(9000).long(), 1,
                     (0.0,), (1 / 255,))  # fmt: skip
    x = torch.cat([x for x, _ in Batches(data, 500, 0, Augment(1, flip=False)).epoch(0)])
    patterns, counts = x.flatten(1).unique(dim=0, return_counts=True)
    assert len(patterns) == 9
    assert counts.min() > 850
    assert counts.max() < 1150
    data = ImageData(torch.tensor([1, 0], dtype=torch.uint8).view(1, 1, 1, 2).repeat(9000, 1, 1, 1),
                     torch.zeros(9000).long(), 1, (0.0,), (1 / 255,))  # fmt: skip
    x = torch.cat([x for x, _ in Batches(data, 500, 0, Augment(0)).epoch(0)])
    assert x[:, 0, 0, 0].mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Batches(noise(5), 0), "batch_size=0 makes no batch"),
        (lambda: Batches(noise(5), 6, drop_last=True), "choose 1 to 5"),
        (lambda: Batches(noise(5), 2).epoch(0, 4), "no batch 4"),
        (lambda: Batches(noise(5), 2).epoch(-1), "epoch -1"),
        (lambda: Augment(crop_padding=-1), "crop_padding=-1"),
    ],
)
def test_impossible_requests_are_refused_at_once(make, words):
    with pytest.raises(DataError, match=words):
        make()
