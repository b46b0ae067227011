"""OSCD, the Onera Satellite Change Detection set (Caye Daudt et al. 2018): 24 cities, Sentinel-2 at two dates each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from rsdata.sensors import SENSORS
from rsdata.sources.base import Fetched, FetchError, Item, Listing
from rsdata.sources.rooted import Rooted
from shards.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shards.dataset import Member, Target

_BANDS = SENSORS["s2-l1c"].bands
_DATES = ("imgs_1_rect", "imgs_2_rect")


class OSCD(Rooted):
    """Tiles of cities before and after, 13 bands on the grid of 10 m, with a mask of urban changes."""

    kind: Literal["oscd"] = "oscd"
    tile: int = Field(96, ge=0, description="side of a tile, pixels, as in SeCo; 0: whole cities")
    borders: Literal["pad", "ignore", "drop"] = Field(
        "pad",
        description="tiles that the border cuts: pad: zeros that count as no change, as in SeCo; ignore: zeros that no "
        "score counts; drop: left out, as in SSL4EO-S12",
    )

    title: ClassVar[str] = "OSCD: Sentinel-2 pairs of 24 cities with urban changes"
    url: ClassVar[str] = "https://rcdaudt.github.io/oscd/"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0; contains modified Copernicus Sentinel-2 data"
    typical_size: ClassVar[str] = "24 cities (14 train, 10 test), 0.7 GB"
    extra_columns: ClassVar[dict[str, str]] = {"city": "string", "tile": "string"}

    def set_members(self) -> list[Member]:
        """All bands in one member."""
        from shards.dataset import Band, Member

        side = self.tile or None
        bands = [Band(name=b.name, wavelength_nm=b.wavelength_nm, unit=b.unit) for b in _BANDS]
        return [Member(ending="b10.b2nd", dtype="uint16", shape=(side, side, len(bands)), bands=bands)]

    def set_targets(self, classes: list[str]) -> list[Target]:
        """The mask."""
        from shards.dataset import Target
        from shards.targets import MASK

        return [Target(member=MASK, classes=["no change", "change"])]

    def listing(self) -> Listing:
        """Find the cities and cut them into tiles; of the images only headers are read.

        Raises:
            ConfigError: no cities with labels, one in no list, or one whose size cannot be read.
        """
        from collections import Counter

        from rsdata.curate import oscd_files
        from rsdata.curate.change_pairs import tiles

        root = self.folder()
        images, labels = oscd_files.find(root, _DATES[0]), oscd_files.find(root, "cm")
        if not images:
            raise ConfigError(
                f"{root}: has no <city>/imgs_1_rect; is --root the folder with the archives of OSCD?"
            )
        split_of = oscd_files.splits(root, list(images.values()))
        notes: Counter[str] = Counter()
        items = []
        for city, folder in sorted(images.items()):
            if city not in split_of:
                raise ConfigError(
                    f"{root / folder}: {city} stands in no list; add it to train.txt or test.txt"
                )
            if city not in labels:
                notes["left out: cities without labels (cm)"] += 1
                continue
            height, width = _size(root / folder / _DATES[0])
            lon, lat = oscd_files.middle(root / folder)
            facts = {"size": [height, width], "dates": oscd_files.dates(root / folder)}
            side = self.tile
            cuts = tiles(height, width, side, whole_only=self.borders == "drop") if side else [None]
            for cut in cuts:
                name = city if cut is None else f"{city}-r{cut.row:02d}-c{cut.column:02d}"
                at = facts | {"tile": None if cut is None else [cut.top, cut.left]}
                items.append(self._item(name, city, folder, labels[city], split_of[city], (lon, lat), at))
        if not items:
            raise ConfigError(
                f"{root}: no city has a folder cm; unpack the archives with the labels there too"
            )
        missing = split_of.keys() - images.keys()
        notes.update({"cities of the lists that are not there": len(missing)} if missing else {})
        return Listing(items, notes=dict(notes))

    def fetch(self, item: Item) -> Fetched:
        """A tile at both dates, and its mask."""
        import json

        import numpy as np

        from rsdata.sources.members import json_member
        from shards.failures import FailureClass
        from shards.raster import encode_raster
        from shards.sample import Sample, View
        from shards.stats import Histogram
        from shards.targets import IGNORE, MASK, encode_mask

        facts = json.loads(item.facts)
        root, (images, labels) = self.folder(), item.urls
        height, width = facts["size"]
        top, left = facts["tile"] or (0, 0)
        rows, columns = (self.tile, self.tile) if facts["tile"] else (height, width)
        inside = (min(rows, height - top), min(columns, width - left))
        window = (slice(top, top + inside[0]), slice(left, left + inside[1]))
        mask = _mask(root / labels, item.group)
        if mask.shape != (height, width):
            raise FetchError(
                FailureClass.INVALID,
                f"{labels}: the mask is {mask.shape}, the images are {(height, width)} (height, width)",
                "check",
            )
        outside = IGNORE if self.borders == "ignore" else 0
        target = np.full((rows, columns), outside, np.uint8)
        target[: inside[0], : inside[1]] = mask[window]
        members: dict[str, bytes] = {}
        views, histograms = [], []
        for number, (name, date) in enumerate(zip(_DATES, facts["dates"], strict=True)):
            pixels = np.zeros((len(_BANDS), rows, columns), np.uint16)
            pixels[:, : inside[0], : inside[1]] = _planes(root, f"{images}/{name}", height, width)[:, *window]
            member = f"{number:03d}.b10.b2nd"
            members[member] = encode_raster(pixels)
            there = pixels[:, : inside[0], : inside[1]]
            histograms.append(Histogram.of(there.transpose(1, 2, 0)))
            views.append(
                View(
                    member=member,
                    width=columns,
                    height=rows,
                    split=item.split,
                    lon=item.lon,
                    lat=item.lat,
                    time=date,
                    gsd_m=10.0,
                    source=f"{images}/{name}",
                    licence=self.licence,
                    extra={"city": item.group, "tile": f"{top} {left}"},
                )
            )
        members[MASK] = encode_mask(target)
        members["json"] = json_member(
            {
                "id": item.id,
                "city": item.group,
                "split": item.split,
                "lon": item.lon,
                "lat": item.lat,
                "dates": facts["dates"],
                "tile": [top, left],
                "inside": list(inside),
            }
        )
        return Fetched(Sample(item.key, members, tuple(views)), Histogram.total(histograms))

    def _item(
        self,
        name: str,
        city: str,
        images: str,
        labels: str,
        split: str,
        place: tuple[float | None, float | None],
        facts: dict[str, Any],
    ) -> Item:
        import json

        return Item(
            id=name,
            urls=(images, f"{labels}/cm"),
            split=split,
            group=city,
            lon=place[0],
            lat=place[1],
            time=facts["dates"][0],
            facts=json.dumps(facts),
        )


def _size(folder: Path) -> tuple[int, int]:
    """Height and width of the images of a date, by the header of one."""
    from rsdata.curate.oscd_files import band_files
    from shards.codec import ImageError, header

    try:
        facts = header(band_files(folder)["B02"].read_bytes())
    except (KeyError, OSError, ImageError) as error:
        raise ConfigError(f"{folder}: has no B02.tif that can be read ({error})") from None
    return facts.height, facts.width


def _planes(root: Path, folder: str, height: int, width: int) -> NDArray[Any]:
    """All bands of a date, uint16 [13, H, W], in the order of the sensor table."""
    import numpy as np

    from rsdata.curate.oscd_files import band_files
    from rsdata.sources.bandfile import read_band
    from shards.failures import FailureClass

    try:
        files = band_files(root / folder)
    except OSError as error:
        raise FetchError(FailureClass.GONE, f"{root / folder}: cannot be listed ({error.strerror})") from None
    planes = []
    for band in _BANDS:
        name = f"B{int(band.name[1:]):02d}" if band.name[1:].isdecimal() else band.name
        if name not in files:
            raise FetchError(FailureClass.GONE, f"{root / folder / name}.tif: there is no such file")
        planes.append(
            read_band(root, f"{folder}/{files[name].name}", height=height, width=width, dtype="uint16")
        )
    return np.stack(planes)


def _mask(folder: Path, city: str) -> NDArray[Any]:
    """The whole mask of a city: `cm.png`, else `<city>-cm.tif`."""
    from rsdata.curate.change_pairs import change_mask
    from rsdata.sources.base import read_file

    if (folder / "cm.png").is_file():
        return change_mask("cm.png", read_file(folder, "cm.png", None))
    name = f"{city}-cm.tif"
    return change_mask(name, read_file(folder, name, None), one_is_change=False)
