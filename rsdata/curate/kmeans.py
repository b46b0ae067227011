"""Weighted k-means for many points and a few hundred clusters, better than several restarts and faster than one.

Points are summed into small cells (weight and mean a cell), the problem is solved on the cells, and a few Lloyd passes
over all points finish it. On the cells scikit-learn's k-means++ start is improved by breathing (Fritzke 2020, arXiv
2006.15666): add centres where the error is, take away those that are missed least, keep what lowers the inertia.
Everything is single-threaded or summed in a fixed order, so the answer does not depend on the number of threads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.machine import cores
from shards.random import address
from shards.sphere import nearest

Floats = NDArray[np.float64]
Points = Callable[[slice], Floats]
"""Coordinates [m, D] of some rows: made when they are needed, so that 10 million points stay two columns."""

_CHUNK = 1 << 13
_BREATH = 5
_MAX_PASSES = 8


@dataclass(frozen=True)
class Pass:
    """One look at all points."""

    labels: NDArray[np.int32]
    weight: Floats
    """Weight of each cluster [k]."""
    mean: Floats
    """Weighted mean of each cluster's points [k, D]; NaN where it has none."""
    inertia: float
    """Weighted sum of squared distances to the centres that were given."""
    farthest: int
    """Row of the point that lies farthest from its centre."""


def one_thread() -> Any:
    """A block in which BLAS and OpenMP use one thread: their sums then have one order."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(1)


def look(points: Points, weight: Floats | None, n: int, centres: Floats) -> Pass:
    """Assign every point to its nearest centre and sum up."""
    k, dims = centres.shape

    def part(start: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float, tuple[float, int]]:
        rows = slice(start, min(start + _CHUNK, n))
        x = points(rows)
        label = nearest(x, centres)
        w = np.ones(len(x)) if weight is None else weight[rows]
        sums = np.empty((k, dims + 1))
        sums[:, dims] = np.bincount(label, w, minlength=k)
        for d in range(dims):
            sums[:, d] = np.bincount(label, w * x[:, d], minlength=k)
        squared = ((x - centres[label]) ** 2).sum(axis=1)
        far = int(squared.argmax())
        return label, sums, float((squared * w).sum()), (float(squared[far]), -(start + far))

    labels = np.empty(n, np.int32)
    total, inertia, far = np.zeros((k, dims + 1)), 0.0, (-1.0, 0)
    starts = range(0, n, _CHUNK)
    with ThreadPoolExecutor(min(8, cores())) as pool:
        for start, (label, sums, share, candidate) in zip(starts, pool.map(part, starts), strict=True):
            labels[start : start + len(label)] = label
            total += sums
            inertia += share
            far = max(far, candidate)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total[:, :dims] / total[:, dims:]
    return Pass(labels, total[:, dims], mean, inertia, -far[1])


def kmeans(cells: Floats, weight: Floats, *, k: int, seed: int) -> Floats:
    """Centres [k, D] of weighted cells [M, D], M >= k; `finish` takes them to the points."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "distinct clusters fewer than k": repaired below
        return _breathe(cells, weight, _start(cells, weight, k, seed))


def finish(points: Points, weight: Floats | None, n: int, centres: Floats) -> Floats:
    """Lloyd passes over all points until the inertia falls by less than 0.05 %; empty clusters get a point."""
    last = np.inf
    with one_thread():
        for _ in range(_MAX_PASSES):
            seen = look(points, weight, n, centres)
            centres = np.where(seen.weight[:, None] > 0, seen.mean, centres)
            if seen.inertia > last * (1 - 5e-4):
                break
            last = seen.inertia
        for _ in range(2 * len(centres)):
            seen = look(points, weight, n, centres)
            empty = np.flatnonzero(seen.weight == 0)
            if not empty.size:
                return centres
            centres = centres.copy()
            centres[empty[0]] = points(slice(seen.farthest, seen.farthest + 1))[0]
    raise AssertionError("more clusters than distinct points")


def _start(cells: Floats, weight: Floats, k: int, seed: int) -> Floats:
    from sklearn.cluster import KMeans

    state = int(address(seed)) & 0x7FFFFFFF
    model = KMeans(k, n_init=1, max_iter=30, tol=1e-3, random_state=state)
    out: Floats = model.fit(cells, sample_weight=weight).cluster_centers_
    return out


def _lloyd(
    cells: Floats, weight: Floats, centres: Floats, max_iter: int, tol: float
) -> tuple[Floats, NDArray[np.int64], float]:
    from sklearn.cluster import KMeans

    model = KMeans(len(centres), init=centres, n_init=1, max_iter=max_iter, tol=tol)
    model.fit(cells, sample_weight=weight)
    return model.cluster_centers_, model.labels_.astype(np.int64), float(model.inertia_)


def _breathe(cells: Floats, weight: Floats, centres: Floats) -> Floats:
    k = len(centres)
    best = _lloyd(cells, weight, centres, 30, 1e-3)
    breath = min(_BREATH, k, len(cells) - k)
    while breath > 0:
        more = np.concatenate([best[0], _inhale(cells, weight, best[0], best[1], breath)])
        grown, labels, _ = _lloyd(cells, weight, more, 20, 1e-2)
        fewer = np.delete(grown, _exhale(cells, weight, grown, labels, breath), axis=0)
        found = _lloyd(cells, weight, fewer, 30, 1e-3)
        if found[2] < best[2] * (1 - 1e-4):
            best = found
        else:
            breath -= 1
    return best[0]


def _inhale(cells: Floats, weight: Floats, centres: Floats, labels: NDArray[np.int64], count: int) -> Floats:
    """New centres beside those with the most error, a standard deviation towards their farthest cell."""
    k = len(centres)
    squared = ((cells - centres[labels]) ** 2).sum(axis=1)
    error = np.bincount(labels, weight * squared, minlength=k)
    mass = np.bincount(labels, weight, minlength=k)
    new = []
    for c in np.argsort(-error, kind="stable")[:count]:
        mine = np.flatnonzero(labels == c)
        if not mine.size:
            new.append(cells[int(squared.argmax())])
            continue
        away = cells[mine[int(squared[mine].argmax())]] - centres[c]
        length = float(np.linalg.norm(away))
        step = (error[c] / mass[c]) ** 0.5 / length if length else 0.0
        new.append(centres[c] + step * away)
    return np.stack(new)


def _exhale(
    cells: Floats, weight: Floats, centres: Floats, labels: NDArray[np.int64], count: int
) -> list[int]:
    """Centres whose cells lose least by going to the next one; never two neighbours at once, while others are left."""
    k = len(centres)
    half = 0.5 * (centres**2).sum(axis=1)
    loss = np.zeros(k)
    for start in range(0, len(cells), _CHUNK):
        rows = slice(start, start + _CHUNK)
        score = half - cells[rows] @ centres.T
        two = np.partition(score, 1, axis=1)[:, :2]
        loss += np.bincount(labels[rows], weight[rows] * 2 * (two[:, 1] - two[:, 0]), minlength=k)
    between = ((centres[:, None] - centres[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(between, np.inf)
    order = [int(c) for c in np.argsort(loss, kind="stable")]
    drop: list[int] = []
    frozen: set[int] = set()
    for c in order:
        if len(drop) < count and c not in frozen:
            drop.append(c)
            frozen.add(int(between[c].argmin()))
    return drop + [c for c in order if c not in drop][: count - len(drop)]
