"""The network that the stock class builds from a configuration, with the weights of another."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import nn


def built_anew(model: nn.Module) -> nn.Module:
    """The class of `model` built from its configuration, holding the very tensors of `model`.

    What the class computes while it is built (scales, tables, buffers that are not stored) is the class's
    own: this is the network that `from_pretrained` gives where Secateur is not installed.
    """
    kind, config = cast(Any, type(model)), cast(Any, model.config)
    plain = type(config).from_dict(copy.deepcopy(config.to_dict()))
    plain._attn_implementation = getattr(config, "_attn_implementation", None)
    with without_values():
        anew = cast(nn.Module, kind(plain))
    held = next(model.parameters(), None)
    anew = anew if held is None else anew.to(held.device)
    anew.load_state_dict(model.state_dict(keep_vars=True), assign=True)
    return anew.eval()


@contextmanager
def without_values() -> Iterator[None]:
    """Inside, classes of transformers draw no weights: nobody looks at them."""
    try:
        from transformers.initialization import no_init_weights
    except ImportError:  # a class with a configuration that is not of transformers
        yield
        return
    with no_init_weights():
        yield
