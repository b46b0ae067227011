"""`rsdata preview`: one self-contained page that shows what lies in a set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.inspect.info import SetFacts, facts_of
from shards.codec import ImageError, decode, encode_jpeg
from shards.index import Index
from shards.random import address, stream
from shards.store import Store

_SHEET = stream("preview/sheet")
_VIEWS = 8
_THUMB_PX = 168
_DOTS = 5_000


@dataclass(frozen=True)
class Thumb:
    """One view on the sheet."""

    jpeg: bytes
    """Empty where the image could not be read."""
    caption: str
    """Its date, or the reason it is not shown."""


@dataclass(frozen=True)
class Card:
    """One place on the sheet."""

    key: str
    label: int | None
    split: str
    where: str
    views: int
    thumbs: list[Thumb]
    """In order of time; of many views some, evenly spread."""


@dataclass(frozen=True)
class Preview:
    """Everything that the page shows."""

    facts: SetFacts
    cards: list[Card]
    classes: list[tuple[str, int]]
    """Name and views of each class, by label."""
    months: dict[str, int]
    """Views of each month (`2016-03`)."""
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    dot_labels: list[int]
    """Label of each dot of the map; -1 without one."""


def preview(folder: str | Path | Store, out: Path, *, places: int = 24, seed: int = 0) -> int:
    """Write the page; answers its size in bytes.

    Args:
        folder: a finished set.
        out: the HTML file.
        places: places on the contact sheet, spread over the classes.
        seed: which ones.

    Raises:
        ShardError: no finished set is there.
        UserError: the name does not end in .html.
    """
    from rsdata.curate.tables import beside
    from rsdata.inspect.page import page

    store, name, _ = beside(out, ".html")
    html = page(gather(Index.open(folder), places=places, seed=seed)).encode()
    store.write(name, html)
    return len(html)


def gather(index: Index, *, places: int, seed: int) -> Preview:
    """Choose places, read their views, count classes and months."""
    first, count = index.places()
    starts = np.flatnonzero(first == np.arange(len(first)))
    label = np.nan_to_num(index.column("label").astype(float), nan=-1).astype(np.int64)
    chosen = _choose(starts, label[starts], places, seed)
    lon, lat = index.column("lon").astype(float), index.column("lat").astype(float)
    there = starts[np.isfinite(lon[starts]) & np.isfinite(lat[starts])]
    there = there[:: max(1, -(-len(there) // _DOTS))]
    months = Counter(time.strftime("%Y-%m") for time in index.table["time"].to_pylist() if time is not None)
    return Preview(
        facts=facts_of(index),
        cards=[_card(index, int(row), int(count[row])) for row in chosen],
        classes=[(name, index.info.labels.get(name, 0)) for name in index.info.classes],
        months=dict(sorted(months.items())),
        lon=lon[there],
        lat=lat[there],
        dot_labels=label[there].tolist(),
    )


def _choose(starts: NDArray[np.int64], label: NDArray[np.int64], places: int, seed: int) -> NDArray[np.int64]:
    """Places in turn from each class, in an order that only the seed decides; then sorted by class."""
    rank = np.argsort(address(_SHEET, seed, starts), kind="stable")
    turn = np.empty(len(starts), np.int64)
    seen: Counter[int] = Counter()
    for i in rank:
        turn[i] = seen[int(label[i])]
        seen[int(label[i])] += 1
    place_of = np.empty(len(starts), np.int64)
    place_of[rank] = np.arange(len(starts))
    picked = np.lexsort((place_of, turn))[:places]
    picked = picked[np.lexsort((place_of[picked], label[picked]))]
    return starts[picked]


def _card(index: Index, start: int, count: int) -> Card:
    row = {name: index.table[name][start].as_py() for name in ("key", "label", "split", "lon", "lat")}
    times = index.table["time"].slice(start, count).to_pylist()
    order = sorted(range(count), key=lambda i: (times[i] is None, times[i], i) if times[i] else (True, i, i))
    if count > _VIEWS:
        order = [order[i] for i in np.linspace(0, count - 1, _VIEWS).round().astype(int)]
    thumbs = [_thumb(index, start + i, times[i]) for i in order]
    where = "" if row["lon"] is None or row["lat"] is None else _degrees(row["lon"], row["lat"])
    return Card(row["key"], row["label"], row["split"], where, count, thumbs)


def _thumb(index: Index, row: int, time: Any) -> Thumb:
    import cv2

    try:
        pixels = _rgb(index, np.asarray(decode(index.table["member"][row].as_py(), index.read(row))))
    except ImageError as error:
        return Thumb(b"", str(error))
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    how = cv2.INTER_AREA if side > _THUMB_PX else cv2.INTER_CUBIC
    small = np.asarray(cv2.resize(square, (_THUMB_PX, _THUMB_PX), interpolation=how), np.uint8)
    return Thumb(encode_jpeg(small, 82), "" if time is None else time.strftime("%Y-%m-%d"))


def _rgb(index: Index, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Red, green and blue, or the first band as grey; other depths stretched from the 2 % to the 98 % quantile."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    names = [band.name for band in index.info.bands]
    if {"red", "green", "blue"} <= set(names) and pixels.shape[2] == len(names):
        bands = [names.index(name) for name in ("red", "green", "blue")]
    else:
        bands = [0, 1, 2] if pixels.shape[2] >= 3 else [0, 0, 0]
    shown = pixels[..., bands]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    low, high = np.percentile(shown, (2, 98), axis=(0, 1))
    scaled = (shown - low) / np.maximum(high - low, 1e-9) * 255
    out: NDArray[np.uint8] = scaled.clip(0, 255).astype(np.uint8)
    return out


def _degrees(lon: float, lat: float) -> str:
    return f"{abs(lat):.2f}° {'S' if lat < 0 else 'N'}, {abs(lon):.2f}° {'W' if lon < 0 else 'E'}"
