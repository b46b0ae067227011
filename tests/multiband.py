"""Sets of several resolutions made by code, as `rsdata` writes those of a sensor: views `000`, `001` …, a member each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rsdata.bands import histogram_of, members_of
from rsdata.sensors import SENSORS, Sensor
from shards.dataset import DatasetInfo, finish, shard_of
from shards.index import PARTS, Index, rows_of, table_of, to_bytes
from shards.raster import encode_raster
from shards.sample import Sample, View
from shards.stats import Histogram
from shards.store import Store
from shards.writer import open_shard

Arrays = dict[int, NDArray[np.generic]]
"""Arrays [C, H, W] of a view by metres a pixel."""
COLUMNS = {"crs": pa.string(), "transform": pa.string(), "scene": pa.string(), PARTS: pa.string()}


def ground(sensor: Sensor, seed: int) -> Arrays:
    """Smooth pixels of a view that only the seed decides: coarse ones are the means of the same ground."""
    import cv2

    rng = np.random.default_rng(seed)
    side = sensor.side_px
    out: dict[int, list[NDArray[np.generic]]] = {gsd: [] for gsd in sensor.resolutions}
    for number, band in enumerate(sensor.bands):
        coarse = rng.uniform(200, 3000, (9, 9)).astype(np.float32) + 40 * number
        fine = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        own = sensor.side_at(band.gsd_m)
        plane = cv2.resize(fine, (own, own), interpolation=cv2.INTER_AREA)
        plane = plane + rng.normal(0, 15, plane.shape)
        if sensor.dtype == "float32":
            plane = plane / 100 - 30
        out[band.gsd_m].append(plane.clip(-60, 10_000).astype(sensor.dtype))
    return {gsd: np.stack(planes) for gsd, planes in out.items()}


def build_multiband(
    folder: Path,
    places: Sequence[Sequence[Arrays]],
    *,
    sensor: str = "s2-l2a",
    labels: Sequence[int] | None = None,
    splits: Sequence[str] | None = None,
    transform: str = "10 0 600000 0 -10 5000040",
    crs: str = "EPSG:32633",
) -> Index:
    """Write a finished set, one tar, and open it; `places` are the views of each place in order of time."""
    kind = SENSORS[sensor]
    members = members_of(kind)
    store = Store(folder)
    store.make()
    rows, histograms = [], []
    with open_shard(store, "set-000000.tar") as writer:
        for number, views in enumerate(places):
            split = splits[number] if splits else "train"
            data, shown = {"json": b"{}"}, []
            for i, arrays in enumerate(views):
                names = [f"{i:03d}.{member.ending}" for member in members]
                data |= {n: encode_raster(arrays[g]) for n, g in zip(names, kind.resolutions, strict=True)}
                histograms.append(histogram_of(arrays))
                shown.append(
                    View(
                        member=names[0],
                        width=kind.side_px,
                        height=kind.side_px,
                        label=labels[number] if labels else None,
                        split=split,
                        lon=15.0 + number / 100,
                        lat=45.0,
                        time=f"2020-{3 * i + 1:02d}-05T10:00:00+00:00",
                        gsd_m=float(kind.finest_m),
                        parts=tuple(names[1:]),
                        extra={"crs": crs, "transform": transform, "scene": f"scene-{number}-{i}"},
                    )
                )
            sample = Sample(f"{number:06d}", data, tuple(shown))
            rows += rows_of(writer.name, sample, writer.write(sample))
        facts = shard_of(writer.close())
    total = Histogram.total(histograms)
    assert total is not None
    names = [band.name for member in members for band in member.bands]
    found = [row["split"] for row in rows]
    classes = [f"class-{c}" for c in range(max(labels) + 1)] if labels else []
    given = [row["label"] for row in rows if row["label"] is not None]
    info = DatasetInfo(
        name="places",
        source="builder",
        members=members,
        classes=classes,
        samples=len(places),
        views=len(rows),
        splits={split: found.count(split) for split in sorted(set(found))},
        labels={classes[c]: given.count(c) for c in sorted(set(given))},
        statistics=total.stats(names),
        statistics_of="all",
        shards=[facts],
        index_bytes=0,
        index_sha256="",
    )
    finish(store, info, to_bytes(table_of(rows, COLUMNS)))
    return Index.open(store)
