"""fMoW metadata files to rows of a list: files a second a core, warm cache.

    python benchmarks/fmow_json.py [--files 20000] [--rounds 3]

The tree is made in a temporary folder: JSON files of 2.4 KB with the fields of the release, five views a place. The
other readings are what a script would do: `json` and shapely for the same row, and pandas.json_normalize.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from rsdata.curate.configs import FmowCsvConfig
from rsdata.curate.fmow_csv import read_split
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


def build(root: Path, files: int) -> list[Path]:
    paths = []
    for number in range(files):
        place, view = divmod(number, _VIEWS)
        folder = root / "train" / "airport" / f"airport_{place}"
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"airport_{place}_{view}_rgb"
        stem.with_suffix(".jpg").touch()
        stem.with_suffix(".json").write_text(json.dumps(metadata(number), indent=1))
        paths.append(stem.with_suffix(".json"))
    return paths


def plain(paths: list[Path]) -> list[tuple[Any, ...]]:
    import shapely

    rows = []
    for path in paths:
        facts = json.loads(path.read_bytes())
        centre = shapely.from_wkt(facts["bounding_boxes"][0]["raw_location"]).centroid
        rows.append((str(path), facts["timestamp"], centre.x, centre.y, facts["gsd"], facts["utm"]))
    return rows


def pandas_normalise(paths: list[Path]) -> object:
    import pandas as pd

    return pd.concat([pd.json_normalize(json.loads(path.read_bytes())) for path in paths])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = build(root, args.files)
        best = {"ours": 0.0, "json_shapely": 0.0, "pandas": 0.0}
        for _ in range(args.rounds):
            start = time.perf_counter()
            rows, lost = read_split(root, "train", FmowCsvConfig(), crops=False)
            best["ours"] = max(best["ours"], len(rows) / (time.perf_counter() - start))
            assert len(rows) == args.files
            assert not lost
            start = time.perf_counter()
            plain(paths)
            best["json_shapely"] = max(best["json_shapely"], len(paths) / (time.perf_counter() - start))
            few = paths[:500]
            start = time.perf_counter()
            pandas_normalise(few)
            best["pandas"] = max(best["pandas"], len(few) / (time.perf_counter() - start))
        size = paths[0].stat().st_size
    print(
        json.dumps(
            {"files": args.files, "bytes": size, "files_per_s": {k: round(v) for k, v in best.items()}}
        )
    )


if __name__ == "__main__":
    main()
