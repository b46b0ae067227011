"""Evaluations of features that stay as they are: neighbours, linear classifiers, clusters."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rstrain.evals.clusters import clustering
from rstrain.evals.config import ClusterConfig, HeadConfig, KnnConfig, LinearConfig, MultilabelConfig
from rstrain.evals.knn import check_k, knn_majority, knn_votes
from rstrain.evals.linear import fit_linear
from rstrain.evals.scores import Outcome, classification, labelling, mistakes, with_temporal
from rstrain.evals.subject import Subject


def knn(config: KnnConfig, subject: Subject, seed: int) -> Outcome:
    """Nearest neighbours at full resolution, and at the coarser ones of a sweep.

    Raises:
        ConfigError: more neighbours than views, or a resolution that the model does not take.
    """
    check_k(config.k, len(subject.train))
    for scale in config.scales:
        subject.side(scale)
    votes = _votes(config, subject, 1.0)
    outcome = classification(votes, subject.test.label, subject.test.place, subject.classes, seed=seed)
    counted = np.where(np.isfinite(votes), votes, 0.0)
    shares = counted / counted.sum(axis=1, keepdims=True)
    outcome = outcome.model_copy(update={"mistakes": mistakes(shares, subject.test, subject.classes)})
    return _with_sweep(outcome, config, subject) if config.scales else outcome


def _with_sweep(outcome: Outcome, config: KnnConfig, subject: Subject) -> Outcome:
    """With top-1 at each scale, and their mean, as in Scale-MAE's table 1."""
    added, rows = {}, []
    for scale in config.scales:
        hits = _votes(config, subject, scale).argmax(axis=1) == subject.test.label
        added[f"scale_{scale:g}_top1_percent"] = round(100.0 * float(hits.mean()), 4)
        side = subject.side(scale)
        told = subject.resolution(subject.test, side)
        res = {} if told is None else {"resolution": float(told.mean())}
        rows.append({"scale": scale, "side": side} | res)
    mean = {"scales_mean_top1_percent": round(float(np.mean(list(added.values()))), 4)}
    return outcome.model_copy(
        update={
            "scores": outcome.scores | added | mean,
            "details": outcome.details | {"scales": rows, "gallery": config.gallery},
        }
    )


def _votes(config: KnnConfig, subject: Subject, scale: float) -> NDArray[np.float64]:
    """Votes of each test view for each class; -inf for a class without one, so that it is not among the best five."""
    train = subject.features(subject.train, scale if config.gallery == "same" else 1.0)
    test = subject.features(subject.test, scale)
    label = torch.from_numpy(subject.train.label).to(subject.device)
    classes = len(subject.classes)
    if config.vote == "majority":
        votes = knn_majority(train, label, test, k=config.k, classes=classes).double()
    else:
        votes, _ = knn_votes(train, label, test, k=config.k, temperature=config.temperature, classes=classes)
    votes[votes == 0] = -torch.inf
    return np.asarray(votes.cpu().numpy())


def linear(config: LinearConfig, subject: Subject, seed: int) -> Outcome:
    """A linear classifier; the votes of places with several views beside it.

    Raises:
        ConfigError: it diverged.
    """
    train, test = subject.train, subject.test
    vary = config.random_crop and not (train.square or config.resize == "squash")
    logits, details = _fitted(config, subject, seed, vary=vary)
    probabilities = logits.softmax(dim=1).cpu().numpy()
    outcome = classification(probabilities, test.label, test.place, subject.classes, seed=seed)
    worst = mistakes(probabilities, test, subject.classes)
    outcome = outcome.model_copy(update={"details": details, "mistakes": worst})
    if config.temporal and test.places < len(test):
        outcome = with_temporal(outcome, probabilities, test.keys, test.label, seed=seed)
    return outcome


def multilabel(config: MultilabelConfig, subject: Subject, seed: int) -> Outcome:
    """A sigmoid for each class.

    Raises:
        ConfigError: it diverged.
        ShardError: no test view has any class.
    """
    logits, details = _fitted(config, subject, seed, vary=False)
    test = subject.test
    outcome = labelling(logits.cpu().numpy(), test.label, test.place, subject.classes, seed=seed)
    return outcome.model_copy(update={"details": outcome.details | details})


def _fitted(
    config: HeadConfig, subject: Subject, seed: int, *, vary: bool
) -> tuple[Tensor, dict[str, object]]:
    """Logits float64 [M, C] of the test views, and what was chosen; `vary`: random crops in training."""
    train = subject.train
    central = subject.features(train)
    label = torch.from_numpy(train.label).to(subject.device)

    def features(epoch: int) -> Tensor:
        return subject.random_features(train, epoch, seed) if vary else central

    heads, rate, found = fit_linear(
        features, central, label, train.place, classes=len(subject.classes), config=config, seed=seed
    )
    logits = heads.logits(subject.features(subject.test))[:, 0].double()
    held = "heldout_micro_ap_percent" if label.ndim == 2 else "heldout_top1_percent"
    return logits, {"lr": rate, held: {f"{lr:g}": value for lr, value in found.items()}}


def cluster(config: ClusterConfig, subject: Subject, seed: int) -> Outcome:
    """K-means.

    Raises:
        ConfigError: more clusters than views.
    """
    train, test = subject.train, subject.test
    found = subject.features(test)
    scored = found
    label, place = test.label, test.place
    if config.fit == "train":
        found = subject.features(train)
    elif config.fit == "all":
        scored = found = torch.cat([subject.features(train), found])
        label = np.concatenate([train.label, label])
        place = np.concatenate([train.place, place + len(train)])  # numbers of the two splits stay apart
    return clustering(
        found.cpu().numpy(),
        scored.cpu().numpy(),
        label,
        place,
        count=config.clusters or len(subject.classes),
        unit=config.unit,
        restarts=config.restarts,
        seed=seed,
    )
