"""The contrastive loss and schedule of Astra-CLR, and the pre-training of alert-clr with them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def nt_xent(views: Tensor, temperature: float = 0.1) -> Tensor:
    """Generalised NT-Xent over all ordered pairs of views (Chen et al. 2020, arXiv:2002.05709, for two).

    views (V, B, P): V views of B objects. Every projection is an anchor, every other view of its object a positive of
    its own, and everything but itself stands in the denominator; only the diagonal is masked.
    """
    count, batch, _ = views.shape
    z = functional.normalize(views, dim=-1).flatten(0, 1)  # (V B, P)
    similarity = z @ z.T / temperature  # (V B, V B)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1, keepdim=True)
    same_object = torch.eye(batch, dtype=torch.bool, device=z.device).repeat(count, count)
    return -log_share[same_object & ~itself].mean()


def noam(step: int, width: int, warm_up: int = 1000) -> float:
    """Learning rate at step 1, 2, ...: width^-0.5 min(step^-0.5, step warm_up^-1.5) (Vaswani et al. 2017)."""
    return float(width**-0.5 * min(step**-0.5, step * warm_up**-1.5))
