"""Small shard sets made by code: whole, real, and as `rsdata` would write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shards.codec import encode_jpeg, encode_png
from shards.dataset import Band, DatasetInfo, Member, Target, finish, shard_of
from shards.index import Index, rows_of, table_of, to_bytes
from shards.sample import Sample, View
from shards.stats import Histogram
from shards.store import Store
from shards.writer import open_shard


@dataclass(frozen=True)
class Place:
    """One sample: views of a place, uint8 [H, W, C] each, and what is known of it."""

    views: Sequence[NDArray[Any]]
    key: str = ""
    """Empty: `place-00007` by position."""
    label: int | None = None
    split: str = "train"
    lon: float | None = None
    lat: float | None = None
    times: Sequence[str | None] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    members: dict[str, bytes] = field(default_factory=dict)
    """Beside the pixels: `mask.png`, `boxes.json`, `labels.npy`."""


def pattern(seed: int, height: int = 48, width: int = 48, bands: int = 3) -> NDArray[np.uint8]:
    """A smooth image that only its seed decides; no two are alike."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = [
        cv2.resize(rng.integers(0, 256, (6, 6)).astype(np.float32), (width, height)) for _ in range(bands)
    ]
    noisy = np.stack(coarse, axis=-1) + rng.normal(0, 6, (height, width, bands))
    return np.asarray(noisy.clip(0, 255).astype(np.uint8))


def build_set(
    folder: Path | str,
    places: Sequence[Place | NDArray[Any]],
    *,
    ending: str = "png",
    samples_per_shard: int = 16,
    classes: Sequence[str] = (),
    extra: dict[str, pa.DataType] | None = None,
    name: str = "set",
    quality: int = 95,
    targets: Sequence[Target] = (),
) -> Index:
    """Write a finished shard set and open it; a bare array is a place of one view.

    Args:
        folder: where, a path or an fsspec URL.
        places: the samples, in order.
        ending: how pixels are stored: png, jpg or npy.
        samples_per_shard: samples a tar.
        classes: class names; default `class-0` … as far as labels go.
        extra: the source's own columns, filled from `Place.extra`.
        name: of the set.
        quality: of jpg.
        targets: kinds of `Place.members` that are scored against.
    """
    store = Store(folder)
    store.make()
    samples = [
        _sample(i, p if isinstance(p, Place) else Place([p]), ending, quality) for i, p in enumerate(places)
    ]
    shards, rows, histogram = [], [], []
    for number, start in enumerate(range(0, len(samples), samples_per_shard)):
        with open_shard(store, f"{name}-{number:06d}.tar") as writer:
            for sample, pixels in samples[start : start + samples_per_shard]:
                rows += rows_of(writer.name, sample, writer.write(sample))
                histogram += [Histogram.of(view) for view in pixels]
            shards.append(shard_of(writer.close()))
    bands = samples[0][1][0].shape[2]
    names = ["red", "green", "blue"] if bands == 3 else [f"b{b:02d}" for b in range(bands)]
    total = Histogram.total(histogram)
    labels = [row["label"] for row in rows if row["label"] is not None]
    if labels and not classes:
        classes = [f"class-{c}" for c in range(max(labels) + 1)]
    splits = [row["split"] for row in rows]
    info = DatasetInfo(
        name=name,
        source="builder",
        members=[Member(ending=ending, shape=(None, None, bands), bands=[Band(name=b) for b in names])],
        classes=list(classes),
        targets=list(targets),
        samples=len(samples),
        views=len(rows),
        splits={split: splits.count(split) for split in sorted(set(splits))},
        labels={classes[c]: labels.count(c) for c in sorted(set(labels))},
        statistics=[] if total is None else total.stats(names),
        statistics_of="all",
        shards=shards,
        index_bytes=0,
        index_sha256="",
    )
    finish(store, info, to_bytes(table_of(rows, extra or {})))
    return Index.open(store)


def _sample(number: int, place: Place, ending: str, quality: int) -> tuple[Sample, list[NDArray[Any]]]:
    pixels = [view if view.ndim == 3 else view[..., None] for view in place.views]
    members, views = {}, []
    for i, view in enumerate(pixels):
        member = ending if len(pixels) == 1 else f"{i:03d}.{ending}"
        members[member] = _encoded(view, ending, quality)
        views.append(
            View(
                member=member,
                width=view.shape[1],
                height=view.shape[0],
                label=place.label,
                split=place.split,
                lon=place.lon,
                lat=place.lat,
                time=place.times[i] if place.times else None,
                extra=place.extra,
            )
        )
    members |= {"json": b"{}", **place.members}
    if place.label is not None and len(pixels) == 1:
        members["cls"] = str(place.label).encode()
    return Sample(place.key or f"place-{number:05d}", members, tuple(views)), pixels


def _encoded(pixels: NDArray[Any], ending: str, quality: int) -> bytes:
    if ending == "png":
        return encode_png(pixels)
    if ending == "jpg":
        return encode_jpeg(pixels, quality)
    import io

    out = io.BytesIO()
    np.save(out, pixels, allow_pickle=False)
    return out.getvalue()


def damage(folder: Path, shard: str, offset: int) -> None:
    """Flip one bit of a shard."""
    path = folder / shard
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
