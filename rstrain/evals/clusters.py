"""K-means on features, and how well its clusters are the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstrain.evals.metrics import bootstrap_interval
from rstrain.evals.scores import Outcome
from shards.errors import ConfigError
from shards.random import address, stream

_KMEANS = stream("evals/kmeans")


def clustering(
    features: NDArray[np.float32],
    scored: NDArray[np.float32],
    label: NDArray[np.int64],
    place: NDArray[np.int64],
    *,
    count: int,
    unit: bool,
    restarts: int,
    seed: int,
) -> Outcome:
    """Accuracy after naming clusters, normalised mutual information and adjusted Rand index, percent.

    Args:
        features: where clusters are found, [N, F].
        scored: what is given to the nearest of them and scored, [M, F].
        label: of the scored views, [M].
        place: of the scored views, for the interval.
        count: how many clusters.
        unit: features at length 1 first.
        restarts: k-means runs.
        seed: of their first centres.

    Raises:
        ConfigError: more clusters than features.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    if count > len(features):
        raise ConfigError(f"clusters={count} is more than the {len(features)} views they are found in")
    found, inertia = kmeans(_scaled(features, unit), _scaled(scored, unit), count, restarts, seed)
    name = name_clusters(label, found, count)
    hits = name[found] == label
    low, high = bootstrap_interval(hits, place, seed=seed)
    sizes = np.bincount(found, minlength=count)
    return Outcome(
        scores={
            "accuracy_percent": _percent(hits.mean()),
            "nmi_percent": _percent(normalized_mutual_info_score(label, found)),
            "ari_percent": _percent(adjusted_rand_score(label, found)),
        },
        intervals={"accuracy_percent": (_percent(low), _percent(high))},
        details={
            "clusters": count,
            "sizes": sizes.tolist(),
            "named": name.tolist(),
            "inertia": inertia,
        },
    )


def kmeans(
    features: NDArray[np.float64], scored: NDArray[np.float64], count: int, restarts: int, seed: int
) -> tuple[NDArray[np.int64], float]:
    """The nearest centre of each scored view, [M], and the spread (inertia) of the clusters.

    One thread: sums in another order would move the last bits, and with them now and then a view.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        fitted = KMeans(count, n_init=restarts, random_state=int(address(_KMEANS, seed)) >> 33).fit(features)
        return fitted.predict(scored).astype(np.int64), float(fitted.inertia_)


def name_clusters(label: NDArray[np.int64], cluster: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Label of each cluster [count], one cluster a label, with the most views in agreement (Kuhn 1955).

    There may be more or fewer clusters than labels; a cluster without a label has -1, which is never right.
    """
    from scipy.optimize import linear_sum_assignment

    classes = int(label.max()) + 1
    shared = np.bincount(label * count + cluster, minlength=classes * count).reshape(classes, count)
    row, column = linear_sum_assignment(shared, maximize=True)
    name = np.full(count, -1, np.int64)
    name[column] = row
    return name


def _scaled(x: NDArray[np.float32], unit: bool) -> NDArray[np.float64]:
    wide: NDArray[np.float64] = x.astype(np.float64)
    if not unit:
        return wide
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit_length: NDArray[np.float64] = wide / np.maximum(length, 1e-12)
    return unit_length


def _percent(value: Any) -> float:
    return round(100.0 * float(value), 4)
