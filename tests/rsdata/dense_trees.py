"""Small sets of boxes and masks rendered from the planet once a process, and what a built set holds."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from image_trees import digests

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sources.base import Source
from shards.index import Index
from shards.targets import Box, sample_members
from shards.verify import verify

SIDE = 128


@lru_cache(maxsize=1)
def _home() -> Any:
    import tempfile

    return tempfile.TemporaryDirectory(prefix="dense-trees-")


@lru_cache(maxsize=8)
def tree(name: str, places: int = 4, side: int = SIDE) -> tuple[Path, tuple[Any, ...]]:
    """A tree that no test changes, and the pictures it was written from."""
    from rsdata.sandbox import detection_tree, segmentation_tree

    writer = getattr(detection_tree, f"write_{name}_tree", None) or getattr(
        segmentation_tree, f"write_{name}_tree"
    )
    folder = Path(_home().name) / f"{name}-{places}-{side}"
    folder.mkdir()
    return folder, writer(folder, places=places, side=side)


def built(source: Source, out: Path, *, workers: int = 0) -> Index:
    """Planned, built and verified."""
    make_plan(source, out)
    report = build(out, workers=workers)
    assert report.finished
    assert verify(out).ok
    return Index.open(out)


def members(index: Index) -> dict[str, dict[str, bytes]]:
    """Members of each sample by the path of its image and, of a tile, its corner."""
    out = {}
    for row in range(len(index)):
        image, left, top = (index.table[name][row].as_py() for name in ("image", "left", "top"))
        whole = json.loads(sample_members(index, row)["json"])["window"] is None
        out[image if whole else f"{image}@{left},{top}"] = dict(sample_members(index, row))
    return out


def same(one: Path, other: Path) -> bool:
    """Two builds of one archive, wherever it lay: the plan alone says where."""
    found, expected = digests(one), digests(other)
    assert found.pop("plan.parquet") and expected.pop("plan.parquet")
    return found == expected


def corners(boxes: list[Box]) -> set[tuple[int, float, float, float, float]]:
    return {(b.label, b.left, b.top, b.right, b.bottom) for b in boxes}


def lit(rings: Any, side: int) -> np.ndarray:
    """Pixels whose centre lies in a ring, by counting crossings: an oracle apart from the code under test."""
    y, x = np.mgrid[0:side, 0:side] + 0.5
    inside = np.zeros((side, side), bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, (*ring[1:], ring[0]), strict=True):
            crosses = (y0 > y) != (y1 > y)
            with np.errstate(divide="ignore", invalid="ignore"):
                inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def off_edges(ring: Any, side: int) -> np.ndarray:
    """Pixels whose centre lies on no edge of a ring, nor on the line through one."""
    y, x = np.mgrid[0:side, 0:side] + 0.5
    off = np.ones((side, side), bool)
    for (x0, y0), (x1, y1) in zip(ring, (*ring[1:], ring[0]), strict=True):
        length = np.hypot(x1 - x0, y1 - y0) or 1.0
        off &= abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / length > 1e-6
    return off
