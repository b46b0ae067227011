"""Members beside the pixels, and the sample of one image with a label."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsdata.sources.base import Fetched, Item
from shards.sample import Sample, View

if TYPE_CHECKING:
    from rsdata.images import Image


def json_member(facts: dict[str, Any]) -> bytes:
    """Facts of a sample, the same bytes for the same facts; NaN is refused because JSON has none."""
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def image_sample(
    item: Item,
    image: Image,
    *,
    licence: str,
    extra: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
    source: str | None = None,
    lon: float | None = None,
    lat: float | None = None,
    gsd_m: float | None = None,
) -> Fetched:
    """One image, with the label where the item has one.

    Args:
        item: of the plan.
        image: as it is stored.
        licence: of the image.
        extra: the source's own columns, which the JSON has, too.
        more: what the JSON has besides.
        source: where the image came from; None is the item's first file.
        lon: degrees east.
        lat: degrees north.
        gsd_m: metres a pixel.
    """
    view = View(
        member=image.ending,
        width=image.width,
        height=image.height,
        label=item.label,
        split=item.split,
        lon=lon,
        lat=lat,
        gsd_m=gsd_m,
        source=item.urls[0] if source is None else source,
        licence=licence,
        extra=extra,
    )
    facts = {"id": item.id, "label": item.label, "split": item.split, **extra, **(more or {})}
    members = {image.ending: image.data, "json": json_member(facts)}
    if item.label is not None:
        members["cls"] = str(item.label).encode()
    notes = {image.note: 1} if image.note else {}
    return Fetched(Sample(item.key, members, (view,)), image.histogram(), notes=notes)
