"""Speed of the embedded planet on one core: RGB views a second, scenes with several dates, an fMoW tree. Prints JSON."""

from __future__ import annotations

import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2

from rsdata.sandbox.fmow_tree import write_fmow_tree
from rsdata.sandbox.world import Grid, World

PLACES = [
    (8.54, 47.37),
    (-93.6, 42.2),
    (31.2, 30.05),
    (-60.0, -3.1),
    (77.2, 28.6),
    (139.7, 35.7),
    (148.6, -32.2),
    (10.0, 25.0),
]
WHEN = datetime(2021, 7, 3, 10, 30, tzinfo=UTC)


def views_per_second(world: World, res_m: float, side_px: int = 256, rounds: int = 3) -> dict[str, float]:
    """Fresh ground for every view; wall time, and CPU time where other processes disturb."""
    grids = [
        Grid.around(lon + 0.03 * k, lat + 0.02 * k, res_m, side_px)
        for k in range(1, rounds + 1)
        for lon, lat in PLACES
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    for grid in grids:
        world.rgb(grid, WHEN)
    return {
        "views_per_s": round(len(grids) / (time.perf_counter() - wall), 1),
        "views_per_cpu_s": round(len(grids) / (time.process_time() - cpu), 1),
    }


def dates_per_second(world: World, dates: int = 12) -> float:
    """More dates of one scene of 256 by 256 pixels at 1 m, per CPU second."""
    scene = world.scene(Grid.around(8.54, 47.37, 1.0, 256))
    start = time.process_time()
    for month in range(1, dates + 1):
        scene.rgb(datetime(2021, month, 3, tzinfo=UTC))
    return round(dates / (time.process_time() - start), 1)


def main() -> None:
    cv2.setNumThreads(1)
    world = World(0)
    start = time.perf_counter()
    world.rgb(Grid.around(0, 50, 10, 64), WHEN)
    result: dict[str, object] = {"first_view_s": round(time.perf_counter() - start, 2)}
    for res_m in (1.0, 3.0, 10.0, 60.0):
        result[f"rgb256_{res_m:g}m"] = views_per_second(world, res_m)
    result["dates_of_a_scene_per_cpu_s"] = dates_per_second(world)
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        facts = write_fmow_tree(Path(folder) / "fmow", places=32)
        result["fmow_tree"] = {
            "views": facts.views,
            "views_per_s": round(facts.views / (time.perf_counter() - wall), 1),
            "views_per_cpu_s": round(facts.views / (time.process_time() - cpu), 1),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
