"""The real client of Earth Engine at the embedded planet, and what tests ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ee

from rsdata.sandbox.serve import sandbox

ROME = (12.49, 41.9)
S2 = "COPERNICUS/S2_SR_HARMONIZED"


def connect(url: str, retries: int = 0) -> None:
    ee.Reset()
    ee.deprecation.deprecated_assets = {"-": None}
    ee.Initialize(credentials=None, url=url, project="local-test")
    ee.data.setMaxRetries(retries)


@contextmanager
def connected(retries: int = 0, **options: Any) -> Iterator[str]:
    """A planet that the client talks to while the block runs; gives its base URL."""
    with sandbox(**options) as base:
        connect(base, retries)
        yield base
        ee.Reset()


def june(lon: float = ROME[0], lat: float = ROME[1], collection: str = S2, year: int = 2020) -> Any:
    return (
        ee.ImageCollection(collection)
        .filterDate(f"{year}-06-01", f"{year}-06-16")
        .filterBounds(ee.Geometry.Point([lon, lat]))
    )


def grid(transform: list[float], column: int, row: int, side: int, crs: str) -> dict[str, Any]:
    a, _, c, _, e, f = transform
    return {
        "dimensions": {"width": side, "height": side},
        "affineTransform": {
            "scaleX": a,
            "shearX": 0,
            "translateX": c + column * a,
            "shearY": 0,
            "scaleY": e,
            "translateY": f + row * e,
        },
        "crsCode": crs,
    }
