"""fMoW metadata files to rows of a list: files a second a core, warm cache; and the three lists of the whole set.

    python benchmarks/fmow_json.py [--files 20000] [--rounds 3]
    python benchmarks/fmow_json.py --files 1047691 --rounds 0 --workers 2 --folder /dev/shm

The tree is made in a temporary folder: JSON files of 2.6 KB with the fields of the release, five views a place, seven
places of eight in train. The other readings are what a script would do: `json` alone, `json` and shapely for the same
row, and pandas.json_normalize. A core's rate is by its processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsdata.curate.configs import FmowCsvConfig
from rsdata.curate.fmow_csv import TEST, TRAIN, fmow_csv, read_split
from shards.random import uniform

_VIEWS = 5
_ANGLES = (
    "target_azimuth",
    "sun_azimuth",
    "sun_elevation",
    "off_nadir_angle",
    "pan_resolution",
    "multi_resolution",
)


def metadata(number: int) -> dict[str, Any]:
    lon, lat = uniform(number // _VIEWS, count=2) * (340, 140) - (170, 70)

    def footprint(half: float) -> str:
        ring = [(-half, half), (half, half), (half, -half), (-half, -half), (-half, half)]
        return "POLYGON ((" + ", ".join(f"{lon + x:.16f} {lat + y:.16f}" for x, y in ring) + "))"

    facts: dict[str, Any] = {
        "gsd": 0.468074887991,
        "img_filename": f"airport_{number}_0_rgb.tif",
        "img_width": 977,
        "img_height": 663,
        "utm": "32T",
        "country_code": "CHE",
        "cloud_cover": 0,
        "timestamp": "2012-04-02T10:32:22Z",
        "scan_direction": "Reverse",
        "approximate_wavelengths": [661, 545, 477],
        "catalog_id": "105041000048BE00",
        "sensor_platform_name": "GEOEYE01",
        "epsg": "4326",
        "spatial_reference": "GCS_WGS_1984",
    }
    facts |= {f"{a}{b}_dbl": 31.2082061768 for a in _ANGLES for b in ("", "_start", "_end", "_min", "_max")}
    box = {"ID": -1, "box": [466, 299, 72, 60], "category": "airport", "raw_location": footprint(2e-4)}
    return facts | {"raw_location": footprint(2e-3), "bounding_boxes": [box, box | {"ID": 47768}]}


def build(root: Path, files: int) -> list[str]:
    """The tree; its images are links to one empty file."""
    image = root / "image"
    image.touch()
    paths = []
    for place in range(-(-files // _VIEWS)):
        split, class_name = "val" if place % 8 == 7 else "train", f"class_{place % 62:02d}"
        if place < 8 * 62:
            (root / split / class_name).mkdir(parents=True, exist_ok=True)
        folder = f"{root}/{split}/{class_name}/{class_name}_{place}"
        Path(folder).mkdir()
        text = json.dumps(metadata(place * _VIEWS), indent=1)
        for view in range(min(_VIEWS, files - place * _VIEWS)):
            stem = f"{folder}/{class_name}_{place}_{view}_rgb"
            try:
                os.link(image, stem + ".jpg")
            except OSError:  # too many links to one file
                image.unlink()
                image.touch()
                os.link(image, stem + ".jpg")
            Path(stem + ".json").write_text(text, encoding="utf-8")
            paths.append(stem + ".json")
    image.unlink()
    return paths


def json_alone(paths: list[str]) -> None:
    for path in paths:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - twice as fast
            json.loads(file.read())


def plain(paths: list[str]) -> list[tuple[Any, ...]]:
    import shapely

    rows = []
    for path in paths:
        facts = json.loads(Path(path).read_bytes())
        centre = shapely.from_wkt(facts["bounding_boxes"][0]["raw_location"]).centroid
        rows.append((path, facts["timestamp"], centre.x, centre.y, facts["gsd"], facts["utm"]))
    return rows


def pandas_normalise(paths: list[str]) -> object:
    import pandas as pd

    return pd.concat([pd.json_normalize(json.loads(Path(path).read_bytes())) for path in paths])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="processes that make the lists")
    parser.add_argument("--folder", type=Path, help="where the tree is made (default: the temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder) / "tree"
        root.mkdir()
        paths = build(root, args.files)
        few = paths[:500]
        readings: dict[str, tuple[Callable[[], object], int]] = {
            "ours": (lambda: ours(root, args.files), args.files),
            "json_alone": (lambda: json_alone(paths), args.files),
            "json_shapely": (lambda: plain(paths), args.files),
            "pandas": (lambda: pandas_normalise(few), len(few)),
        }
        best = {
            name: round(count / min(seconds(reading) for _ in range(args.rounds)))
            for name, (reading, count) in readings.items()
            if args.rounds
        }
        before, start = os.times(), time.perf_counter()
        report = fmow_csv(root, Path(folder) / "lists", FmowCsvConfig(workers=args.workers))
        whole, after = time.perf_counter() - start, os.times()
        size = Path(paths[0]).stat().st_size
    assert report.rows[TRAIN] + report.rows[TEST] == args.files, report
    lists = {
        "workers": args.workers,
        "seconds": round(whole, 1),
        "processor_s": round(after.user + after.system - before.user - before.system, 1),
        "processor_s_of_workers": round(
            after.children_user + after.children_system - before.children_user - before.children_system, 1
        ),
    }
    print(json.dumps({"files": args.files, "bytes": size, "files_per_s_a_core": best, "three_lists": lists}))


def ours(root: Path, files: int) -> None:
    found = [read_split(root, split, FmowCsvConfig(), crops=False) for split in ("train", "val")]
    assert sum(len(rows) for rows, _ in found) == files
    assert not any(lost for _, lost in found)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
