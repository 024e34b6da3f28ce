"""Read a GGUF file back through transformers and compare what both models compute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@torch.inference_mode()
def logit_gap(path: str | Path, model: PreTrainedModel, ids: torch.Tensor) -> float:
    """max |logits of the file − logits of `model`| over `ids` [batch, length].

    The file is loaded by `from_pretrained(folder, gguf_file=name)`; transformers has no `deci`
    model, and its reader leaves out rotary scaling and Gemma's soft caps and attention scale.
    """
    from transformers import AutoModelForCausalLM

    path = Path(path)
    read = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    gap = read(input_ids=ids).logits - model.eval()(input_ids=ids).logits.float()
    return float(gap.abs().max())
