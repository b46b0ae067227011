"""A SpaceNet 7 tree of the embedded planet: the folders, names and rasters of the release, so the real source reads it unchanged.

Areas are tiles of Web Mercator (zoom 13) on the ground where the real ones lie. Images are 8-bit RGBA GeoTIFFs of 1024 px
with LZW, monthly; clouds are painted in `images` and cut out of `images_masked`, as `UDM_masks` say. An image is a pure
function of (seed, area, month).
"""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world import Grid, Scene, World
from shards.random import stream, uniform

if TYPE_CHECKING:
    from collections.abc import Iterable

SIDE = 1024
TRAIN = (
    "L15-0331E-1257N_1327_3160_13",
    "L15-0544E-1228N_2176_3279_13",
    "L15-1438E-1134N_5753_3655_13",
    "L15-1481E-1119N_5927_3715_13",
    "L15-1203E-1203N_4815_3378_13",
    "L15-0924E-1108N_3699_3757_13",
)
TEST = ("L15-1203E-1203N_4815_3379_13", "L15-1049E-1370N_4196_2712_13")
"""The first touches a training area, as in the release."""
PUBLISHED = "spacenet/SN7_buildings/tarballs"
"""Prefix of the archives in the bucket `spacenet-dataset`."""
_MASKS = stream("sandbox sn7 clouds")
_EDGE_M = math.pi * 6_378_137
_OPAQUE = 0.6
"""A pixel with more cloud than this is masked."""
_SHORT, _BROKEN = 1, 2
"""Areas whose second image has 1,023 rows; whose last one is cut off."""


@dataclass
class Sn7Facts:
    """What was written."""

    images: dict[str, int] = field(default_factory=dict)
    """Part -> images."""
    months: tuple[str, ...] = ()
    short: str = ""
    """The image of 1,023 rows; paths are relative to the root, of `images` where there are two."""
    broken: str = ""
    """The truncated image."""
    black: tuple[str, ...] = ()
    """Images of which patch 0 is masked out."""


def write_sn7_tree(
    root: Path | str,
    *,
    train: Sequence[str] = TRAIN,
    test: Sequence[str] = TEST,
    months: int = 3,
    seed: int = 0,
    detail: int = 2,
    traps: bool = True,
) -> Sn7Facts:
    """Write a tree into a folder that is there or not.

    Args:
        root: gets train/ and test_public/.
        train: names of the training areas.
        test: names of the public test areas.
        months: images an area, from 2018-01 on.
        seed: of the planet.
        detail: side of a rendered pixel in pixels of the image; larger is faster, and compresses better.
        traps: an image of 1,023 rows, a truncated one, label files without buildings, and a stray file.
    """
    root = Path(root)
    firsts = [datetime(2018 + n // 12, n % 12 + 1, 1, 10, 30, tzinfo=UTC) for n in range(months)]
    facts = Sn7Facts(months=tuple(f"{first:%Y-%m}" for first in firsts))
    for part, names in (("train", train), ("test_public", test)):
        for number, name in enumerate(names):
            scene = World(seed).scene(tile_grid(name, detail))
            for n, date in enumerate(firsts):
                stem = f"global_monthly_{date:%Y_%m}_mosaic_{name}"
                short = traps and part == "train" and number == _SHORT % len(names) and n == 1
                broken = traps and part == "train" and number == _BROKEN % len(names) and n == months - 1
                shot = _shoot(scene, date, seed, name, n, clouded=(number + n) % 2 == 0)
                for path, data in _files(part, name, stem, shot, 1023 if short else SIDE, n, traps=traps):
                    target = root / part / name / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    cut = broken and path.startswith("images/")
                    target.write_bytes(data[: len(data) // 2] if cut else data)
                image = f"{part}/{name}/{'images' if part == 'train' else 'images_masked'}/{stem}.tif"
                facts.images[part] = facts.images.get(part, 0) + 1
                facts.short = image if short else facts.short
                facts.broken = image if broken else facts.broken
                if shot.clouds is not None and shot.clouds[:256, :256].all():
                    facts.black += (f"{part}/{name}/images_masked/{stem}.tif",)
    if traps and train:
        (root / "train" / train[0] / "images" / "readme.txt").write_text("not an image\n", encoding="utf-8")
    return facts


def write_sn7_archives(folder: Path, seed: int) -> None:
    """The two archives of the release, small."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rsdata-sn7-") as name:
        write_sn7_tree(name, seed=seed, detail=8)
        for part, archive in (("train", "train"), ("test_public", "test_public")):
            data = _tar(Path(name), part)
            (folder / f"SN7_buildings_{archive}.tar.gz").write_bytes(data)


@dataclass(frozen=True)
class _Shot:
    pixels: NDArray[np.uint8]
    """RGB [1024, 1024, 3], without clouds."""
    clouds: NDArray[np.bool_] | None
    """Where they are; None in a month without."""
    grid: Grid
    """Of the pixels."""
    roofs: Sequence[tuple[int, int, int, int]]
    """Left, top, width, height in pixels."""


def tile_grid(name: str, detail: int) -> Grid:
    """The tile that an area is, in pixels of `detail` pixels of its images."""
    _, x, y, _ = name.rsplit("_", 3)
    tile = 2 * _EDGE_M / 2**13
    res = tile / SIDE * detail
    return Grid(
        "EPSG:3857", int(x) * tile - _EDGE_M, _EDGE_M - int(y) * tile, res, SIDE // detail, SIDE // detail
    )


def _shoot(scene: Scene, date: datetime, seed: int, name: str, number: int, *, clouded: bool) -> _Shot:
    import cv2

    detail = SIDE // scene.grid.width
    date = _clearest(scene, date)
    pixels = cv2.resize(scene.rgb(date, number), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    opacity = cv2.resize(scene.world.cloud(scene.grid, date), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    clouds = opacity > _OPAQUE
    if clouded:
        clouds[:300, :300] = True
        for x, y, r in uniform(seed, _MASKS, stream(name), number, count=12).reshape(4, 3):
            disc = np.zeros((SIDE, SIDE), np.uint8)
            cv2.circle(disc, (int(x * SIDE), int(y * SIDE)), int(20 + 60 * r), 1, -1)
            clouds |= disc.astype(np.bool_)
    built = (scene.landcover() == 9).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(built, connectivity=4)
    roofs = [(x * detail, y * detail, w * detail, h * detail) for x, y, w, h, _ in stats[1:21].tolist()]
    grid = Grid(scene.grid.crs, scene.grid.x0, scene.grid.y0, scene.grid.res / detail, SIDE, SIDE)
    return _Shot(np.asarray(pixels, np.uint8), clouds if clouds.any() else None, grid, roofs)


def _clearest(scene: Scene, first: datetime) -> datetime:
    """The day with the least cloud of some of a month: a mosaic is made of the clearest."""
    grid = scene.grid
    coarse = Grid(grid.crs, grid.x0, grid.y0, grid.res * grid.width / 16, 16, 16)
    days = [first + timedelta(days=day) for day in range(0, 28, 3)]
    return min(days, key=lambda day: float(scene.world.cloud(coarse, day).mean()))


def _files(
    part: str, name: str, stem: str, shot: _Shot, rows: int, number: int, *, traps: bool
) -> Iterable[tuple[str, bytes]]:
    """Path below the area and bytes of everything that belongs to one month."""
    clouds = shot.clouds if shot.clouds is not None else np.zeros((SIDE, SIDE), np.bool_)
    seen = np.where(clouds[..., None], np.uint8(245), shot.pixels)
    full = np.full((SIDE, SIDE, 1), 255, np.uint8)
    masked = np.where(clouds[..., None], np.uint8(0), np.concatenate([shot.pixels, full], axis=2))
    data = _tiff(masked[:rows], shot.grid)
    yield f"images_masked/{stem}.tif", data
    if part != "train":
        return
    if shot.clouds is not None:
        data = _tiff(np.concatenate([seen, full], axis=2)[:rows], shot.grid)
    yield f"images/{stem}.tif", data
    if shot.clouds is not None:
        yield f"UDM_masks/{stem}_UDM.tif", _tiff((clouds * np.uint8(255))[:rows, :, None], shot.grid)
    empty = traps and number == 0
    rings = [] if empty else [_ring(shot.grid, roof) for roof in shot.roofs]
    yield f"labels/{stem}_Buildings.geojson", _geojson(rings)
    yield f"labels/{stem}_UDM.geojson", _geojson([])


def _tiff(pixels: NDArray[np.uint8], grid: Grid) -> bytes:
    from rasterio.io import MemoryFile
    from rasterio.transform import Affine

    height, width, bands = pixels.shape
    shape: dict[str, Any] = {"width": width, "height": height, "count": bands, "dtype": "uint8"}
    place = {"crs": grid.crs, "transform": Affine(grid.res, 0, grid.x0, 0, -grid.res, grid.y0)}
    kind = {"photometric": "RGB", "alpha": "YES"} if bands == 4 else {}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", compress="lzw", interleave="pixel", **shape, **place, **kind
        ) as file:
            file.write(pixels.transpose(2, 0, 1))
        return bytes(memory.read())


def _ring(grid: Grid, roof: tuple[int, int, int, int]) -> list[list[float]]:
    left, top, width, height = roof
    corners = [
        (left, top),
        (left + width, top),
        (left + width, top + height),
        (left, top + height),
        (left, top),
    ]
    points = (grid.lonlat(column, row) for column, row in corners)
    return [[round(float(lon), 9), round(float(lat), 9)] for lon, lat in points]


def _geojson(rings: Sequence[list[list[float]]]) -> bytes:
    features = [
        {"type": "Feature", "properties": {"Id": n}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for n, ring in enumerate(rings)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _tar(root: Path, part: str) -> bytes:
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted((root / part).rglob("*")):
            info = tarfile.TarInfo(path.relative_to(root).as_posix())
            if path.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size = path.stat().st_size
                with path.open("rb") as file:
                    tar.addfile(info, file)
    return out.getvalue()
