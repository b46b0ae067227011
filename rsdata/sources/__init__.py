"""Every source. A new one is one file and one name in `AnySource`."""

from __future__ import annotations

import typing
from typing import Annotated, Any

from pydantic import Field

from rsdata.sources.base import Source
from rsdata.sources.bigearthnet import BigEarthNet
from rsdata.sources.change import Change
from rsdata.sources.detection import Detection
from rsdata.sources.detection_presets import DETECTION
from rsdata.sources.fmow import FMoW
from rsdata.sources.geoimagenet import GeoImageNet
from rsdata.sources.imagefolder import ImageFolder
from rsdata.sources.imagenet import ImageNet
from rsdata.sources.millionaid import MillionAID
from rsdata.sources.oscd import OSCD
from rsdata.sources.presets import PRESETS
from rsdata.sources.seco import SSL4EO, SeCo
from rsdata.sources.segmentation import Segmentation
from rsdata.sources.segmentation_presets import SEGMENTATION
from rsdata.sources.sn7 import SN7
from rsdata.sources.url import Url
from shards.errors import ConfigError

AnySource = Annotated[
    ImageFolder
    | FMoW
    | SN7
    | SeCo
    | SSL4EO
    | GeoImageNet
    | ImageNet
    | MillionAID
    | BigEarthNet
    | OSCD
    | Change
    | Url
    | Detection
    | Segmentation,
    Field(discriminator="kind"),
]


def kinds() -> dict[str, type[Source]]:
    """Name of each source -> its config."""
    union = typing.get_args(typing.get_args(AnySource)[0])
    return {typing.get_args(source.model_fields["kind"].annotation)[0]: source for source in union}


def source_of(values: dict[str, Any], where: str = "options") -> Source:
    """The source that a stored config names.

    Raises:
        ConfigError: no such kind, or options that it does not take.
    """
    known = kinds()
    kind = values.get("kind")
    if kind not in known:
        raise ConfigError(f"{where}: kind: {kind!r} is no source; known: {', '.join(known)}")
    return known[kind].build(where, **values)


def table() -> list[dict[str, Any]]:
    """What `rsdata sources` prints: one row a source, then one a preset of `imagefolder`."""
    rows = [
        {
            "source": name,
            "is": source.title,
            "licence": source.licence,
            "credentials": source.access,
            "typical_size": source.typical_size,
            "url": source.url,
        }
        for name, source in kinds().items()
    ]
    for name, preset in PRESETS.items():
        rows.append(
            {
                "source": f"imagefolder --preset {name}",
                "is": f"{preset.classes} classes, {preset.pixels} px, {preset.gsd} a pixel",
                "licence": preset.licence,
                "credentials": "none",
                "typical_size": f"{preset.images:,} images",
                "url": preset.url,
            }
        )
    for source, presets in (("detection", DETECTION), ("segmentation", SEGMENTATION)):
        rows += [
            {
                "source": f"{source} --preset {name}",
                "is": f"{len(known.classes) or 60} classes",
                "licence": known.licence,
                "credentials": "none",
                "typical_size": known.size,
                "url": known.url,
            }
            for name, known in presets.items()
        ]
    return rows


__all__ = ["AnySource", "Source", "kinds", "source_of", "table"]
