"""DOTA's text, a file an image (captain-whu.github.io/DOTA): four corners, class and difficulty on a line."""

from __future__ import annotations

from pathlib import Path

from rsdata.annotations.found import Annotated, Found
from rsdata.annotations.rings import extent
from shards.targets import Box


def read(paths: dict[str, Path]) -> Found:
    """One image for each file; a file with a line that is of no use is an image with an `error`.

    Args:
        paths: files by the name of their image.
    """
    found = Found()
    seen: dict[str, int] = {}
    for name, path in paths.items():
        try:
            found.images.append(_image(name, path, seen))
        except (OSError, ValueError) as error:
            found.images.append(Annotated(name, error=f"{path.name}: {error}"))
    found.classes = list(seen)
    return found


def _image(name: str, path: Path, seen: dict[str, int]) -> Annotated:
    gsd: float | None = None
    boxes = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip() or line.startswith("imagesource:"):
            continue
        if line.startswith("gsd:"):
            value = line.removeprefix("gsd:").strip()
            gsd = None if value in ("null", "None", "") else float(value)
            continue
        parts = line.split()
        if len(parts) not in (9, 10):
            raise ValueError(
                f"line {number} has {len(parts)} parts, expected 8 numbers, a class and a difficulty"
            )
        x0, y0, x1, y1, x2, y2, x3, y3 = (float(part) for part in parts[:8])
        ring = ((x0, y0), (x1, y1), (x2, y2), (x3, y3))
        label = seen.setdefault(parts[8], len(seen))
        difficult = len(parts) == 10 and parts[9] != "0"
        boxes.append(Box(label, *extent([ring]), difficult=difficult, rings=(ring,)))
    return Annotated(name, tuple(boxes), gsd_m=gsd)
