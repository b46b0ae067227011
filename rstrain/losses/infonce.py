"""Contrastive objectives of MoCo: one positive against a queue of negatives.

`logits` are [B, 1 + K] with the positive in column 0, already divided by the temperature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_logits(
    query: Tensor, key: Tensor, queue: Tensor, temperature: float, others: Sequence[Tensor] = ()
) -> Tensor:
    """Cosines over temperature: query and key [B, D] of unit length, queue [D, K] -> [B, 1 + K].

    `others` are more negatives, each [N, D]; their columns follow those of the queue.
    """
    query = query / temperature  # of the small operand: one pass less over [B, K]
    positive = (query * key).sum(dim=1, keepdim=True)
    return torch.cat((positive, query @ queue, *(query @ other.T for other in others)), dim=1)


def info_nce(logits: Tensor) -> Tensor:
    """Mean cross-entropy of picking column 0 in each row (van den Oord et al. 2018, eq. 4; `cpc` in the original)."""
    target = torch.zeros(logits.shape[0], dtype=torch.int64, device=logits.device)
    return F.cross_entropy(logits, target)


def ml_cpc(logits: Tensor, alpha: float) -> Tensor:
    """Multi-label CPC (Song and Ermon 2020): one softmax over all entries of the batch, whose positives weigh alpha.

    beta = (k - alpha) / (k - 1) keeps the total weight, k = 1 + K. The loss is a KL divergence over alpha, so it is 0
    for a perfect solution. It spans the rows of one process, so it depends on how a batch is divided over ranks.

    Args:
        logits: [B, 1 + K].
        alpha: weight of a positive, 0 < alpha < 1 + K (at 1 + K the negatives would vanish).
    """
    rows, columns = logits.shape
    beta = (columns - alpha) / (columns - 1)
    positive = logits[:, 0] + math.log(alpha)
    negative = logits[:, 1:] + math.log(beta)
    total = torch.logsumexp(torch.cat((positive, negative.flatten())), dim=0)
    return (total - positive.mean() - math.log(rows)) / alpha


def annealed_alpha(alpha: float, low: float, epoch: float, epochs: float) -> float:
    """Geometric path from `alpha` at epoch 0 to `low` at `epochs` (`--ml-cpc-alpha-geo` of the original)."""
    return math.exp(math.log(low) + (math.log(alpha) - math.log(low)) * (1.0 - epoch / epochs))


def top_accuracy(logits: Tensor, *, k: int = 1) -> Tensor:
    """Percent of rows whose positive is among the `k` largest; no sort, no wait for the device."""
    above = (logits[:, 1:] > logits[:, :1]).sum(dim=1)
    return (above < k).to(torch.float32).mean() * 100.0


def batch_accuracy(logits: Tensor) -> Tensor:
    """Of the B largest entries of the whole matrix, the percent that are positives (`acc_n` of the original)."""
    rows, columns = logits.shape
    best = logits.flatten().topk(rows).indices
    return (best % columns == 0).to(torch.float32).mean() * 100.0
