"""What training minimises: cross-entropy with labels, and with a teacher's outputs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ...core.errors import DataError


def check_classes(logits: Tensor, labels: Tensor) -> None:
    """Refuse outputs and labels that do not fit; their range where it costs no waiting (CPU)."""
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise DataError(
            f"the network gave {list(logits.shape)} for labels {list(labels.shape)} of "
            f"{labels.dtype}; classification needs outputs [n, classes] and whole labels [n]"
        )
    if labels.device.type == "cpu" and labels.numel():
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= logits.shape[1]:
            raise DataError(
                f"labels run from {low} to {high}, but the network has {logits.shape[1]} "
                f"outputs; labels must be 0 to {logits.shape[1] - 1}"
            )


def distilled(
    loss: Tensor, student: Tensor, teacher: Tensor, temperature: float, weight: float
) -> Tensor:
    r"""(1 - a) · loss + a · T² · KL(softmax(t / T) || softmax(s / T)), a mean over the batch.

    T² keeps the size of the gradient: d/ds of the second term is a · T · (softmax(s / T) -
    softmax(t / T)) / n.

    Args:
        loss: the loss of the labels.
        student, teacher: s, t, [n, classes] outputs.
        temperature: T.
        weight: a.

    Paper: Hinton, Vinyals & Dean 2015, arXiv 1503.02531.
    """
    soft = F.log_softmax(teacher / temperature, dim=1)  # [n, classes]
    log_p = F.log_softmax(student / temperature, dim=1)  # [n, classes]
    divergence = F.kl_div(log_p, soft, reduction="batchmean", log_target=True)
    return (1 - weight) * loss + weight * temperature**2 * divergence
