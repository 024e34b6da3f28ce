"""The repeated blocks of a network: the layers of a transformer, the stages of any other stack."""

from __future__ import annotations

from torch import nn


def repeated_blocks(model: nn.Module) -> list[str]:
    """Paths of the blocks of the largest stack: equal modules, one after the other, in a list.

    Of all module lists and sequentials with two members or more, all of one class and with
    parameters, the one that holds the most parameters. Empty where there is none.

    >>> body = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    >>> repeated_blocks(nn.ModuleDict({"head": nn.Linear(2, 9), "body": body}))
    ['body.0', 'body.1']
    """
    best: list[str] = []
    most = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList | nn.Sequential) and _is_stack(list(module)):
            size = sum(p.numel() for p in module.parameters())
            if size > most:
                most, best = (
                    size,
                    [f"{name}.{key}".lstrip(".") for key, _ in module.named_children()],
                )
    return best


def _is_stack(members: list[nn.Module]) -> bool:
    """Whether all are of one class, and each has parameters of its own."""
    kinds = {type(member) for member in members}
    return len(members) > 1 and len(kinds) == 1 and all(list(m.parameters()) for m in members)
