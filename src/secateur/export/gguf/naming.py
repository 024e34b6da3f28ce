"""`general.name`, which readers take more from than a name."""

from __future__ import annotations

from secateur.core.errors import PlanError

_PHI3_TOKENS = {"<unk>", "<s>", "</s>", "<|endoftext|>"}


def file_title(name: str | None, model_type: str, tokens: tuple[str, ...]) -> str:
    """The title of the file, checked against what readers do with it.

    A title with `phi3` or `phi-3` makes llama.cpp strip spaces after Phi-3's special tokens, as its
    tokenizer does, and end at once where those are lacking; the bare title `mistral` makes
    transformers look for an architecture that the `gguf` package does not know.

    >>> file_title(None, "llama", ("a",)), file_title(None, "phi3", ("a",))
    ('pruned llama', 'pruned')
    """
    has_tokens = set(tokens) >= _PHI3_TOKENS
    if name is None:
        return "pruned" if model_type == "phi3" and not has_tokens else f"pruned {model_type}"
    if name == "mistral":
        raise PlanError("transformers cannot read a GGUF file named just 'mistral'; say more")
    if any(part in name.lower() for part in ("phi3", "phi-3")) and not has_tokens:
        raise PlanError(
            f"llama.cpp cannot load a file named '{name}' whose tokenizer lacks "
            f"{', '.join(sorted(_PHI3_TOKENS - set(tokens)))}; choose a name without 'phi-3'"
        )
    return name
