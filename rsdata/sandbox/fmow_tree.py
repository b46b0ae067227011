"""An fMoW tree of the embedded planet: the official folders, names and metadata, so the real source reads it unchanged.

Layout and fields: `<split>/<class>/<class>_<location>/<class>_<location>_<t>_rgb.{jpg,json}` as released with Christie et
al. 2018 (Functional Map of the World). A place is a pure function of (seed, its number); the bytes do not depend on the
number of workers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rsdata.land import is_land
from rsdata.sandbox.fmow_view import View, metadata, shoot
from rsdata.sandbox.sites import FUNCTIONS, Site
from rsdata.sandbox.world import World
from rsdata.sandbox.world.cities import cities
from rsdata.sandbox.world.grid import EARTH_RADIUS_M, Grid
from shards.errors import ConfigError
from shards.random import address, choice, stream, uniform

_PLACE, _CELL, _VIEW = stream("sandbox fmow place"), stream("sandbox fmow cell"), stream("sandbox fmow view")
_CITIES = 2500
"""Places lie round the largest cities, which leave no continent out."""
_BATCH = 8
"""Places a worker takes at a time."""
_FIRST = datetime(2002, 1, 1, tzinfo=UTC)
_DAYS = 5840  # to the end of 2017, as in fMoW


@dataclass(frozen=True)
class FmowTree:
    """What to write; checked before anything is."""

    root: Path
    places: int
    classes: tuple[str, ...]
    seed: int = 0
    val_fraction: float = 0.3
    size_px: int = 112
    """Mean side of a picture."""
    max_views: int = 8
    cell_deg: float = 5.0
    """Train and val never share a cell of this size."""
    traps: bool = False


@dataclass
class TreeFacts:
    """What was written."""

    root: Path
    classes: tuple[str, ...]
    places: int = 0
    views: int = 0
    traps: dict[str, str] = field(default_factory=dict)
    """Kind of damage -> the file or folder that has it, relative to the root."""


def write_fmow_tree(
    root: Path | str,
    *,
    places: int,
    classes: int | Sequence[str] = 8,
    seed: int = 0,
    val_fraction: float = 0.3,
    size_px: int = 112,
    max_views: int = 8,
    cell_deg: float = 5.0,
    traps: bool = False,
    workers: int = 1,
) -> TreeFacts:
    """Write a tree; it carries its name only when it is whole.

    Args:
        root: folder to make.
        places: how many, over all classes and both splits.
        classes: how many of FUNCTIONS, or which.
        seed: of the planet and of the places.
        val_fraction: share of the places in `val`.
        size_px: mean side of a picture, pixels.
        max_views: most dated views of one place; about one place in seven has a single view.
        cell_deg: side of the cells that keep train and val apart, degrees.
        traps: add what real trees have and readers fall over: msrgb twins, several boxes, a bare object for a list of
            boxes, a missing JSON, a broken WKT.
        workers: processes.

    Raises:
        ConfigError: a value that cannot be, or a root that holds something.
    """
    root = Path(root)
    names = tuple(FUNCTIONS)[:classes] if isinstance(classes, int) else tuple(classes)
    plan = FmowTree(root, places, names, seed, val_fraction, size_px, max_views, cell_deg, traps)
    _check(plan, classes, workers)
    part = root.with_name(root.name + ".part")
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    facts = TreeFacts(root, tuple(sorted(names)), places)
    for views, trapped in _each_batch(plan, part, workers):
        facts.views += views
        facts.traps |= trapped
    if root.exists():
        root.rmdir()  # checked to be empty
    part.replace(root)
    return facts


def _check(plan: FmowTree, classes: int | Sequence[str], workers: int) -> None:
    unknown = [name for name in plan.classes if name not in FUNCTIONS]
    if unknown:
        raise ConfigError(f"classes: {', '.join(unknown)} not known; known: {', '.join(FUNCTIONS)}")
    if not plan.classes or (isinstance(classes, int) and classes > len(FUNCTIONS)):
        raise ConfigError(f"classes: found {classes}, expected 1 to {len(FUNCTIONS)}")
    if len(set(plan.classes)) < len(plan.classes):
        raise ConfigError(f"classes: a name stands twice in {', '.join(plan.classes)}")
    if plan.places < len(plan.classes):
        raise ConfigError(f"places: found {plan.places}, expected at least one a class ({len(plan.classes)})")
    if not 0 <= plan.val_fraction < 1:
        raise ConfigError(f"val_fraction: found {plan.val_fraction}, expected 0 to below 1")
    if plan.size_px < 32 or plan.max_views < 1 or workers < 1 or not 0.5 <= plan.cell_deg <= 45:
        raise ConfigError(
            f"expected size_px of 32 or more, max_views and workers of 1 or more, cell_deg of 0.5 to 45; found "
            f"{plan.size_px}, {plan.max_views}, {workers}, {plan.cell_deg}"
        )
    if plan.root.exists() and (not plan.root.is_dir() or any(plan.root.iterdir())):
        raise ConfigError(f"{plan.root}: holds something already; name a new folder or empty this one")


def _each_batch(plan: FmowTree, part: Path, workers: int) -> Iterator[tuple[int, dict[str, str]]]:
    batches = [range(start, min(start + _BATCH, plan.places)) for start in range(0, plan.places, _BATCH)]
    if workers == 1 or len(batches) == 1:
        for batch in batches:
            yield _write_batch(plan, part, batch)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # spawn: a fork of a process that has started threads (torch, OpenCV) may hang.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_batch, [plan] * len(batches), [part] * len(batches), batches)


def _write_batch(plan: FmowTree, part: Path, numbers: range) -> tuple[int, dict[str, str]]:
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        views = 0
        trapped: dict[str, str] = {}
        for number in numbers:
            count, found = _write_place(plan, part, number)
            views += count
            trapped |= found
        return views, trapped
    finally:
        cv2.setNumThreads(threads)


@dataclass(frozen=True)
class Place:
    """A site with its split and its number among those of its class there."""

    split: str
    location: int
    site: Site
    country: str


def place_of(plan: FmowTree, number: int) -> Place:
    """The place with a number: class by turns, split by its turn, and a spot near a city in a cell of that split."""
    kinds = len(plan.classes)
    function, turn = plan.classes[number % kinds], number // kinds
    total = (plan.places - number % kinds + kinds - 1) // kinds
    held_out = round(plan.val_fraction * total)
    split, location = ("train", turn) if turn < total - held_out else ("val", turn - (total - held_out))
    known = cities()
    for attempt in range(10_000):
        key = (plan.seed, _PLACE, number, attempt)
        city = int(choice(min(_CITIES, len(known.name)), *key))
        draw = uniform(*key, 1, count=3)
        away = known.radius_m[city] * (0.2 + 2.4 * draw[0]) + 8_000 * draw[1] ** 2
        lat = known.lat[city] + np.degrees(away * np.sin(2 * np.pi * draw[2]) / EARTH_RADIUS_M)
        east = np.degrees(away * np.cos(2 * np.pi * draw[2]) / EARTH_RADIUS_M) / np.cos(np.radians(lat))
        lon = float((known.lon[city] + east + 180) % 360 - 180)
        # 179.9° leaves room for the whole picture on one side of the antimeridian, where WKT is plain.
        if abs(lat) > 70 or abs(lon) > 179.9 or not bool(is_land(lon, lat)):
            continue
        if (split == "val") == _is_val(plan, lon, float(lat)):
            site = Site(function, lon, float(lat), int(address(plan.seed, _PLACE, number, -1)) >> 1)
            return Place(split, location, site, known.country[city])
    raise ConfigError(f"no ground is left for {split}: val_fraction={plan.val_fraction} leaves too few cells")


def _is_val(plan: FmowTree, lon: float, lat: float) -> bool:
    row, column = int((lat + 90) // plan.cell_deg), int((lon + 180) // plan.cell_deg)
    # The share of cells follows the share of places, within bounds that leave both some ground.
    share = 0.0 if plan.val_fraction == 0 else float(np.clip(plan.val_fraction, 0.1, 0.9))
    return float(uniform(plan.seed, _CELL, row, column, count=1)[0]) < share


@lru_cache(maxsize=2)
def _world(seed: int) -> World:
    return World(seed)


def _write_place(plan: FmowTree, part: Path, number: int) -> tuple[int, dict[str, str]]:
    place = place_of(plan, number)
    site, world = place.site, _world(plan.seed)
    name = f"{site.function}_{place.location}"
    folder = Path(place.split, site.function, name)
    (part / folder).mkdir(parents=True, exist_ok=True)
    draw = uniform(plan.seed, _VIEW, number, count=4)
    count = 1 if draw[0] < 0.15 else min(plan.max_views, 2 + int(draw[1] * (plan.max_views - 1)))
    trap = _TRAPS[number] if plan.traps and number < len(_TRAPS) else ""
    # One scene serves all views: it is wide enough for the most generous frame.
    share = 0.5 + 0.35 * draw[2]
    corners = np.array([(east, north) for east, north in site.corners()])
    reach_m = max(np.ptp(corners[:, 1]), np.ptp(corners[:, 0]) * np.cos(np.radians(site.lat)))
    reach_m *= np.pi / 180 * EARTH_RADIUS_M
    gsd_m = float(reach_m / share / plan.size_px)
    scene = world.scene(Grid.around(site.lon, site.lat, gsd_m, round(plan.size_px * 1.5)), [site])
    t = 0
    trapped: dict[str, str] = {}
    for index in range(count):
        key = (plan.seed, _VIEW, number, index)
        step = float(uniform(*key, 0, count=1)[0])
        t += 0 if index == 0 else 1 if step < 0.85 else 2 if step < 0.95 else 3
        view = shoot(world, scene, site, _date(world, scene.grid, key), plan.size_px, key)
        facts: dict[str, Any] | None = metadata(
            view, site, f"{name}_{t}_rgb", place.country, number * 100 + index
        )
        stem = folder / f"{name}_{t}_rgb"
        (part / stem).with_suffix(".jpg").write_bytes(_jpeg(view))
        if index == 0 and trap and facts is not None:
            facts = _spoil(trap, facts)
            trapped[trap] = str(stem.with_suffix(".json"))
        if facts is not None:
            text = json.dumps(facts, indent=1)
            (part / stem).with_suffix(".json").write_text(text, encoding="utf-8")
            if plan.traps:
                _write_twin(part / folder / f"{name}_{t}_msrgb", view, facts)
    return count, trapped


def _date(world: World, grid: Grid, key: tuple[int, ...]) -> datetime:
    """The least cloudy of three dates."""
    small = Grid(grid.crs, grid.x0, grid.y0, grid.res * grid.width / 8, 8, 8)
    best, least = _FIRST, 2.0
    for attempt in range(3):
        draw = uniform(*key, 1, attempt, count=2)
        time = _FIRST + timedelta(days=int(draw[0] * _DAYS), seconds=int((9.5 + 2.5 * draw[1]) * 3600))
        cloud = float(world.cloud(small, time).mean())
        if cloud < 0.25:
            return time
        if cloud < least:
            best, least = time, cloud
    return best


def _jpeg(view: View, side: float = 1.0) -> bytes:
    import cv2

    image = view.pixels[:, :, ::-1]
    if side != 1.0:
        image = cv2.resize(image, None, fx=side, fy=side, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(image), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done
    return data.tobytes()


_TRAPS = ("several_boxes", "bare_object", "missing_json", "malformed_wkt")


def _spoil(trap: str, facts: dict[str, Any]) -> dict[str, Any] | None:
    boxes = facts["bounding_boxes"]
    assert isinstance(boxes, list)
    first = dict(boxes[0])
    if trap == "several_boxes":
        x, y, w, h = first["box"]
        extra = first | {"ID": boxes[1]["ID"] + 1, "box": [x, y, max(w // 2, 3), max(h // 2, 3)]}
        return facts | {"bounding_boxes": [*boxes, extra]}
    if trap == "bare_object":
        return facts | {"bounding_boxes": first}
    if trap == "malformed_wkt":
        broken = "POLYGON ((8.58 47.44, 8.58"
        return facts | {"raw_location": broken, "bounding_boxes": [first | {"raw_location": broken}]}
    return None


def _write_twin(stem: Path, view: View, facts: dict[str, Any]) -> None:
    """The multispectral twin: a quarter of the linear size."""
    stem.with_suffix(".jpg").write_bytes(_jpeg(view, 0.25))
    side = {"img_width": max(1, round(view.width / 4)), "img_height": max(1, round(view.height / 4))}
    twin = facts | side | {"gsd": view.gsd_m * 4, "img_filename": f"{stem.name}.tif"}
    boxes = facts["bounding_boxes"]
    listed = boxes if isinstance(boxes, list) else [boxes]
    quarter = [entry | {"box": [value // 4 for value in entry["box"]]} for entry in listed]
    twin["bounding_boxes"] = quarter if isinstance(boxes, list) else quarter[0]
    stem.with_suffix(".json").write_text(json.dumps(twin, indent=1), encoding="utf-8")
