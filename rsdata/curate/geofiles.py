"""`rsdata geocluster`: a table in; the same table with a label, the centroids and a map out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsdata.curate.configs import GeoclusterConfig, TableConfig
from rsdata.curate.geocluster import cluster, invalid, place_weights, points_of
from rsdata.curate.kmeans import Floats
from rsdata.curate.tables import beside, coordinates, digest, read_table, write_csv
from shards.clusters import FORMAT, Clusters
from shards.errors import UserError
from shards.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN = "cluster"


@dataclass(frozen=True)
class GeoclusterReport:
    """What was written and how good it is."""

    out: str
    rows: int
    skipped: int
    k: int
    inertia: float
    mean_km: float
    max_km: float
    smallest: int
    largest: int

    def summary(self) -> str:
        """A few lines for people."""
        skipped = f", {self.skipped:,} left out (listed beside)" if self.skipped else ""
        return (
            f"{self.out}: {self.rows:,} rows in {self.k} clusters of {self.smallest:,} to {self.largest:,}{skipped}\n"
            f"  mean distance to the centroid {self.mean_km:,.1f} km, farthest {self.max_km:,.1f} km, inertia {self.inertia:.6g}"
        )


def geocluster(path: Path, out: Path, config: GeoclusterConfig) -> GeoclusterReport:
    """Write OUT.csv (the columns of the table, then `cluster`), OUT.png and, last, OUT.json.

    Raises:
        UserError: no usable table, bad coordinates, or fewer distinct points than clusters.
    """
    store, name, stem = beside(out, ".csv")
    table, lon, lat, skipped = _load(path, out, store, stem, config)
    weight = place_weights(table, path, config.place) if config.weights == "place" else None
    clusters = cluster(
        lon, lat, k=config.k, seed=config.seed, method=config.method, space=config.space, weight=weight
    )
    labels = clusters.assign(lon, lat)
    _write_labels(store, name, table, labels)
    _write_map(store, f"{stem}.png", lon, lat, labels, clusters)
    facts = describe(clusters, lon, lat, labels, weight)
    facts["settings"] = config.to_dict()
    facts["input"] = {"name": path.name, "sha256": digest(path), "rows": len(lon), "skipped": skipped}
    store.write(f"{stem}.json", (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
    return _report(out, facts, skipped)


def geocluster_assign(centroids: Path, path: Path, out: Path, config: TableConfig) -> GeoclusterReport:
    """Label another table by the nearest saved centroid.

    Raises:
        UserError: see `geocluster`; or the file of centroids is none.
    """
    clusters = Clusters.load(centroids)
    store, name, stem = beside(out, ".csv")
    table, lon, lat, skipped = _load(path, out, store, stem, config)
    labels = clusters.assign(lon, lat)
    _write_labels(store, name, table, labels)
    return _report(out, describe(clusters, lon, lat, labels), skipped)


def describe(
    clusters: Clusters, lon: Floats, lat: Floats, labels: NDArray[np.int64], weight: Floats | None = None
) -> dict[str, Any]:
    """The facts of OUT.json. Distances are of rows; the inertia is weighted as the clustering was."""
    import sklearn

    k = len(clusters)
    km = clusters.distance_km(lon, lat, labels)
    sizes = np.bincount(labels, minlength=k)
    total = np.bincount(labels, km, minlength=k)
    farthest = np.zeros(k)
    np.maximum.at(farthest, labels, km)
    east, north = clusters.lon_lat
    return {
        "format": FORMAT,
        "space": clusters.space,
        "k": k,
        "inertia": _inertia(clusters, lon, lat, labels, weight),
        "inertia_unit": "squared chord of the unit sphere"
        if clusters.space == "sphere"
        else "square degrees",
        "mean_km": float(total.sum() / len(lon)),
        "max_km": float(farthest.max()),
        "sklearn": sklearn.__version__,
        "clusters": [
            {
                "id": c,
                "lon": float(east[c]),
                "lat": float(north[c]),
                "vector": [float(v) for v in clusters.vectors[c]],
                "size": int(sizes[c]),
                "mean_km": float(total[c] / sizes[c]) if sizes[c] else None,
                "max_km": float(farthest[c]) if sizes[c] else None,
            }
            for c in range(k)
        ],
    }


def _inertia(
    clusters: Clusters, lon: Floats, lat: Floats, labels: NDArray[np.int64], weight: Floats | None
) -> float:
    from rsdata.curate.kmeans import look

    return look(points_of(clusters.space, lon, lat), weight, len(lon), clusters.vectors).inertia


def _load(
    path: Path, out: Path, store: Store, stem: str, config: TableConfig
) -> tuple[pa.Table, Floats, Floats, int]:
    """The table, its coordinates, and how many rows were left out."""
    if out.resolve() == path.resolve():
        raise UserError(f"{out}: is the input; give another name for the output")
    table = read_table(path)
    if COLUMN in table.column_names:
        raise UserError(f"{path}: has a column {COLUMN!r} already; rename or drop it")
    lon, lat = coordinates(table, path, config.lon, config.lat)
    bad = invalid(lon, lat)
    failures = f"{stem}.failures.csv"
    if not bad.any():
        store.remove(failures)
        return table, lon, lat, 0
    rows = np.flatnonzero(bad)
    if len(rows) == len(lon):
        raise UserError(
            f"{path}: no row has usable coordinates in {config.lon!r} and {config.lat!r} (choose with --lon and --lat)"
        )
    if not config.skip_invalid:
        first = ", ".join(str(row + 1) for row in rows[:5])
        raise UserError(
            f"{path}: {len(rows):,} of {len(lon):,} rows have missing or impossible coordinates (row {first}"
            f"{', …' if len(rows) > 5 else ''}, counted from 1 below the header)\n"
            f"  Mend them, or leave them out with --skip-invalid: they are then listed in {failures}"
        )
    write_csv(store, failures, _failures(rows, lon, lat))
    keep = np.flatnonzero(~bad)
    return table.take(keep), lon[keep], lat[keep], len(rows)


def _failures(rows: NDArray[np.int64], lon: Floats, lat: Floats) -> pa.Table:
    import pyarrow as pa

    missing = np.isnan(lon[rows]) | np.isnan(lat[rows])
    reason = np.where(missing, "missing or not a number", "outside ±180 and ±90 degrees")
    return pa.table({"row": rows + 1, "lon": lon[rows], "lat": lat[rows], "reason": reason.tolist()})


def _write_labels(store: Store, name: str, table: pa.Table, labels: NDArray[np.int64]) -> None:
    import pyarrow as pa

    write_csv(store, name, table.append_column(COLUMN, pa.array(labels)))


def _write_map(
    store: Store, name: str, lon: Floats, lat: Floats, labels: NDArray[np.int64], clusters: Clusters
) -> None:
    from rsdata.maps import cluster_png

    store.write(name, cluster_png(lon, lat, labels, *clusters.lon_lat))


def _report(out: Path, facts: dict[str, Any], skipped: int) -> GeoclusterReport:
    sizes = [row["size"] for row in facts["clusters"]]
    return GeoclusterReport(
        str(out),
        sum(sizes),
        skipped,
        facts["k"],
        facts["inertia"],
        facts["mean_km"],
        facts["max_km"],
        min(sizes),
        max(sizes),
    )
