"""Known sets of boxes: where their files lie as released, their classes, their facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["coco", "voc", "dota", "xview"]
DetectionName = Literal["dior", "dota", "dota-1.5", "dota-2", "xview", "crowdai"]

_ASK = "not stated with the archive; see its page"
_DOTA = (
    "plane", "baseball-diamond", "bridge", "ground-track-field", "small-vehicle", "large-vehicle", "ship",
    "tennis-court", "basketball-court", "storage-tank", "soccer-ball-field", "roundabout", "harbor",
    "swimming-pool", "helicopter",
)  # fmt: skip


@dataclass(frozen=True)
class DetectionSet:
    """Facts of one archive."""

    format: Format
    images: str
    annotations: str
    url: str
    size: str
    licence: str = _ASK
    lists: str = ""
    """Lists of the splits."""
    classes: tuple[str, ...] = ()
    """Empty: as the annotations have them."""
    gsd_m: float | None = None
    tile_px: int | None = None
    overlap_px: int = 0


def _dota(classes: tuple[str, ...]) -> DetectionSet:
    return DetectionSet(
        "dota", "{split}/images/{id}.png", "{split}/labelTxt/{id}.txt",
        "https://captain-whu.github.io/DOTA/", "2,806 images of 800 to 4,000 px, 188,282 boxes (v1.0)",
        "academic use only", classes=classes, tile_px=800, overlap_px=160,
    )  # fmt: skip


DETECTION: dict[str, DetectionSet] = {
    "dior": DetectionSet(
        "voc", "JPEGImages-*/{id}.jpg", "Annotations/Horizontal Bounding Boxes/{id}.xml",
        "https://gcheng-nwpu.github.io/#Datasets", "23,463 images of 800 px, 192,472 boxes, 20 classes",
        lists="ImageSets/Main/{split}.txt",
        classes=(
            "ship", "overpass", "tenniscourt", "stadium", "vehicle", "airplane", "storagetank", "dam", "golffield",
            "trainstation", "Expressway-Service-area", "groundtrackfield", "Expressway-toll-station", "windmill",
            "airport", "harbor", "baseballfield", "basketballcourt", "bridge", "chimney",
        ),
    ),
    "dota": _dota(_DOTA),
    "dota-1.5": _dota((*_DOTA, "container-crane")),
    "dota-2": _dota((*_DOTA, "container-crane", "airport", "helipad")),
    "xview": DetectionSet(
        "xview", "train_images/{file}", "xView_train.geojson", "https://xviewdataset.org",
        "846 images of about 3,000 px, 601,937 boxes, 60 classes", "CC BY-NC-SA 4.0", gsd_m=0.3, tile_px=416,
    ),
    "crowdai": DetectionSet(
        "coco", "{split}/images/{file}", "{split}/annotation.json",
        "https://www.aicrowd.com/challenges/mapping-challenge",
        "280,741 train and 60,317 val images of 300 px, buildings with outlines",
        classes=("building",),
    ),
}  # fmt: skip
