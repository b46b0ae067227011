"""k nearest neighbours on frozen features: weighted by cosine, or a plain majority."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from shards.errors import ConfigError

_CELLS = 1 << 24
"""Similarities held at once: 64 MiB in float32."""


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of each query, nearest first; equal ones in the order of the gallery."""

    index: Tensor
    """int64 [M, k]."""
    similarity: Tensor
    """float32 [M, k]: cosine, or minus the squared distance (up to a constant of the query)."""


def knn_votes(
    train: Tensor, train_label: Tensor, test: Tensor, *, k: int, temperature: float, classes: int
) -> tuple[Tensor, Neighbours]:
    """Votes float64 [M, classes]: the sum of exp(cosine / temperature) over the k nearest of each class.

    Source: Wu et al. 2018 (arXiv 1805.01978), section 3.4. The prediction is the argmax, ties to the smaller label.

    Args:
        train: gallery [N, F], any scale.
        train_label: int64 [N], 0 … classes-1.
        test: queries [M, F].
        k: neighbours, at most N.
        temperature: of the weights.
        classes: length of a row of votes.

    Raises:
        ConfigError: k is larger than the gallery.
    """
    check_k(k, len(train))
    near = _nearest(F.normalize(train.float(), dim=1), F.normalize(test.float(), dim=1), k)
    weight = (near.similarity.double() / temperature).exp()
    votes = torch.zeros(len(test), classes, dtype=torch.float64, device=train.device)
    for column in range(k):  # one after another: the order of the sums is fixed on any device
        label = train_label[near.index[:, column], None]
        votes.scatter_add_(1, label, weight[:, column, None])
    return votes, near


def knn_majority(train: Tensor, train_label: Tensor, test: Tensor, *, k: int, classes: int) -> Tensor:
    """Votes int64 [M, classes] of the k nearest by Euclidean distance on raw features.

    The prediction is the argmax, ties to the smaller label.

    Raises:
        ConfigError: k is larger than the gallery.
    """
    check_k(k, len(train))
    near = _nearest(train.double(), test.double(), k, euclidean=True)
    return F.one_hot(train_label[near.index], classes).sum(dim=1)


def check_k(k: int, gallery: int) -> None:
    """Refuse more neighbours than there are.

    Raises:
        ConfigError: says both numbers.
    """
    if k > gallery:
        raise ConfigError(f"k={k} is more than the {gallery} samples of the gallery: use a smaller --k")


def _nearest(train: Tensor, test: Tensor, k: int, *, euclidean: bool = False) -> Neighbours:
    half = 0.5 * (train**2).sum(dim=1) if euclidean else None
    index = torch.empty(len(test), k, dtype=torch.int64, device=train.device)
    similarity = torch.empty(len(test), k, dtype=train.dtype, device=train.device)
    step = max(1, _CELLS // len(train))
    for start in range(0, len(test), step):
        close = test[start : start + step] @ train.T
        if half is not None:
            close -= half
        index[start : start + step], similarity[start : start + step] = _largest(close, k)
    return Neighbours(index, similarity)


def _largest(close: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Positions and values of the k largest of each row, ties to the smaller position on any device."""
    value, at = close.topk(k, dim=1)
    crowded = ((close >= value[:, -1:]).sum(dim=1) > k).nonzero()[:, 0]
    if len(crowded):  # topk is free to take any of several equal ones
        value[crowded], at[crowded] = (
            part[:, :k] for part in close[crowded].sort(dim=1, descending=True, stable=True)
        )
    at, order = at.sort(dim=1)
    value, order = value.gather(1, order).sort(dim=1, descending=True, stable=True)
    return at.gather(1, order), value
