"""Geographic clusters: k-means on the unit sphere, a label for every row (Ayush et al. 2021, sections 4.2 and 5).

The authors published neither code nor space of their clusters. `sphere` is right across the antimeridian and at the
poles; `degrees` is k-means on plain (lon, lat), the likely choice of the paper. Clusters are numbered from west to east
by the longitude of their centroids, so a label means the same however the centroids were found.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rsdata.curate.kmeans import Floats, Points, finish, kmeans, one_thread
from shards import clusters as saved
from shards.clusters import Clusters, Space
from shards.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT_CELLS = 20_000
_COARSEST_DEG = 2.0


def cluster(
    lon: Floats,
    lat: Floats,
    *,
    k: int = 100,
    seed: int = 0,
    method: Literal["kmeans", "minibatch"] = "kmeans",
    space: Space = "sphere",
    weight: Floats | None = None,
) -> Clusters:
    """Group points; the same seed gives the same clusters with any number of threads.

    Raises:
        UserError: fewer distinct points than clusters, or coordinates off the globe.
    """
    bad = invalid(lon, lat)
    if bad.any():
        raise UserError(f"{int(bad.sum()):,} points have missing or impossible coordinates")
    points = points_of(space, lon, lat)
    cells, mass = _cells(space, lon, lat, weight, k)
    if len(cells) < k:
        raise UserError(
            f"k = {k} clusters need as many distinct points; there are only {len(cells):,}: choose --k {len(cells)} or less"
        )
    if method == "minibatch":
        centres = _minibatch(points(slice(None)), weight, k, seed)
    else:
        centres = kmeans(cells, mass, k=k, seed=seed)
    centres = finish(points, weight, len(lon), centres)
    east, north = Clusters(space, centres).lon_lat
    return Clusters(space, np.ascontiguousarray(centres[np.lexsort((north, east))]))


def invalid(lon: Floats, lat: Floats) -> NDArray[np.bool_]:
    """True where a coordinate is missing, not finite, or outside ±180 and ±90 degrees."""
    with np.errstate(invalid="ignore"):
        out: NDArray[np.bool_] = ~((np.abs(lon) <= 180) & (np.abs(lat) <= 90))
    return out


def points_of(space: Space, lon: Floats, lat: Floats) -> Points:
    """Coordinates of some rows in the space that distances are measured in."""
    return lambda rows: saved.points_of(space, lon[rows], lat[rows])


def _cells(space: Space, lon: Floats, lat: Floats, weight: Floats | None, k: int) -> tuple[Floats, Floats]:
    """Means and weights of groups of near points; distinct points themselves where they are few."""
    if space == "sphere":  # one name for each point of the globe
        lon = np.where(np.abs(lat) == 90, 0.0, np.where(lon == -180, 180.0, lon))
    wanted = max(_EXACT_CELLS, 150 * k)
    probe = slice(None, None, max(1, len(lon) // 200_000))
    side, group = _COARSEST_DEG, np.zeros(0, np.int64)
    while side > 1e-5:
        if len(np.unique(_code(lon[probe], lat[probe], side))) >= wanted / 2:
            group = _code(lon, lat, side)
            break
        side /= 2
    if not group.size or len(lon) <= wanted:
        pair = np.stack([lon, lat], axis=1) + 0.0  # -0.0 and 0.0 are one place
        group = np.unique(pair.view(np.complex128).ravel(), return_inverse=True)[1]
    else:
        group = np.unique(group, return_inverse=True)[1]
    mass = np.bincount(group, weight).astype(np.float64)
    dims = 3 if space == "sphere" else 2
    sums = np.zeros((len(mass), dims))
    points = points_of(space, lon, lat)
    for start in range(0, len(lon), 1 << 20):
        rows = slice(start, start + (1 << 20))
        x = points(rows) if weight is None else points(rows) * weight[rows, None]
        for d in range(dims):
            sums[:, d] += np.bincount(group[rows], x[:, d], minlength=len(mass))
    return sums / mass[:, None], mass


def _code(lon: Floats, lat: Floats, side: float) -> NDArray[np.int64]:
    rows = np.int64(180 / side + 2)
    return ((lon + 180) / side).astype(np.int64) * rows + ((lat + 90) / side).astype(np.int64)


def _minibatch(points: Floats, weight: Floats | None, k: int, seed: int) -> Floats:
    from sklearn.cluster import MiniBatchKMeans

    with one_thread():
        model = MiniBatchKMeans(k, random_state=seed, n_init=3, batch_size=4096).fit(
            points, sample_weight=weight
        )
    out: Floats = model.cluster_centers_
    return out


def place_weights(table: pa.Table, path: Path, columns: tuple[str, ...]) -> Floats:
    """1 / (rows of the same place) for each row.

    Raises:
        UserError: nothing says which rows are one place.
    """
    names = table.column_names
    if not columns:
        columns = ("key",) if "key" in names else ("class_name", "location")
    missing = [name for name in columns if name not in names]
    if missing:
        raise UserError(
            f"{path}: has no column {missing[0]!r} to tell places apart; name them with --place, it has {', '.join(names)}"
        )
    group = np.zeros(table.num_rows, np.int64)
    for name in columns:
        codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        codes = np.nan_to_num(codes, nan=-1).astype(np.int64) + 1
        group = np.unique(group * (int(codes.max()) + 1) + codes, return_inverse=True)[1]
    out: Floats = 1.0 / np.bincount(group)[group]
    return out
