"""Archives by URL and digest whose places have several seasons: the published zips of SeCo (Mañas et al. 2021)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from rsdata.sensors import SENSORS
from rsdata.sources.base import Fetched, FetchError, Item, Listing, Lost
from rsdata.sources.rooted import Rooted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shards.dataset import Member
    from shards.sample import View

_SENSOR = SENSORS["s2-l2a"]
_ZENODO = "https://zenodo.org/records/4728033/files"
PRESETS = {
    "seco-100k": (f"{_ZENODO}/seco_100k.zip?download=1", "md5:ebf2d5e03adc6e657f9a69a20ad863e0"),
    "seco-1m": (f"{_ZENODO}/seco_1m.zip?download=1", "md5:187963d852d4d3ce6637743ec3a4bd9e"),
}
"""URL and digest as published (zenodo.org/records/4728033)."""


class Url(Rooted):
    """Seasons of places as the downloader of SeCo stores them, `<place>/<scene>/B1.tif` …: members as of `seco`, 8 bits."""

    kind: Literal["url"] = "url"
    root: str = Field(
        "", description="URL of an archive, an archive, or its folder (default: where --preset has it)"
    )
    preset: Literal["seco-100k", "seco-1m"] | None = Field(
        None, description="a published archive: its URL (unless --root is given) and its digest"
    )

    title: ClassVar[str] = (
        "published SeCo archives (20,000 or 200,000 places, five seasons), or what is laid out so"
    )
    url: ClassVar[str] = "https://zenodo.org/records/4728033"
    licence: ClassVar[str] = _SENSOR.licence
    typical_size: ClassVar[str] = "7.3 GB (seco-100k), 36.3 GB (seco-1m)"
    extra_columns: ClassVar[dict[str, str]] = {
        "scene": "string",
        "crs": "string",
        "transform": "string",
        "cloud_percent": "float64",
    }

    @model_validator(mode="before")
    @classmethod
    def _lay_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if values.get("preset") in PRESETS:
            url, digest = PRESETS[values["preset"]]
            return {"root": url, "checksum": digest, **values}
        if not values.get("root"):
            raise ValueError(f"root: give --root, or --preset with one of {', '.join(PRESETS)}")
        return values

    def set_name(self) -> str:
        """Name of the set: that of the preset, if there is one."""
        return self.name or self.preset or "seasons"

    def set_members(self) -> list[Member]:
        """A member for each resolution, as `seco` has them, of 8 bits."""
        from rsdata.bands import members_of

        unit = {"unit": "reflectance x 255"}
        return [
            member.model_copy(
                update={"dtype": "uint8", "bands": [b.model_copy(update=unit) for b in member.bands]}
            )
            for member in members_of(_SENSOR)
        ]

    def shard_size(self) -> int | None:
        """As many places as make about 256 MB, at five seasons of 300 kB."""
        return self.samples_per_shard or 170

    def listing(self) -> Listing:
        """Places and their scenes, by the names of folders.

        Raises:
            ConfigError: there are none.
        """
        from rsdata.curate.season_folders import find_places

        at, places = find_places(self.folder())
        start = "" if at == "." else f"{at}/"
        empty = sum(not scenes for scenes in places.values())
        items = [
            Item(name, tuple(f"{start}{name}/{scene}" for scene in scenes), group=name, key=name)
            for name, scenes in places.items()
            if scenes
        ]
        return Listing(items, notes={"left out: places without scenes": empty} if empty else {})

    def fetch(self, item: Item) -> Fetched:
        """All seasons of a place that can be had; the others are `lost`."""
        from collections import Counter

        from rsdata.bands import histogram_of
        from rsdata.sources.members import json_member
        from shards.raster import encode_raster
        from shards.sample import Sample
        from shards.stats import Histogram

        root = self.folder()
        members: dict[str, bytes] = {}
        views: list[View] = []
        facts, histograms, lost = [], [], []
        notes: Counter[str] = Counter()
        for folder in item.urls:
            try:
                bands = _bands(root, folder)
                view, about = self._view(root, folder, len(views), item.split)
            except FetchError as error:
                lost.append(Lost(folder, error))
                continue
            names = (view.member, *view.parts)
            members |= {
                name: encode_raster(bands[gsd]) for name, gsd in zip(names, _SENSOR.resolutions, strict=True)
            }
            views.append(view)
            facts.append(about | {"members": list(names)})
            histograms.append(histogram_of(bands))
            if about["metadata"] is None:
                notes["scenes without metadata.json"] += 1
        if not views:
            first = lost[0].error
            raise FetchError(
                first.kind, f"none of its {len(lost)} scenes is left: {first.reason}", first.stage
            )
        members["json"] = json_member({"id": item.id, "split": item.split, "views": facts})
        return Fetched(
            Sample(item.key, members, tuple(views)), Histogram.total(histograms), tuple(lost), notes
        )

    def _view(self, root: Path, folder: str, number: int, split: str) -> tuple[View, dict[str, Any]]:
        from rsdata.curate.season_folders import read_properties, time_of
        from shards.failures import FailureClass
        from shards.sample import View

        scene = folder.rpartition("/")[2]
        try:
            properties = read_properties(root / folder / "metadata.json")
        except FileNotFoundError:
            properties = None
        except (OSError, ValueError) as error:
            raise FetchError(
                FailureClass.INVALID, f"{folder}/metadata.json: cannot be read ({error})", "check"
            ) from None
        crs, transform, (lon, lat) = _grid(root / folder / "B2.tif")
        cloud = (properties or {}).get("CLOUDY_PIXEL_PERCENTAGE")
        try:
            time, cloud = time_of(scene, properties or {}), None if cloud is None else float(cloud)
        except (ValueError, TypeError) as error:
            raise FetchError(FailureClass.INVALID, f"{folder}: {error}", "check") from None
        extra = {
            "scene": scene,
            "crs": crs,
            "transform": " ".join(f"{value:.12g}" for value in transform),
            "cloud_percent": cloud,
        }
        names = [f"{number:03d}.b{gsd}.b2nd" for gsd in _SENSOR.resolutions]
        view = View(
            member=names[0],
            parts=tuple(names[1:]),
            width=_SENSOR.side_px,
            height=_SENSOR.side_px,
            split=split,
            lon=lon,
            lat=lat,
            time=time,
            gsd_m=float(_SENSOR.finest_m),
            source=folder,
            licence=self.licence,
            extra=extra,
        )
        return view, {"scene": scene, "time": view.time, "lon": lon, "lat": lat, "metadata": properties}


def _bands(root: Path, folder: str) -> dict[int, NDArray[Any]]:
    """Resolution in metres -> uint8 [C, H, W]."""
    import numpy as np

    from rsdata.sources.bandfile import read_band

    out = {}
    for gsd in _SENSOR.resolutions:
        side = _SENSOR.side_at(gsd)
        files = [f"{folder}/{band.name}.tif" for band in _SENSOR.bands_at(gsd)]
        out[gsd] = np.stack([read_band(root, file, height=side, width=side, dtype="uint8") for file in files])
    return out


def _grid(path: Path) -> tuple[str, tuple[float, ...], tuple[float, float]]:
    """CRS, transform, and the middle in degrees; the published ones are off by up to ten pixels (torchgeo issue 2345)."""
    import rasterio
    from rasterio.errors import RasterioError

    from shards.failures import FailureClass

    try:
        with rasterio.open(path, driver="GTiff") as file:
            crs, transform = file.crs, file.transform
            x, y = file.xy((file.height - 1) / 2, (file.width - 1) / 2)
    except RasterioError as error:
        raise FetchError(FailureClass.INVALID, f"{path}: cannot be read ({error})", "check") from None
    if crs is None or crs.to_epsg() != 4326:
        raise FetchError(
            FailureClass.INVALID, f"{path}: has the CRS {crs}; expected degrees, EPSG:4326", "check"
        )
    return "EPSG:4326", tuple(transform[:6]), (float(x), float(y))
