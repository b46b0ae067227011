"""Known sets of masks: where their files lie as released, what their values mean, their facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MaskKind = Literal["mask", "geojson", "coco"]
SegmentationName = Literal[
    "loveda",
    "floodnet",
    "floodnet-flooded",
    "spacenet-buildings",
    "crowdai",
    "harvey-buildings",
    "harvey-flooded",
]

_ASK = "not stated with the archive; see its page"
_FLOODNET = (
    "{split}/{split}-org-img/{id}.jpg", "{split}/{split}-label-img/{id}_lab.png",
    "https://github.com/BinaLab/FloodNet-Supervised_v1.0", "2,343 images of 3,000 x 4,000 px",
)  # fmt: skip
_HARVEY = (
    "https://doi.org/10.1609/aaai.v33i01.3301702", "930 tiles of about 2,000 px; the archive is no longer served",
)  # fmt: skip


@dataclass(frozen=True)
class SegmentationSet:
    """Facts of one archive."""

    images: str
    masks: str
    url: str
    size: str
    classes: tuple[str, ...]
    licence: str = _ASK
    masks_are: MaskKind = "mask"
    values: str = ""
    scale_masks: bool = False
    gsd_m: float | None = None


SEGMENTATION: dict[str, SegmentationSet] = {
    "loveda": SegmentationSet(
        "{split}/{area}/images_png/{id}.png", "{split}/{area}/masks_png/{id}.png",
        "https://github.com/Junjue-Wang/LoveDA", "5,987 images of 1,024 px, 7 classes",
        ("background", "building", "road", "water", "barren", "forest", "agricultural"),
        "CC BY-NC-SA 4.0", values="0:ignore,1:0,2:1,3:2,4:3,5:4,6:5,7:6", gsd_m=0.3,
    ),
    "floodnet": SegmentationSet(
        *_FLOODNET,
        ("background", "building-flooded", "building-non-flooded", "road-flooded", "road-non-flooded", "water",
         "tree", "vehicle", "pool", "grass"),
        "CDLA Permissive 1.0", gsd_m=0.015,
    ),
    "floodnet-flooded": SegmentationSet(
        *_FLOODNET, ("background", "flooded"), "CDLA Permissive 1.0", values="1:1,3:1,*:0", gsd_m=0.015
    ),
    "spacenet-buildings": SegmentationSet(
        "3band/3band_{id}.tif", "geojson/Geo_{id}.geojson",
        "https://spacenet.ai/spacenet-buildings-dataset-v1/", "6,940 images of 439 x 406 px, buildings of Rio",
        ("background", "building"), "CC BY-SA 4.0", "geojson", gsd_m=0.5,
    ),
    "crowdai": SegmentationSet(
        "{split}/images/{file}", "{split}/annotation.json", "https://www.aicrowd.com/challenges/mapping-challenge",
        "280,741 train and 60,317 val images of 300 px", ("background", "building"), masks_are="coco",
    ),
    "harvey-buildings": SegmentationSet(
        "{region}/{id}/vhr.tif", "{region}/{id}/buildings1m.tif", *_HARVEY, ("background", "building"),
        values="0:0,*:1", scale_masks=True, gsd_m=0.5,
    ),
    "harvey-flooded": SegmentationSet(
        "{region}/{id}/vhr.tif", "{region}/{id}/flooded1m.tif", *_HARVEY, ("background", "flooded"),
        values="0:0,*:1", scale_masks=True, gsd_m=0.5,
    ),
}  # fmt: skip
