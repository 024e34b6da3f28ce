"""The `deci` graph as llama.cpp runs it, in torch, from nothing but the file."""

from __future__ import annotations

import gguf
import torch
import torch.nn.functional as F


class DeciReader:
    """Reads keys and tensors; `logits` runs llama.cpp's graph with its quirks.

    Quirks: a layer with `n_ff = 0` is skipped even where it has attention; all sizes come from the
    first layer's head count, which must not be 0; neighbours (2i, 2i+1) are rotated together; each
    tensor in the file must be used.
    """

    def __init__(self, path) -> None:
        self.reader = gguf.GGUFReader(path)
        arrays = ("attention.head_count", "attention.head_count_kv", "feed_forward_length")
        self.heads, self.kv_heads, self.ffn = (self.array(name) for name in arrays)
        self.unused = {t.name: self.values(t) for t in self.reader.tensors}

    def key(self, name: str):
        return self.reader.fields[f"deci.{name}"].contents()

    def array(self, name: str) -> list[int]:
        found = self.key(name)
        assert len(found) == self.key("block_count")
        return list(found)

    @staticmethod
    def values(tensor) -> torch.Tensor:
        return torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))

    def take(self, name: str) -> torch.Tensor:
        return self.unused.pop(name)

    def bias(self, name: str):
        return self.unused.pop(name, None)

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.take(f"{name}.weight"), self.bias(f"{name}.bias"))

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        eps = self.key("attention.layer_norm_rms_epsilon")
        return F.rms_norm(x, x.shape[-1:], self.take(name), eps)

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        """x [heads, length, head]."""
        width = self.key("rope.dimension_count")
        assert x.shape[-1] == width == self.key("attention.key_length")
        assert width == self.key("attention.value_length")
        steps = torch.arange(0, width, 2) / width
        angle = (
            torch.arange(x.shape[1])[:, None] * self.key("rope.freq_base") ** -steps
        )  # [length, d/2]
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
        return torch.stack(turned, -1).flatten(-2)

    def attention(self, x: torch.Tensor, n: int) -> torch.Tensor:
        heads, kv_heads, at = self.heads[n], self.kv_heads[n], f"blk.{n}."
        split = lambda y, count: y.unflatten(-1, (count, -1)).transpose(0, 1)  # noqa: E731 [heads, length, d]
        query = self.rotate(split(self.linear(x, at + "attn_q"), heads))
        key = self.rotate(split(self.linear(x, at + "attn_k"), kv_heads))
        value = split(self.linear(x, at + "attn_v"), kv_heads)
        repeat = heads // kv_heads
        key, value = key.repeat_interleave(repeat, 0), value.repeat_interleave(repeat, 0)
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.linear(out.transpose(0, 1).flatten(1), at + "attn_output")

    def layer(self, x: torch.Tensor, n: int) -> torch.Tensor:
        at, current = f"blk.{n}.", x
        if self.heads[n]:
            current = self.attention(self.norm(x, at + "attn_norm.weight"), n)
        if not self.ffn[n]:
            return x
        current = current + x if self.heads[n] else current
        h = self.norm(current, at + "ffn_norm.weight")
        gate, up = self.linear(h, at + "ffn_gate"), self.linear(h, at + "ffn_up")
        return current + self.linear(F.silu(gate) * up, at + "ffn_down")

    def logits(self, ids: list[int]) -> torch.Tensor:
        assert self.heads[0] > 0
        embedding = self.take("token_embd.weight")
        x = embedding[ids]
        for n in range(self.key("block_count")):
            x = self.layer(x, n)
        x = self.norm(x, "output_norm.weight")
        output = self.unused.pop("output.weight", embedding)
        assert not self.unused
        return F.linear(x, output)
