"""One dated view of a place: its pixels, its frame on the ground, its metadata as fMoW writes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.sites import Site
from rsdata.sandbox.world import Grid, Scene, World
from rsdata.sandbox.world.grid import EARTH_RADIUS_M, utm_label
from rsdata.sandbox.world.sky import Moment, sun
from shards.random import uniform

_SATELLITES = ("GEOEYE01", "QUICKBIRD02", "WORLDVIEW02", "WORLDVIEW03_VNIR")


@dataclass(frozen=True)
class View:
    """A frame cut out of a scene and resampled."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    grid: Grid
    """Of the whole scene."""
    left: int
    """Of the frame, pixels of the scene."""
    top: int
    frame: tuple[int, int]
    """Width and height of the frame in pixels of the scene."""
    time: datetime
    cloud_percent: int
    draws: tuple[float, ...]

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[0])

    @property
    def gsd_m(self) -> float:
        """Metres a pixel."""
        return self.grid.res_m * self.frame[0] / self.width

    def pixel(self, lon: float, lat: float) -> tuple[float, float]:
        """Column and row of a point in the view, fractional."""
        column, row = self.grid.pixel(lon, lat)
        return (
            float(column - self.left) * self.width / self.frame[0],
            float(row - self.top) * self.height / self.frame[1],
        )

    def lonlat(self, column: float, row: float) -> tuple[float, float]:
        """Degrees of a place in the view."""
        lon, lat = self.grid.lonlat(
            self.left + column * self.frame[0] / self.width, self.top + row * self.frame[1] / self.height
        )
        return float(lon), float(lat)


def shoot(world: World, scene: Scene, site: Site, time: datetime, size_px: int, key: tuple[int, ...]) -> View:
    """A view of a site: a frame that holds it with some context, at a resolution near that of the scene.

    Args:
        world: the planet.
        scene: wide enough for any frame; the site in its middle.
        site: what the view is of.
        time: date of the view.
        size_px: mean side of a picture.
        key: address of the frame, the sensor and the platform.
    """
    import cv2

    draw = uniform(*key, 2, count=12)
    columns, rows = zip(*(scene.grid.pixel(lon, lat) for lon, lat in site.corners()), strict=True)
    frame, start = [], []
    for axis, low, high in ((0, min(columns), max(columns)), (1, min(rows), max(rows))):
        whole = (scene.grid.width, scene.grid.height)[axis]
        room = int(np.ceil(float(high) - float(low))) + 4
        side = int(np.clip(size_px * (0.8 + 0.45 * draw[axis]), room, whole))
        # Any position that keeps the box inside the frame and the frame inside the scene.
        first = max(0, int(np.ceil(float(high))) + 2 - side)
        last = min(whole - side, int(np.floor(float(low))) - 2)
        middle = (first + last) / 2
        place = middle + (draw[2 + axis] - 0.5) * 0.8 * max(last - first, 0)
        frame.append(side)
        start.append(int(np.clip(round(place), 0, whole - side)))
    pixels = scene.rgb(time, acquisition=int(draw[4] * 1000))
    pixels = pixels[start[1] : start[1] + frame[1], start[0] : start[0] + frame[0]]
    scale = 0.85 + 0.3 * draw[5]
    size = (max(16, round(frame[0] * scale)), max(16, round(frame[1] * scale)))
    pixels = cv2.resize(
        np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    if draw[6] < 0.2:  # a poor focus, or a turbulent day
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.5 + 0.5 * draw[7])
    cover = float(world.cloud(_coarse(scene.grid, start, frame), time).mean())
    pixels = np.asarray(pixels, np.uint8)
    return View(
        pixels,
        scene.grid,
        start[0],
        start[1],
        (frame[0], frame[1]),
        time,
        round(100 * cover),
        tuple(draw.tolist()),
    )


def _coarse(grid: Grid, start: list[int], frame: list[int]) -> Grid:
    """The frame in about 8 by 8 pixels."""
    step = max(1, max(frame) // 8)
    x0, y0 = grid.x0 + start[0] * grid.res, grid.y0 - start[1] * grid.res
    return Grid(grid.crs, x0, y0, grid.res * step, max(1, frame[0] // step), max(1, frame[1] // step))


def metadata(view: View, site: Site, stem: str, country: str, box_id: int) -> dict[str, Any]:
    """The JSON object beside a picture, with the keys of the release.

    The first box carries the polygon and ID -1, a second one the ID of the challenge, as in the released files.
    """
    corners = [view.pixel(lon, lat) for lon, lat in site.corners()]
    left, right = min(c[0] for c in corners), max(c[0] for c in corners)
    top, bottom = min(c[1] for c in corners), max(c[1] for c in corners)
    box = [round(left), round(top), max(3, round(right) - round(left)), max(3, round(bottom) - round(top))]
    epsg = view.grid.crs.removeprefix("EPSG:")
    elevation, azimuth = sun(np.array([site.lat], np.float32), Moment.of(view.time).day)
    draw = view.draws
    off_nadir = 28 * draw[8]
    degree_m = np.radians(EARTH_RADIUS_M)
    facts: dict[str, Any] = {
        "gsd": view.gsd_m,
        "img_filename": f"{stem}.tif",
        "img_width": view.width,
        "img_height": view.height,
        "mean_pixel_height": view.gsd_m / degree_m,
        "mean_pixel_width": view.gsd_m / degree_m / float(np.cos(np.radians(site.lat))),
        "utm": utm_label(site.lon, site.lat),
        "country_code": country,
        "cloud_cover": view.cloud_percent,
        "timestamp": view.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "scan_direction": "Forward" if draw[9] < 0.5 else "Reverse",
        "approximate_wavelengths": [661, 545, 477],
        "catalog_id": f"{int(draw[10] * 16**8):08X}{box_id:08X}",
        "sensor_platform_name": _SATELLITES[int(draw[11] * len(_SATELLITES))],
        "epsg": epsg,
        "spatial_reference": f"EPSG:{epsg}",
        "pan_resolution_dbl": view.gsd_m,
        "multi_resolution_dbl": view.gsd_m * 4,
        "target_azimuth_dbl": 360 * draw[9],
        "sun_azimuth_dbl": float(np.degrees(azimuth[0])) % 360,
        "sun_elevation_dbl": float(np.degrees(elevation[0])),
        "off_nadir_angle_dbl": off_nadir,
        "raw_location": _wkt(view, 0, 0, view.width, view.height),
    }
    shared = {"box": box, "category": site.function}
    facts["bounding_boxes"] = [
        {
            "ID": -1,
            **shared,
            "crowd_rank": round(0.5 + 0.5 * draw[7], 6),
            "epsg": epsg,
            "raw_category": site.function.replace("_", " ").title(),
            "raw_location": _wkt(view, left, top, right, bottom),
            "spatial_reference": f"EPSG:{epsg}",
        },
        {"ID": box_id, **shared, "visible": "True"},
    ]
    return facts


def _wkt(view: View, left: float, top: float, right: float, bottom: float) -> str:
    """A rectangle of pixels as WKT in lon lat order, closed."""
    ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    points = (view.lonlat(column, row) for column, row in ring)
    return "POLYGON ((" + ", ".join(f"{lon:.10f} {lat:.10f}" for lon, lat in points) + "))"
