"""Twelve Sentinel-2 bands of a patch as bytes: Blosc2 against a GeoTIFF per band and npy, interleaved.

python benchmarks/payload.py [--repeats 15] [--rounds 3]: prints one JSON object. Pixels are ../shared/data/s2-seasonal
(every band on the 10 m grid, 101 x 100) and BigEarthNet patches (120/60/20 px) where they are, and terrain of the embedded
planet (264/132/44 px). Sizes are shares of the raw pixels, times microseconds of one core for a view of all bands.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import rasterio
import rasterio.errors
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from shards.raster import decode_raster, encode_raster

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = {10: ["02", "03", "04", "08"], 20: ["05", "06", "07", "8A", "11", "12"], 60: ["01", "09"]}
View = list[NDArray[np.uint16]]
"""Arrays [C, H, W], finest first."""
Codec = tuple[Callable[[View], list[bytes]], Callable[[list[bytes]], list[NDArray[Any]]]]


def geotiff(view: View) -> list[bytes]:
    """What existing scripts write: a file a band, deflate after a predictor."""
    out = []
    for band in (band for array in view for band in array):
        height, width = band.shape
        shape = {"height": height, "width": width, "count": 1, "dtype": band.dtype}
        with MemoryFile() as file:
            with file.open(driver="GTiff", compress="deflate", predictor=2, **shape) as tif:
                tif.write(band, 1)
            out.append(bytes(file.read()))
    return out


def read_geotiff(data: list[bytes]) -> list[NDArray[Any]]:
    out = []
    for part in data:
        with MemoryFile(part) as file, file.open() as tif:
            out.append(tif.read(1))
    return out


def npy(view: View) -> list[bytes]:
    out = []
    for array in view:
        file = io.BytesIO()
        np.save(file, array)
        out.append(file.getvalue())
    return out


def blosc(codec: blosc2.Codec) -> Callable[[View], list[bytes]]:
    """The layout of `shards/raster.py` with another codec."""
    cparams = {
        "codec": codec,
        "clevel": 1,
        "filters": [blosc2.Filter.BITSHUFFLE],
        "nthreads": 1,
        "typesize": 2,
    }

    def encode(view: View) -> list[bytes]:
        frames = (
            blosc2.asarray(
                array,
                chunks=(1, *array.shape[1:]),
                blocks=(1, *array.shape[1:]),
                cparams=cparams,
                contiguous=True,
            )
            for array in view
        )
        return [bytes(frame.to_cframe()) for frame in frames]

    return encode


CODECS: dict[str, Codec] = {
    "ours": (lambda view: [encode_raster(a) for a in view], lambda data: [decode_raster(d) for d in data]),
    "blosc2 zstd-1 bitshuffle": (blosc(blosc2.Codec.ZSTD), lambda data: [decode_raster(d) for d in data]),
    "blosc2 lz4-1 bitshuffle": (blosc(blosc2.Codec.LZ4), lambda data: [decode_raster(d) for d in data]),
    "GeoTIFF per band, deflate": (geotiff, read_geotiff),
    "npy": (npy, lambda data: [np.load(io.BytesIO(d)) for d in data]),
}


def seasonal() -> list[View]:
    """The five dates of ../shared/data/s2-seasonal."""
    folders = sorted((SHARED / "s2-seasonal" / "000000").glob("*"))
    names = [name.lstrip("0") for group in NAMES.values() for name in group]
    return [[np.stack([_band(folder / f"B{name}.tif") for name in names])] for folder in folders]


def bigearthnet() -> list[View]:
    """Patches at their native resolutions."""
    folders = sorted((SHARED / "bigearthnet-tiny" / "s2-tiny").glob("*"))
    return [
        [np.stack([_band(f / f"{f.name}_B{name}.tif") for name in group]) for group in NAMES.values()]
        for f in folders
    ]


def planet() -> list[View]:
    """Scenes of the embedded planet, 2640 m."""
    from rsdata.sandbox.scenes import scenes_at, stack

    out = []
    for lon, lat in ((9.1, 45.5), (-63.6, -10.3), (31.2, 30.1), (-93.6, 42.0)):
        start = 1_590_000_000_000
        scene = min(
            scenes_at("s2-l2a", lon, lat, start, start + 60 * 86_400_000),
            key=lambda s: (s.cloud_percent, s.id),
        )
        import pyproj

        east, north = pyproj.Transformer.from_crs(4326, scene.epsg, always_xy=True).transform(lon, lat)
        left, top = east // 60 * 60 - 1320, north // 60 * 60 + 1320
        view = []
        for gsd, names in NAMES.items():
            side = 2640 // gsd
            bands = [f"B{name.lstrip('0')}" for name in names]
            values, _ = stack(scene, bands, (gsd, 0, left, 0, -gsd, top), side, side)
            view.append(np.stack([np.asarray(plane, np.uint16) for plane in values]))
        out.append(view)
    return out


def _band(path: Path) -> NDArray[np.uint16]:
    with rasterio.open(path) as file:
        out: NDArray[np.uint16] = file.read(1)
        return out


def measure(views: list[View], repeats: int, rounds: int) -> dict[str, Any]:
    """Size and times of each codec over all views; the codecs take turns."""
    raw = sum(array.nbytes for view in views for array in view)
    stored = {name: [encode(view) for view in views] for name, (encode, _) in CODECS.items()}
    times: dict[str, dict[str, list[float]]] = {name: {"encode": [], "decode": []} for name in CODECS}
    for _ in range(rounds):
        for name, (encode, decode) in CODECS.items():
            _timed(times[name]["encode"], encode, views, max(1, repeats // 5))
            _timed(times[name]["decode"], decode, stored[name], repeats)
    out: dict[str, Any] = {}
    for name, parts in stored.items():
        took = {what: round(statistics.median(seconds) * 1e6) for what, seconds in times[name].items()}
        size = sum(len(part) for view in parts for part in view) / raw
        out[name] = {"size": round(size, 3), "encode_us": took["encode"], "decode_us": took["decode"]}
    faster = out["GeoTIFF per band, deflate"]["decode_us"] / out["ours"]["decode_us"]
    return {"raw_bytes_a_view": raw // len(views), "codecs": out, "decode_over_geotiff": round(faster, 1)}


def _timed(into: list[float], work: Callable[[Any], Any], inputs: list[Any], repeats: int) -> None:
    for value in inputs:
        start = time.perf_counter()
        for _ in range(repeats):
            work(value)
        into.append((time.perf_counter() - start) / repeats)


def main() -> None:
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    sources = {"s2-seasonal": seasonal, "bigearthnet": bigearthnet, "planet": planet}
    result = {}
    for name, source in sources.items():
        if views := source():
            for encode, decode in CODECS.values():  # what is read is what was written
                flat = [band for array in views[0] for band in array]
                back = [
                    band for part in decode(encode(views[0])) for band in (part if part.ndim == 3 else [part])
                ]
                assert all(np.array_equal(a, b) for a, b in zip(flat, back, strict=True))
            result[name] = measure(views, given.repeats, given.rounds)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
