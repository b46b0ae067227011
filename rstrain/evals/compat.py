"""What the original evaluation codes do that ours does not; kept so that their recorded numbers can be met."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from rstrain.evals.knn import knn_majority
from shards.errors import ConfigError


def scalemae_gallery(train: Tensor, label: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """The gallery as Scale-MAE's `eval/knn.py` fills it.

    Each batch is written at (its number) x (its own size), so a short last batch lands on earlier rows and the tail
    stays zero with label 0. Sizes that divide by `batch` come back as they are.
    """
    kept, labels = torch.zeros_like(train), torch.zeros_like(label)
    for number, start in enumerate(range(0, len(train), batch)):
        part = train[start : start + batch]
        at = number * len(part)
        kept[at : at + len(part)] = part
        labels[at : at + len(part)] = label[start : start + batch]
    return kept, labels


def scalemae_input(
    images: Tensor, side: int, *, base: float = 1.0, relative: bool = False, reference: int = 224
) -> tuple[Tensor, Tensor]:
    """What Scale-MAE's `eval/knn.py` hands its encoder: images [B, C, side, side] and a resolution each, [B].

    Images are resized by area (to a larger side by repeating pixels). The resolution is `base`, and with `relative`
    (its `--eval_gsd`) `base` times reference / side: the ground distance grows as the side shrinks.
    """
    resized = F.interpolate(images, size=(side, side), mode="area")
    res = base * (reference / side if relative else 1.0)
    return resized, torch.full((len(images),), res, device=images.device)


def padded_majority(train: Tensor, label: Tensor, test: Tensor, *, k: int, classes: int) -> Tensor:
    """Majority votes of the city study's index search: neighbours that do not exist count the last gallery label."""
    inside = min(k, len(train))
    votes = knn_majority(train, label, test, k=inside, classes=classes)
    return votes + (k - inside) * F.one_hot(label[-1], classes)


@dataclass(frozen=True)
class Matching:
    """Clusters named after the labels they cover best."""

    prediction: NDArray[np.int64]
    """Label of each sample's cluster."""
    accuracy: float
    confusion: NDArray[np.int64]
    """Rows are labels, columns clusters, both over the sorted ids that occur in either."""


def match_clusters(truth: ArrayLike, cluster: ArrayLike, n_clusters: int) -> Matching:
    """One-to-one assignment of cluster ids to labels with the most samples in agreement (Kuhn 1955).

    As in the city study, only the first `n_clusters` ids that occur take part.

    Raises:
        ConfigError: fewer distinct ids than `n_clusters`, or a cluster id that is none of 0 … n_clusters-1.
    """
    from scipy.optimize import linear_sum_assignment

    truth, cluster = np.asarray(truth, np.int64), np.asarray(cluster, np.int64)
    ids = np.unique(np.concatenate([truth, cluster]))
    if len(ids) < n_clusters:
        raise ConfigError(
            f"{len(ids)} distinct labels and clusters, but n_clusters={n_clusters}: use as many as there are"
        )
    if len(cluster) and (cluster.max() >= n_clusters or cluster.min() < 0):
        raise ConfigError(
            f"cluster ids must be 0 … {n_clusters - 1}; found {cluster.min()} … {cluster.max()}"
        )
    confusion = np.zeros((len(ids), len(ids)), np.int64)
    np.add.at(confusion, (np.searchsorted(ids, truth), np.searchsorted(ids, cluster)), 1)
    column, row = linear_sum_assignment(confusion[:n_clusters, :n_clusters].T, maximize=True)
    label = np.zeros(n_clusters, np.int64)
    label[column] = row
    prediction = label[cluster]
    return Matching(prediction, float((prediction == truth).mean()), confusion)
