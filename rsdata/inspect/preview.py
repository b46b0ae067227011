"""`rsdata preview`: one self-contained page that shows what lies in a set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.inspect.info import SetFacts, facts_of
from rsdata.inspect.targets import Targets, class_counts, draw, is_dense, targets_of
from rsdata.inspect.views import colours, stretched
from shards.codec import ImageError, encode_jpeg
from shards.index import Index
from shards.random import address, stream
from shards.store import Store

_SHEET = stream("preview/sheet")
_VIEWS = 8
_THUMB_PX = 168
_DENSE_PX = 336
"""Where boxes or masks are drawn: small objects must be seen."""
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
    found: str = ""
    """What its targets say: `12 ship, 3 airplane`."""


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
    dense: bool
    """Boxes or masks are drawn over the views."""
    seasons: bool
    """Every place on the sheet has the same number of views, two to eight: a row is a place, a column a season."""


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
    cards = [_card(index, int(row), int(count[row])) for row in chosen]
    views = {card.views for card in cards}
    return Preview(
        facts=facts_of(index),
        cards=cards,
        classes=class_counts(index),
        months=dict(sorted(months.items())),
        lon=lon[there],
        lat=lat[there],
        dot_labels=label[there].tolist(),
        dense=is_dense(index),
        seasons=len(views) == 1 and 2 <= min(views) <= _VIEWS and label.max(initial=-1) < 0,
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
    size = _DENSE_PX if is_dense(index) else _THUMB_PX
    targets = targets_of(index, start) if index.info.targets else None
    images = [_small(index, start + i, size) for i in order]
    seen = iter(stretched([image for image in images if not isinstance(image, str)]))
    thumbs = []
    for image, i in zip(images, order, strict=True):
        if isinstance(image, str):
            thumbs.append(Thumb(b"", image))
            continue
        shown = next(seen)
        if targets is not None:
            shown = _overlaid(index, start + i, shown, targets)
        thumbs.append(Thumb(encode_jpeg(shown, 82), _date(times[i])))
    where = "" if row["lon"] is None or row["lat"] is None else _degrees(row["lon"], row["lat"])
    found = targets.said if targets is not None else ""
    return Card(row["key"], row["label"], row["split"], where, count, thumbs, found)


def _small(index: Index, row: int, size: int) -> NDArray[Any] | str:
    """The middle square of a view at the size of the sheet, or why it is not there."""
    import cv2

    try:
        pixels = colours(index, row)
    except ImageError as error:
        return str(error)
    left, top, side = _middle(*pixels.shape[:2])
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (size, size), interpolation=how))


def _overlaid(index: Index, row: int, shown: NDArray[np.uint8], targets: Targets) -> NDArray[np.uint8]:
    height, width = (index.table[name][row].as_py() for name in ("height", "width"))
    left, top, side = _middle(height, width)
    return draw(shown, targets, left=left, top=top, side=side, height=height, width=width)


def _middle(height: int, width: int) -> tuple[int, int, int]:
    """Left, top and side of the middle square."""
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side


def _date(time: Any) -> str:
    return "" if time is None else str(time.strftime("%Y-%m-%d"))


def _degrees(lon: float, lat: float) -> str:
    return f"{abs(lat):.2f}° {'S' if lat < 0 else 'N'}, {abs(lon):.2f}° {'W' if lon < 0 else 'E'}"
