"""What blocks hand each other beside their output, and blocks that no sample runs through."""

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.engine.blockwise.activations import InMemory, OnDisk
from secateur.engine.blockwise.blocks import find_blocks
from secateur.engine.blockwise.conductor import Conductor


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, shared=None):
        y = self.one(x)
        if shared is not None:
            key = "first" if "first" not in shared else "second"
            y = y + sum(values.mean() for pair in shared.values() for values in pair)
            shared.setdefault(key, (y, y * 2))
        return x + self.two(y.tanh())


class Sharing(nn.Module):
    """Layers that write to a mapping what later ones read; an encoder of images that may be left out."""

    def __init__(self):
        super().__init__()
        self.eyes = nn.ModuleList([Part(), Part()])
        self.layers = nn.ModuleList([Part(), Part(), Part()])

    def forward(self, x, image=None):
        shared = {}
        for part in self.eyes if image is not None else ():
            image = part(image)
        for part in self.layers:
            x = part(x, shared=shared)
        return x if image is None else x + image.mean()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Sharing().eval()


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_what_a_finished_block_left_in_a_mapping_is_there_for_the_next(net, where, tmp_path):
    batches = [torch.randn(3, 4) for _ in range(2)]
    room = lambda name: OnDisk(tmp_path / name) if where == "disk" else InMemory()  # noqa: E731
    wanted = [net(batch) for batch in batches]
    with Conductor(net, find_blocks(net), batches, room).conducting() as conductor:
        for name in ("layers.0", "layers.1"):
            block = conductor.next()
            assert block.name == name
            conductor.finish(block)
        got = [output for _, output in conductor.outputs_of(conductor.next())]
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


class Stateful(nn.Module):
    """As RWKV, whose blocks write their states into the tensor that the block before gave."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, state):
        y = self.two(self.one(x) + state)
        state += 1
        return y, state


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Stateful(), Stateful()])

    def forward(self, x):
        state = torch.zeros(1)
        for layer in self.layers:
            x, state = layer(x, state)
        return x


def test_a_block_that_writes_into_what_it_is_given_is_given_the_same_again():
    torch.manual_seed(0)
    net, batch = Recurrent(), torch.randn(3, 4)
    with Conductor(net, find_blocks(net), [batch], lambda _: InMemory()).conducting() as conductor:
        conductor.finish(conductor.next())
        second = conductor.next()
        conductor.run(second)
        ((_, (again, _)),) = conductor.outputs_of(second)
    torch.testing.assert_close(again, net(batch))


def test_blocks_that_share_weights_are_refused_in_one_line(tmp_path):
    """Zamba's attention layers are one layer, run between others."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ZambaConfig(
        vocab_size=40, hidden_size=16, attention_hidden_size=32, attention_head_dim=8,
        intermediate_size=16, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
        n_mamba_heads=2, mamba_dt_rank=4, layers_block_type=["linear_attention", "hybrid"] * 2,
    )  # fmt: skip
    transformers.ZambaForCausalLM(config).save_pretrained(tmp_path / "zamba")
    with pytest.raises(PlanError, match=r"is the same tensor as 'model\.layers\.1.*share weights"):
        sc.prune_folder(
            tmp_path / "zamba", "magnitude-layerwise", tmp_path / "out", sparsity=0.5,
            walk="blocks", compare=False,
        )  # fmt: skip


@pytest.mark.parametrize("refit", [0, 1])
def test_blocks_that_no_sample_runs_through_stay_and_are_named(net, refit, caplog):
    batches = [torch.randn(5, 4) for _ in range(2)]
    result = sc.prune(net, "wanda", data=batches, sparsity=0.5, refit=refit)
    assert all(bool(mask.all()) == n.startswith("eyes") for n, mask in result.masks.items())
    assert sum(n.startswith("eyes") for n in result.masks) == 4
    assert "left dense" in caplog.text
    assert "eyes.0.one.weight" in caplog.text
