"""Days without clouds, and one-band TIFFs: what the archives of satellite patches need of the planet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rsdata.sandbox.world import Grid, World


def clearest(world: World, grid: Grid, dates: Sequence[datetime]) -> datetime:
    """The date with the fewest clouds over a grid; the first of equals."""
    step = max(1, max(grid.width, grid.height) // 8)
    coarse = Grid(
        grid.crs,
        grid.x0,
        grid.y0,
        grid.res * step,
        max(1, grid.width // step),
        max(1, grid.height // step),
    )
    return min(dates, key=lambda date: (float(world.cloud(coarse, date).mean()), date))


def every(days: float, start: datetime, count: int) -> list[datetime]:
    """Dates at equal steps."""
    return [start + timedelta(days=days * number) for number in range(count)]


def write_tif(path: Path, pixels: NDArray[Any], crs: str, transform: Sequence[float], **options: Any) -> None:
    """A GeoTIFF of one band [H, W]; `transform` is a, b, c, d, e, f."""
    import rasterio
    from affine import Affine

    height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=pixels.dtype.name,
        crs=crs,
        transform=Affine(*transform),
        **options,
    ) as file:
        file.write(pixels, 1)
