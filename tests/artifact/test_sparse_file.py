"""A sparse file loads bit for bit, is small, and replaces nothing of others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from secateur.artifact import is_sparse_file, load_sparse, read_sparse, save_sparse
from secateur.core.errors import PlanError, StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    as_bytes = [t.contiguous().reshape(-1).view(torch.uint8) for t in (first, second)]
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and torch.equal(as_bytes[0], as_bytes[1])
    )


def small_state() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(20, 30, generator=generator)
    mask = torch.rand(20, 30, generator=generator) < 0.1
    state = {
        "conv.weight": torch.where(mask, weight, 0.0),
        "conv.bias": torch.randn(20, generator=generator),
        "bn.num_batches_tracked": torch.tensor(7),
        "half": torch.randn(5, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 3),
    }
    return state, {"conv.weight": mask}


def test_round_trip_keeps_names_order_values_and_masks(path: Path) -> None:
    state, masks = small_state()
    save_sparse(path, state, masks)
    again = read_sparse(path)
    assert list(again.state) == list(state)
    assert all(same_bits(again.state[name], state[name]) for name in state)
    assert list(again.masks) == list(masks)
    assert torch.equal(again.masks["conv.weight"], masks["conv.weight"])
    assert all(same_bits(load_sparse(path)[name], state[name]) for name in state)


def test_the_file_is_ordinary_safetensors(path: Path) -> None:
    state, masks = small_state()
    save_sparse(path, state, masks)
    stored = load_file(path)
    assert set(stored) == (set(state) - {"conv.weight"}) | {
        "conv.weight::values",
        "conv.weight::mask",
    }
    assert (
        stored["conv.weight::values"].tolist()
        == state["conv.weight"][masks["conv.weight"]].tolist()
    )
    with safe_open(path, framework="pt") as file:
        assert file.metadata().keys() == {"secateur", "secateur.digest", "format"}


def test_every_tensor_begins_at_a_multiple_of_its_item_size(path: Path) -> None:
    state = {"a": torch.ones(3).bool(), "b": torch.ones(3).double(), "c": torch.ones(3).half()}
    save_sparse(path, state)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    for name, tensor in state.items():
        assert (start + header[name]["data_offsets"][0]) % tensor.element_size() == 0


def test_two_writes_give_the_same_bytes(path: Path) -> None:
    state, masks = small_state()
    save_sparse(path, state, masks)
    first = path.read_bytes()
    save_sparse(path, state, masks)
    assert path.read_bytes() == first


def test_the_loaded_tensors_do_not_hang_on_the_file(path: Path) -> None:
    state, _ = small_state()
    save_sparse(path, state)
    again = load_sparse(path)
    path.write_bytes(b"gone")
    assert same_bits(again["conv.weight"], state["conv.weight"])


def resnet18_state() -> dict[str, torch.Tensor]:
    """The shapes of a ResNet-18 for 224x224 images and 1,000 classes."""
    shapes = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (1000, 512), "fc.bias": (1000,)}
    widths = [64, 64, 128, 256, 512]
    norms = {"bn1": 64}
    for layer in range(1, 5):
        for block in range(2):
            base, out = f"layer{layer}.{block}", widths[layer]
            into = widths[layer - 1] if block == 0 else out
            shapes[f"{base}.conv1.weight"] = (out, into, 3, 3)
            shapes[f"{base}.conv2.weight"] = (out, out, 3, 3)
            norms |= {f"{base}.bn1": out, f"{base}.bn2": out}
            if block == 0 and layer > 1:
                shapes[f"{base}.downsample.0.weight"] = (out, into, 1, 1)
                norms[f"{base}.downsample.1"] = out
    for norm, width in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.{part}"] = (width,)
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_a_90_percent_sparse_resnet18_takes_under_a_fifth(path: Path, tmp_path: Path) -> None:
    state = resnet18_state()
    masks = {}
    for name in [name for name, tensor in state.items() if tensor.ndim > 1]:
        threshold = (
            state[name].abs().flatten().quantile(0.9) if state[name].numel() < 1e6 else 1.6449
        )
        masks[name] = state[name].abs() > threshold
        state[name] = torch.where(masks[name], state[name], 0.0)
    assert sum(t.numel() for n, t in state.items() if "running" not in n) == 11_689_512
    save_file(state, tmp_path / "dense.safetensors")
    save_sparse(path, state, masks)
    assert path.stat().st_size < 0.2 * (tmp_path / "dense.safetensors").stat().st_size
    again = load_sparse(path)
    assert all(same_bits(again[name], state[name]) for name in state)


def test_tied_weights_are_stored_once_and_tied_again(path: Path) -> None:
    weight = torch.randn(8, 4)
    save_sparse(path, {"embed.weight": weight, "head.weight": weight, "copy": weight.clone()})
    again = load_sparse(path)
    assert again["head.weight"] is again["embed.weight"]
    assert again["copy"] is not again["embed.weight"]
    assert len(load_file(path)) == 2


def test_a_mask_under_either_name_of_a_tied_weight_counts(path: Path) -> None:
    mask = torch.arange(32).reshape(8, 4) % 9 == 0
    weight = torch.randn(8, 4) * mask
    save_sparse(path, {"a": weight, "b": weight}, {"b": mask})
    assert torch.equal(read_sparse(path).masks["a"], mask)
    with pytest.raises(StorageError, match="one tensor with two masks"):
        save_sparse(path, {"a": weight, "b": weight}, {"b": mask, "a": ~mask})


def test_views_of_one_memory_are_separate_tensors(path: Path) -> None:
    base = torch.arange(9.0)
    state = {"base": base, "view": base.reshape(3, 3), "turned": base.reshape(3, 3).t()}
    save_sparse(path, state)
    again = load_sparse(path)
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_parameters_load_into_the_module(path: Path) -> None:
    torch.manual_seed(0)
    first = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    save_sparse(path, first.state_dict())
    second = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    second.load_state_dict(load_sparse(path))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(first(x), second(x))


def test_a_pruned_negative_zero_becomes_a_zero(path: Path) -> None:
    weight = torch.tensor([-0.0, -0.0, 1.0])
    mask = torch.tensor([True, False, True])
    save_sparse(path, {"w": weight}, {"w": mask})
    assert torch.signbit(load_sparse(path)["w"]).tolist() == [True, False, False]


def test_a_foreign_file_is_not_replaced_unless_asked(path: Path) -> None:
    state, masks = small_state()
    for foreign in (b"my thesis", b""):
        path.write_bytes(foreign)
        with pytest.raises(StorageError, match="would be overwritten"):
            save_sparse(path, state, masks)
        assert path.read_bytes() == foreign
    path.unlink()
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(StorageError, match="would be overwritten"):
        save_sparse(path, state, masks)
    save_sparse(path, state, masks, overwrite=True)
    save_sparse(path, {"other": torch.ones(1)})  # our own file: replaced without being asked
    assert list(load_sparse(path)) == ["other"]


def test_is_sparse_file(path: Path, tmp_path: Path) -> None:
    assert not is_sparse_file(path)
    assert not is_sparse_file(tmp_path)
    save_sparse(path, {"a": torch.ones(1)})
    assert is_sparse_file(path)


@pytest.mark.parametrize(
    ("state", "masks", "words"),
    [
        ({"a": torch.ones(2)}, {"b": torch.ones(2).bool()}, "unknown tensor with a mask 'b'"),
        ({"a": torch.ones(2)}, {"a": torch.ones(3).bool()}, "mask of 'a' has shape"),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}, "'a' cannot be stored.*boolean"),
        (
            {"a": torch.ones(2)},
            {"a": torch.zeros(2).bool()},
            "'a' cannot be stored.*apply the mask",
        ),
        ({"a": torch.ones(2, device="meta")}, {}, "'a' is a .* on meta"),
        ({"a": torch.ones(2).to_sparse()}, {}, "'a' is a torch.sparse_coo"),
        ({"a": torch.ones(2, dtype=torch.complex128)}, {}, "'a' is a .* of torch.complex128"),
        ({"a": "text"}, {}, "'a' is a str; only tensors"),
        ({"a::mask": torch.ones(2)}, {}, "'::' is reserved"),
        ({"__metadata__": torch.ones(2)}, {}, "cannot name a stored tensor"),
        ({3: torch.ones(2)}, {}, "cannot name a stored tensor"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(
    path: Path, state: dict, masks: dict, words: str
) -> None:
    with pytest.raises((StorageError, PlanError), match=words):
        save_sparse(path, state, masks)
    assert not path.exists()


def test_more_than_the_allowed_memory_is_refused(path: Path) -> None:
    save_sparse(path, {"w": torch.zeros(1000)}, {"w": torch.zeros(1000).bool()})
    assert torch.equal(load_sparse(path, limit=5000)["w"], torch.zeros(1000))
    with pytest.raises(StorageError, match="takes 5000 bytes, more than the 4999"):
        load_sparse(path, limit=4999)
