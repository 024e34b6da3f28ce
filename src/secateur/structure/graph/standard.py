"""Level A: parameters and buffers sliced by name, attributes of standard layers read off their tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, nn

from secateur.structure.attention import ATTENTION, NarrowAttention, fits
from secateur.structure.graph.edit import cut_tensor
from secateur.structure.graph.infer import Inference
from secateur.structure.graph.positions import Kept


def slice_tensors(model: nn.Module, source: nn.Module, found: Inference, kept: Kept) -> None:
    """Put the cut parameters and buffers of `source` into its copy `model`; tied tensors stay tied."""
    own: dict[str, Tensor] = {**dict(source.named_parameters(remove_duplicate=False))}
    own |= dict(source.named_buffers(remove_duplicate=False))
    done: dict[tuple[str, ...], Tensor] = {}
    for name in found.terms:
        group = found.captured.twins[name]
        present = [twin for twin in group if twin in own]
        if present and group not in done:
            old = own[present[0]]
            done[group] = own_tensor(cut_tensor(old, found.terms[name], kept), old)
            if old.grad is not None:
                done[group].grad = own_tensor(
                    cut_tensor(old.grad, found.terms[name], kept), old.grad
                )
        for twin in present:
            _assign(model, twin, done[group])


def own_tensor(cut: Tensor, old: Tensor) -> Tensor:
    """A tensor of its own even where nothing was cut."""
    if cut is not old:
        return cut
    copied = old.detach().clone()
    return nn.Parameter(copied, old.requires_grad) if isinstance(old, nn.Parameter) else copied


def _assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    held = owner._parameters if leaf in owner._parameters else owner._buffers
    held[leaf] = tensor  # type: ignore[assignment]


def repair(model: nn.Module) -> None:
    """Let every standard layer say the sizes its tensors have."""
    for module in model.modules():
        for kind, mend in REPAIRS.items():
            if isinstance(module, kind):
                mend(module)
    unfuse(model, NarrowAttention)


def unfuse(model: nn.Module, kind: type[nn.Module]) -> None:
    """Keep fused kernels, which take weights past the `forward` of a module, off modules of a kind.

    `nn.TransformerEncoderLayer` has such a kernel for attention whose projections are of one width, and
    `nn.TransformerEncoder` packs what it gives to it without padding.
    """
    for module in model.modules():
        if isinstance(module, kind) and hasattr(module, "_qkv_same_embed_dim"):
            cast(Any, module)._qkv_same_embed_dim = False
        if isinstance(module, nn.TransformerEncoder):
            within = any(isinstance(inner, kind) for inner in module.modules())
            module.use_nested_tensor = module.use_nested_tensor and not within


def standard(module: nn.Module, attribute: str) -> bool:
    """Whether an attribute is a count of a standard layer that its tensors do not say."""
    if attribute in ("groups", "num_groups"):
        return True
    return attribute == "num_heads" and type(module) in ATTENTION


def _linear(module: Any) -> None:
    module.out_features, module.in_features = module.weight.shape


def _bilinear(module: Any) -> None:
    module.out_features, module.in1_features, module.in2_features = module.weight.shape


def _conv(module: Any) -> None:
    if isinstance(module.weight, nn.UninitializedParameter):
        return
    first, second = module.weight.shape[:2]
    if module.transposed:
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        module.out_channels, module.in_channels = first, second * module.groups


def _features(module: Any) -> None:
    held = module.weight if module.weight is not None else module.running_mean
    if held is not None:
        module.num_features = held.shape[0]


def _group_norm(module: Any) -> None:
    if module.weight is not None:
        module.num_channels = module.weight.shape[0]


def _layer_norm(module: Any) -> None:
    if module.weight is not None:
        module.normalized_shape = tuple(module.weight.shape)


def _embedding(module: Any) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


def _prelu(module: Any) -> None:
    module.num_parameters = module.weight.numel()


def _recurrent(module: Any) -> None:
    module.hidden_size = module.weight_hh_l0.shape[1]
    module.input_size = module.weight_ih_l0.shape[1]
    module._init_flat_weights()


def _cell(module: Any) -> None:
    module.hidden_size, module.input_size = module.weight_hh.shape[1], module.weight_ih.shape[1]


def _attention(module: Any) -> None:
    if type(module) is nn.MultiheadAttention and not fits(module):
        module.__class__ = NarrowAttention
    module.embed_dim = module.out_proj.weight.shape[0]
    if module.in_proj_weight is None:
        module.kdim, module.vdim = module.k_proj_weight.shape[1], module.v_proj_weight.shape[1]
    else:
        module.kdim = module.vdim = module.in_proj_weight.shape[1]


REPAIRS: Mapping[Any, Callable[[Any], None]] = {
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    nn.modules.conv._ConvNd: _conv,
    nn.modules.batchnorm._NormBase: _features,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _layer_norm,
    nn.Embedding: _embedding,
    nn.EmbeddingBag: _embedding,
    nn.PReLU: _prelu,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _cell,
    nn.MultiheadAttention: _attention,
}
