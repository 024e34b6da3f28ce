"""Layer collapse on networks small enough to see the paths."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur.core.errors import PlanError
from secateur.measure.collapse import check, on_path


def keep_all(net):
    return {
        n: torch.ones_like(p, dtype=torch.bool) for n, p in net.named_parameters() if p.dim() > 1
    }


def cut(net, **kept):
    """All weights kept but in the layers named, which keep what they are given."""
    masks = keep_all(net)
    for name, mask in kept.items():
        masks[name.replace("__", ".") + ".weight"].copy_(mask)
    return masks


IMAGE = torch.randn(3, 2, 6, 6)


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.a(x))), 2)
        return self.head(F.relu(self.b(x)).mean((2, 3)))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 1)
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.b(F.relu(self.a(x)))
        return self.head(x.mean((2, 3)))


def test_nothing_is_wrong_with_dense_networks():
    for net in (Chain(), Residual()):
        health = check(net, IMAGE, keep_all(net))
        assert (health.empty, health.unreachable, health.severed) == ([], [], False)
        assert not health.collapsed
        assert all(bool(mask.all()) for mask in on_path(net, IMAGE, keep_all(net)).values())


def test_an_empty_layer_severs_a_chain():
    net = Chain()
    health = check(net, IMAGE, cut(net, b=torch.tensor(False)))
    assert health.empty == ["b"]
    assert health.unreachable == ["a", "head"]
    assert health.severed
    assert health.collapsed


def first(n, where):
    return (torch.arange(n) < n // 2) == where


def test_kept_weights_that_do_not_connect():
    """`a` feeds channels 0 and 1 only, `b` reads 2 and 3 only: no layer is empty, no path is left."""
    net = Chain()
    masks = cut(net, a=first(4, True)[:, None, None, None], b=first(4, False)[None, :, None, None])
    health = check(net, IMAGE, masks)
    assert health.empty == []
    assert health.unreachable == ["a", "b", "head"]
    assert health.severed


def test_one_connection_is_a_path():
    net = Chain()
    b = torch.zeros(4, 4, 3, 3)
    b[3, 1, 0, 2] = 1
    masks = cut(net, a=first(4, True)[:, None, None, None], b=b)
    assert not check(net, IMAGE, masks).collapsed
    alive = on_path(net, IMAGE, masks)
    assert alive["b.weight"].nonzero().tolist() == [[3, 1, 0, 2]]
    assert alive["a.weight"].flatten(1).all(1).tolist() == [False, True, False, False]
    assert alive["head.weight"].all(0).tolist() == [False, False, False, True]


def test_a_dead_branch_of_a_residual_network():
    net = Residual()
    masks = cut(net, a=first(4, True)[:, None, None, None], b=first(4, False)[None, :, None, None])
    health = check(net, IMAGE, masks)
    assert health.unreachable == ["a", "b"]
    assert not health.severed
    assert health.collapsed


def test_weights_that_only_see_padding_are_on_no_path():
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    corner = torch.zeros(1, 1, 3, 3)
    corner[..., 0, 0] = 1
    assert check(net, torch.zeros(1, 1, 1, 1), {"0.weight": corner > 0}).severed
    assert not check(net, torch.zeros(1, 1, 2, 2), {"0.weight": corner > 0}).severed


def test_biases_are_no_path():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2))
    masks = {
        "0.weight": torch.zeros(2, 2) > 0,
        "0.bias": torch.ones(2) > 0,
        "2.weight": torch.ones(2, 2) > 0,
    }
    health = check(net, torch.zeros(1, 2), masks)
    assert (health.empty, health.unreachable, health.severed) == (["0"], ["2"], True)


class Dense(nn.Module):
    """Concatenation: the head reads the input beside the layer's output."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(2, 3), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(torch.cat([self.a(x), x], 1))


def test_concatenation():
    net = Dense()
    reads_a = torch.tensor([True, True, True, False, False])
    assert not check(net, torch.zeros(1, 2), cut(net, head=reads_a)).collapsed
    health = check(net, torch.zeros(1, 2), cut(net, head=~reads_a))
    assert (health.unreachable, health.severed) == (["a"], False)


class Excited(nn.Module):
    """Squeeze and excitation; `written` spells the sigmoid out."""

    def __init__(self, written):
        super().__init__()
        self.written = written
        self.stem, self.gate, self.head = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        x = self.stem(x)
        s = self.gate(x)
        s = 1 / (1 + torch.exp(-s)) if self.written else torch.sigmoid(s)
        return self.head(x * s)


@pytest.mark.parametrize("written", [False, True])
def test_a_dead_gate_stays_open(written):
    net = Excited(written)
    health = check(net, torch.zeros(1, 2), cut(net, gate=torch.tensor(False)))
    assert (health.empty, health.unreachable, health.severed) == (["gate"], [], False)
    health = check(net, torch.zeros(1, 2), cut(net, stem=torch.tensor(False)))
    assert (health.unreachable, health.severed) == (["gate", "head"], True)


class GatedUnit(nn.Module):
    """silu(g(x)) * u(x): without biases a dead factor kills the other."""

    def __init__(self, bias):
        super().__init__()
        self.g, self.u = nn.Linear(2, 3, bias=bias), nn.Linear(2, 3, bias=bias)
        self.down = nn.Linear(3, 2)

    def forward(self, x):
        return self.down(F.silu(self.g(x)) * self.u(x))


@pytest.mark.parametrize("bias", [False, True])
def test_a_product_needs_both_factors_unless_a_bias_feeds_one(bias):
    net = GatedUnit(bias)
    health = check(net, torch.zeros(1, 2), cut(net, u=torch.tensor(False)))
    assert health.empty == ["u"]
    assert health.severed == (not bias)
    assert health.unreachable == ([] if bias else ["g", "down"])


class Attention(nn.Module):
    """One block of attention, by `nn.MultiheadAttention` or by the fused function."""

    def __init__(self, fused):
        super().__init__()
        self.fused = fused
        self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
        self.q, self.k, self.v = (nn.Linear(4, 4) for _ in "qkv")
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        if self.fused:
            x = F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), is_causal=True)
        else:
            x = self.mix(x, x, x, need_weights=False)[0]
        return self.head(x[:, -1])


def attention_masks(fused, q, k, v):
    net = Attention(fused)
    if fused:
        masks = {
            f"{n}.weight": torch.full((4, 4), kept)
            for n, kept in zip("qkv", (q, k, v), strict=True)
        }
    else:
        masks = {
            "mix.in_proj_weight": torch.tensor([q, k, v]).repeat_interleave(4)[:, None].repeat(1, 4)
        }
    return net, {**masks, "head.weight": torch.ones(2, 4) > 0}


@pytest.mark.parametrize("fused", [False, True])
def test_queries_and_keys_only_weigh_the_values(fused):
    example = torch.zeros(2, 3, 4)
    net, masks = attention_masks(fused, q=False, k=False, v=True)
    health = check(net, example, masks)
    assert health.empty == (["q", "k"] if fused else [])
    assert (health.unreachable, health.severed) == ([], False)
    net, masks = attention_masks(fused, q=True, k=True, v=False)
    assert check(net, example, masks).severed
    net, masks = attention_masks(fused, q=True, k=True, v=True)
    assert all(bool(m.all()) for m in on_path(net, example, masks).values())


def test_a_transformer_with_tokens_of_its_own():
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(3, 8)
            self.token = nn.Parameter(torch.zeros(1, 1, 8))
            self.place = nn.Parameter(torch.zeros(1, 6, 8))
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1) + self.place
            return self.head(self.blocks(x)[:, 0])

    net, example = Tiny(), torch.zeros(2, 5, 3)
    masks = {n: m for n, m in keep_all(net).items() if n not in ("token", "place")}
    assert not check(net, example, masks).collapsed
    masks["embed.weight"][:] = False
    health = check(net, example, masks)
    assert health.severed, "the class token is no input"
    assert "head" in health.unreachable


def test_token_models_depend_on_their_tokens_but_not_on_positions():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(9, 4), nn.Embedding(5, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, ids):
            return self.head(self.words(ids) + self.places(torch.arange(ids.shape[1])))

    net, ids = Words(), torch.tensor([[3, 1, 4, 1, 5]])
    masks = keep_all(net)
    assert not check(net, ids, masks | {"places.weight": torch.zeros(5, 4) > 0}).severed
    health = check(net, ids, masks | {"words.weight": torch.zeros(9, 4) > 0})
    assert health.severed
    assert "words" in health.empty


@pytest.mark.parametrize("depth", [400])
def test_exact_at_any_depth(depth):
    """A product of 400 layers of width 1 or 16 leaves the range of floating-point numbers."""
    net = nn.Sequential(*[nn.Linear(16, 16, bias=False) for _ in range(depth)])
    assert not check(net, torch.zeros(1, 16), keep_all(net)).collapsed
    diagonal = {n: torch.eye(16) > 0 for n in keep_all(net)}
    assert not check(net, torch.zeros(1, 16), diagonal).collapsed
    diagonal["200.weight"] = torch.eye(16).roll(1, 0) * (torch.arange(16) < 1) > 0  # 0 -> 1 alone
    alive = on_path(net, torch.zeros(1, 16), diagonal)
    assert [int(m.sum()) for m in alive.values()] == [1] * depth


def test_values_of_deep_networks_do_not_overflow_into_products():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep = nn.Sequential(*[nn.Linear(16, 16, bias=False) for _ in range(60)])
            self.u = nn.Linear(16, 16, bias=False)

        def forward(self, x):
            return self.deep(x) * self.u(x)

    net = Deep()
    assert check(net, torch.zeros(1, 16), cut(net, u=torch.tensor(False))).severed
    assert not check(net, torch.zeros(1, 16), keep_all(net)).collapsed


def test_a_layer_that_even_the_dense_network_does_not_use_is_not_reported():
    class Spare(Dense):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 2)

    net = Spare()
    assert not check(net, torch.zeros(1, 2), keep_all(net)).collapsed
    head = torch.tensor([False, False, False, True, True])
    assert check(net, torch.zeros(1, 2), cut(net, head=head)).unreachable == ["a"]


def pools():
    yield lambda x: F.max_pool2d(x, (1, 8))
    yield lambda x: F.max_pool1d(x.flatten(1, 2), 8).unflatten(1, (2, 4))
    yield lambda x: F.adaptive_max_pool2d(x, 1)
    yield lambda x: x.amax((2, 3), keepdim=True)
    yield lambda x: x.max(3)[0].max(2).values[..., None, None]
    yield lambda x: torch.maximum(x, x - x.mean())
    yield lambda x: x[..., 4:] - x[..., 4:].mean((2, 3), keepdim=True)
    yield lambda x: x[..., 4:].var((2, 3), keepdim=True)
    yield lambda x: x * torch.log(x[..., :1] + 1)
    yield lambda x: (x - x.mean((2, 3), keepdim=True)) / x.var((2, 3), keepdim=True).sqrt()
    yield lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6)
    yield lambda x: -x.abs()
    yield lambda x: F.interpolate(x, scale_factor=2)


@pytest.mark.parametrize("pool", list(pools()))
def test_operations_that_would_lose_a_constant_path(pool):
    """Half of each map is a constant: a maximum of ones must still see the dependent half."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.head = nn.Conv2d(1, 2, 1), nn.Linear(2, 1)

        def forward(self, x):
            x = self.a(x)
            x = torch.cat([torch.ones_like(x), x], 3)
            return self.head(pool(x).mean((2, 3)))

    net = Pooled()
    example = torch.zeros(1, 1, 4, 4)
    assert not check(net, example, keep_all(net)).collapsed
    health = check(net, example, cut(net, a=torch.tensor(False)))
    assert (health.empty, health.severed) == (["a"], True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers(kind, both):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = kind(3, 4, num_layers=2, bidirectional=both)
            self.head = nn.Linear(4 * (1 + both), 2)

        def forward(self, x):
            return self.head(self.mix(x)[0][2])

    net, example = Recurrent(), torch.zeros(5, 2, 3)  # [time, batch, features]
    masks = keep_all(net)
    assert all(bool(m.all()) for m in on_path(net, example, masks).values())
    masks["mix.weight_ih_l1"][:] = False
    health = check(net, example, masks)
    assert health.severed == (not both)
    masks = keep_all(net)
    masks["mix.weight_hh_l0"][:] = False
    assert not check(net, example, masks).collapsed


def test_packed_sequences_are_refused():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.GRU(3, 4)

        def forward(self, x):
            return self.mix(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 4])))[1]

    net = Packed()
    with pytest.raises(PlanError, match="cannot be worked out"):
        check(net, torch.zeros(5, 2, 3), keep_all(net))


def test_constants_are_computed_as_they_stand():
    """Indices that come out of floating-point arithmetic, and constants that could cancel."""

    class Bucketed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("shift", torch.tensor([-1.0, 0.0, 1.0]))
            self.a, self.bias, self.head = nn.Linear(3, 3), nn.Embedding(1, 3), nn.Linear(3, 2)
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x):
            bucket = (torch.arange(3) / 4).long()  # 0, 0, 0; bits would make it 0, 1, 1
            x = self.a(x) * (self.scale + self.shift)  # 1 - 1 is not 0 here
            return self.head(x + self.bias(bucket)[0])

    net = Bucketed()
    masks = {n: m for n, m in keep_all(net).items() if n != "bias.weight"}
    assert all(bool(m.all()) for m in on_path(net, torch.zeros(1, 3), masks).values())


def test_the_model_is_not_written_to():
    net = Chain().train()
    before = {n: t.clone() for n, t in net.state_dict().items()}
    check(net, IMAGE, keep_all(net))
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert all(m.training for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_masks_of_norms_and_buffers():
    net = Chain()
    norm = {"norm.weight": torch.zeros(4) > 0, "norm.running_mean": torch.zeros(4) > 0}
    health = check(net, IMAGE, keep_all(net) | norm)
    assert health.empty == ["norm"]
    assert health.severed


REFUSED = [
    (None, {}, "needs an example"),
    (IMAGE, {"c.weight": torch.ones(1) > 0}, "unknown parameter 'c.weight'"),
    (torch.zeros(1, 5, 6, 6), {}, "cannot be worked out"),
]


@pytest.mark.parametrize(("example", "masks", "words"), REFUSED)
def test_refused_with_one_line(example, masks, words):
    with pytest.raises(PlanError, match=words) as caught:
        check(Chain(), example, masks)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_followed_is_refused():
    class Rounds(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2)

        def forward(self, x):
            return torch.tensor(self.a(x).tolist())

    with pytest.raises(PlanError, match="even without pruning"):
        check(Rounds(), torch.zeros(1, 2), {"a.weight": torch.ones(2, 2) > 0})
