"""An image of SpaceNet 7 to 16 PNG patches: one reading and libdeflate against windowed readings and Pillow, interleaved.

    python benchmarks/patching.py [--rounds 5]

Images are 1,024 px, RGBA, LZW: of the embedded planet as it is, with its sensor's grain, and as a lens blurs it (1 px). `notebooks` is what the city study does: Pillow decodes the file anew for
each patch. `windows` reads 16 windows with rasterio. Both write with Pillow's default PNG; all results are lossless, which
is checked. Rates are images a second of one core, by its processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import io
import json
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import rasterio
import rasterio.errors
import rasterio.windows
from numpy.typing import NDArray
from PIL import Image
from rasterio.io import MemoryFile

from rsdata.curate.sn7_pixels import PATCHES, TILE, read_picture
from rsdata.sandbox.sn7_tree import TRAIN, tile_grid
from rsdata.sandbox.world import World
from shards.png import encode_png


def geotiff(rgb: NDArray[np.uint8]) -> bytes:
    height, width = rgb.shape[:2]
    shape = {"height": height, "width": width, "count": 4, "dtype": "uint8"}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", compress="lzw", interleave="pixel", **shape) as file:
            file.write(np.concatenate([rgb.transpose(2, 0, 1), np.full((1, height, width), 255, np.uint8)]))
        return bytes(memory.read())


def pillow_png(patch: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(patch).save(out, "PNG")
    return out.getvalue()


def opencv_png(patch: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", np.ascontiguousarray(patch[..., ::-1]))[1])


def notebooks(data: bytes) -> list[bytes]:
    out = []
    for k in range(PATCHES):
        row, column = divmod(k, 4)
        rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        out.append(pillow_png(rgb[TILE * row : TILE * (row + 1), TILE * column : TILE * (column + 1)]))
    return out


def windows(data: bytes) -> list[bytes]:
    out = []
    for k in range(PATCHES):
        row, column = divmod(k, 4)
        with MemoryFile(data) as memory, memory.open() as file:
            window = rasterio.windows.Window(TILE * column, TILE * row, TILE, TILE)
            out.append(
                pillow_png(np.ascontiguousarray(file.read([1, 2, 3], window=window).transpose(1, 2, 0)))
            )
    return out


def once(encode: Callable[[NDArray[np.uint8]], bytes]) -> Callable[[bytes], list[bytes]]:
    def run(data: bytes) -> list[bytes]:
        picture = read_picture(data)
        return [encode(picture.patch(k)) for k in range(PATCHES)]

    return run


WAYS: dict[str, Callable[[bytes], list[bytes]]] = {
    "notebooks": notebooks,
    "windows": windows,
    "one reading, Pillow": once(lambda patch: pillow_png(np.ascontiguousarray(patch))),
    "one reading, OpenCV": once(opencv_png),
    "ours": once(encode_png),
    "one reading, nothing written": once(lambda patch: patch.tobytes()),
}


def images() -> dict[str, NDArray[np.uint8]]:
    scene = World(0).scene(tile_grid(TRAIN[0], 1))
    planet = scene.rgb(datetime(2018, 5, 15, 10, 30, tzinfo=UTC))
    return {"planet": planet, "planet, blurred": np.asarray(cv2.GaussianBlur(planet, (0, 0), 1.0), np.uint8)}


def measure(rgb: NDArray[np.uint8], rounds: int) -> dict[str, Any]:
    data = geotiff(rgb)
    best = dict.fromkeys(WAYS, float("inf"))
    sizes = {}
    for _ in range(rounds):
        for name, way in WAYS.items():
            start = time.process_time()
            patches = way(data)
            best[name] = min(best[name], time.process_time() - start)
            sizes[name] = sum(map(len, patches)) / rgb.size
    for k, patch in enumerate(once(encode_png)(data)):
        row, column = divmod(k, 4)
        decoded = np.asarray(Image.open(io.BytesIO(patch)))
        if not np.array_equal(
            decoded, rgb[TILE * row : TILE * (row + 1), TILE * column : TILE * (column + 1)]
        ):
            raise SystemExit(f"patch {k} is not lossless")
    rates = {name: round(1 / seconds, 1) for name, seconds in best.items()}
    return {
        "images_per_s": rates,
        "share_of_raw": {name: round(size, 3) for name, size in sizes.items()},
        "times_windows": round(best["windows"] / best["ours"], 1),
        "times_notebooks": round(best["notebooks"] / best["ours"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    cv2.setNumThreads(1)
    print(json.dumps({name: measure(rgb, rounds) for name, rgb in images().items()}, indent=1))


if __name__ == "__main__":
    main()
