"""Known archives that are plain image folders: their facts as published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PresetName = Literal[
    "eurosat",
    "eurosat-ms",
    "resisc45",
    "ucmerced",
    "aid",
    "airound",
    "mlrsnet",
    "whu-rs19",
    "optimal-31",
    "cv-brct",
]
_ASK = "not stated with the archive; see its page"


@dataclass(frozen=True)
class Preset:
    """Facts of one archive."""

    classes: int
    images: int
    pixels: str
    gsd: str
    url: str
    licence: str = _ASK
    gsd_m: float | None = None
    """Metres a pixel where all images share one."""


PRESETS: dict[str, Preset] = {
    "eurosat": Preset(10, 27_000, "64 x 64", "10 m", "https://github.com/phelber/EuroSAT", "MIT", 10.0),
    "eurosat-ms": Preset(
        10, 27_000, "64 x 64, 13 bands", "10 m", "https://github.com/phelber/EuroSAT", "MIT", 10.0
    ),
    "resisc45": Preset(45, 31_500, "256 x 256", "0.2-30 m", "https://doi.org/10.1109/JPROC.2017.2675998"),
    "ucmerced": Preset(
        21, 2_100, "256 x 256", "0.3 m", "http://weegee.vision.ucmerced.edu/datasets/landuse.html",
        "public domain (USGS)", 0.3048,
    ),
    "aid": Preset(30, 10_000, "600 x 600", "0.5-8 m", "https://captain-whu.github.io/AID/"),
    "airound": Preset(11, 1_165, "500 x 500", "varies", "https://doi.org/10.1109/JSTARS.2020.3033424"),
    "mlrsnet": Preset(46, 109_161, "256 x 256", "0.1-10 m", "https://doi.org/10.17632/7j9bv9vwsx"),
    "whu-rs19": Preset(19, 1_005, "600 x 600", "to 0.5 m", "https://captain-whu.github.io/BED4RS/"),
    "optimal-31": Preset(31, 1_860, "256 x 256", "varies", "https://doi.org/10.1109/TGRS.2018.2864987"),
    "cv-brct": Preset(9, 24_000, "500 x 500", "varies", "https://doi.org/10.1109/JSTARS.2020.3033424"),
}  # fmt: skip
