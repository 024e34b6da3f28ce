"""The digest by which the weights that were pruned are known again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor, nn

from ..core.origin import Origin
from .architecture import known_origin
from .container import CODES, digest


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, in the order of the names.

    >>> import torch
    >>> one, two = {"a": torch.ones(2), "b": torch.zeros(1)}, {"b": torch.zeros(1), "a": torch.ones(2)}
    >>> state_digest(one) == state_digest(two) != state_digest({"a": torch.ones(2)})
    True
    """
    return digest_of_parts({name: tensor_digest(tensor) for name, tensor in state.items()})


def tensor_digest(tensor: Tensor) -> str:
    """Dtype, shape and SHA-256 of the bytes of one tensor: what `state_digest` says of it."""
    own = tensor.detach().cpu().contiguous()
    return f"{CODES.get(own.dtype, str(own.dtype))} {list(own.shape)} {digest(own)}"


def digest_of_parts(parts: Mapping[str, str]) -> str:
    """`state_digest` of a state whose tensors were seen one by one: name -> `tensor_digest`."""
    total = hashlib.sha256()
    for name in sorted(parts):
        total.update(f"{name} {parts[name]}\n".encode())
    return total.hexdigest()


def before_pruning(model: nn.Module, example: object) -> Origin:
    """The origin of a network that is about to be pruned, its weights' digest in it.

    Args:
        model: as it was given; a history that it has goes on.
        example: the description of its input, None where there is none.
    """
    origin = known_origin(model)
    seen = example if example is not None else origin.example
    own = {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor) and not v.is_meta}
    source = origin.source or state_digest(own)
    return origin.model_copy(update={"source": source, "example": seen})
