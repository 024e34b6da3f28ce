"""States in memory and in folders: bit-exact, checked, and never the last good one lost."""

from pathlib import Path

import pytest
import torch

from secateur.engine.store import FolderStore, MemoryStore, Saved, Store


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "run")


def test_states_come_back_bit_for_bit(store: Store) -> None:
    tensors = {"w": torch.tensor([0.1, -0.0, 3e38]), "n": torch.tensor(7), "b": torch.ones(3) > 0}
    store.put("x", Saved(tensors, {"at": 3}))
    back = store.get("x")
    assert back is not None
    assert back.meta == {"at": 3}
    assert all(torch.equal(back.tensors[k], v) for k, v in tensors.items())
    assert torch.signbit(back.tensors["w"]).tolist() == [False, True, False]


def test_a_state_does_not_follow_the_tensors_it_was_made_of(store: Store) -> None:
    weight = torch.zeros(3)
    store.put("x", Saved({"w": weight}, {}))
    weight += 1
    saved = store.get("x")
    assert saved is not None
    assert saved.tensors["w"].sum() == 0


def test_an_unknown_state_is_none(store: Store) -> None:
    assert store.get("nothing") is None
    assert store.latest() is None


def test_the_newest_checkpoint_is_found_and_only_two_are_kept(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    for number in range(5):
        store.checkpoint(Saved({"w": torch.tensor(number)}, {"at": number}))
    assert FolderStore(tmp_path).latest().meta == {"at": 4}
    assert len(list((tmp_path / "checkpoint").iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_is_passed_for_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = FolderStore(tmp_path)
    for number in range(2):
        store.checkpoint(Saved({"w": torch.full((100,), float(number))}, {"at": number}))
    newest = max((tmp_path / "checkpoint").iterdir())
    data = bytearray(newest.read_bytes())
    data[-50] ^= 1
    newest.write_bytes({"cut": data[:-10], "flip": data, "empty": b""}[damage])
    assert FolderStore(tmp_path).latest().meta == {"at": 0}
    assert "damaged" in caplog.text


def test_clear_leaves_states_and_removes_checkpoints(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("x", Saved({"w": torch.ones(1)}, {}))
    store.checkpoint(Saved({"w": torch.ones(1)}, {}))
    store.clear()
    assert store.latest() is None
    assert store.get("x") is not None
