"""SpaceNet 7: monthly 4 m mosaics of 80 places, 2017-07 to 2020-01 (Van Etten et al. 2021); a sample is a patch in all months."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from rsdata.curate.configs import Sn7Split
from rsdata.sources.base import Fetched, FetchError, Item, Listing, Lost, read_file
from rsdata.sources.rooted import Rooted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rsdata.curate.sn7_files import Area, Month
    from rsdata.curate.sn7_pixels import Picture
    from rsdata.curate.sn7_places import Place

_BUCKET, _PREFIX = "spacenet-dataset", "spacenet/SN7_buildings/tarballs"
_DIGESTS = {
    "SN7_buildings_train.tar.gz": "md5:6eda13b9c28f6f5cdf00a7e8e218c1b1",
    "SN7_buildings_test_public.tar.gz": "md5:b3bde95a0f8f32f3bfeba49464b9bc97",
}
"""Of the release (torchgeo, datasets/spacenet)."""
_AREAS_PER_SHARD = 7
"""An area makes about 35 MB of patches."""
_HALF = 0.5
"""A patch is black from this share on."""


@dataclass(frozen=True)
class _Seen:
    """One image, read."""

    picture: Picture
    clouds: NDArray[np.float64] | None
    """Share of each patch, [16]; None where the release does not say."""
    note: str | None = None


class SN7(Sn7Split, Rooted):
    """SpaceNet 7 in its official layout, cut into 16 patches of 256 px; all months of a patch lie in one sample.

    A split that divides the months of a patch (any but `aoi`) makes two samples of it.
    """

    kind: Literal["sn7"] = "sn7"
    root: str = Field(
        description="folder with train/ or test_public/ or both; or one of the two archives, as a file or a URL: "
        f"s3://{_BUCKET}/{_PREFIX}/{{{','.join(_DIGESTS)}}}"
    )

    title: ClassVar[str] = "SpaceNet 7: monthly 4 m mosaics of 60 + 20 places in 31 countries"
    url: ClassVar[str] = "https://spacenet.ai/sn7-challenge/"
    licence: ClassVar[str] = "CC BY-SA 4.0"
    typical_size: ClassVar[str] = "1,423 train and 466 public test images of 1024 px, 16 patches each, 10 GB"
    extra_columns: ClassVar[dict[str, str]] = {
        "aoi": "string",
        "patch": "int32",
        "row": "int32",
        "col": "int32",
        "country": "string",
        "state": "string",
        "city": "string",
        "valid_fraction": "float64",
        "cloud_fraction": "float64",
    }
    together: ClassVar[bool] = True
    where: ClassVar[frozenset[str]] = Rooted.where | {"images_list"}

    _folder: Path | None = PrivateAttr(default=None)
    _area: tuple[str, dict[str, _Seen | FetchError]] = PrivateAttr(default=("", {}))
    """Name and images of the area under work: all of its patches are cut from one reading."""

    @model_validator(mode="before")
    @classmethod
    def _published_digest(cls, values: Any) -> Any:
        """The archives of the release are checked without being asked for."""
        if isinstance(values, dict) and not values.get("checksum") and not values.get("endpoint"):
            host, _, name = str(values.get("root", "")).rpartition(f"/{_PREFIX}/")
            if name in _DIGESTS and host in (f"s3://{_BUCKET}", f"https://{_BUCKET}.s3.amazonaws.com"):
                return {**values, "checksum": _DIGESTS[name]}
        return values

    def shard_size(self) -> int | None:
        """Whole areas, about 256 MB."""
        return self.samples_per_shard or 16 * _AREAS_PER_SHARD

    def listing(self) -> Listing:
        """Scan the tree, place the areas, divide the patches; reads headers, no pixels.

        Raises:
            UserError: no tree, no images, or nothing to hold out.
        """
        from rsdata.curate.sn7_files import MASKED, months_of, parts_of, scan
        from rsdata.curate.sn7_places import find_places, labels_of
        from rsdata.curate.sn7_splits import assign, every_patch

        root = self.folder()
        areas = [
            area
            for part in parts_of(root)
            for area in scan(root, part, self.images if part == "train" else MASKED)
        ]
        places = find_places(root, areas)
        train = [area for area in areas if area.part == "train"]
        labels = labels_of(places[area.name] for area in train)
        named = {name: place.address.country for name, place in places.items()}
        if self.label == "aoi":
            labels, named = {area.name: n for n, area in enumerate(train)}, {name: name for name in places}
        split_of = assign(self, list(months_of(train)), places) if train else {}
        split_of |= dict.fromkeys(every_patch(list(months_of(areas[len(train) :]))), "test")
        other = self._other_images(root, train)
        items, notes = [], Counter[str]()
        for area in areas:
            place = places[area.name]
            months = {month.month: month for month in area.months}
            divided: dict[tuple[int, str], list[Month]] = {}
            for patch in every_patch(area.months):
                split = split_of.get(patch)
                if split is not None:
                    month = months[patch.month]
                    chosen = other.get(month.path, month) if split == "val" else month
                    divided.setdefault((patch.patch, split), []).append(chosen)
            about = _about(place, labels.get(named[area.name]))
            items += [_item(area, *of, chosen, about, self.split) for of, chosen in sorted(divided.items())]
            notes.update({f"areas in {area.part}": 1, "files with other names": len(area.strays)})
            for note in place.notes:
                notes[f"area {area.name}: {note}"] += 1
        return Listing(items, list(labels), {name: count for name, count in notes.items() if count})

    def fetch(self, item: Item) -> Fetched:
        """A patch in all months that can be had and are not black; the months that cannot be had are `lost`."""
        import json

        from rsdata.sources.members import json_member
        from shards.failures import FailureClass
        from shards.png import encode_png
        from shards.sample import Sample, View
        from shards.stats import Histogram

        facts = json.loads(item.facts)
        k: int = facts["patch"]
        drop = self.drop_black == "all" or (self.drop_black == "test" and item.split == "test")
        lost: list[Lost] = []
        views: list[View] = []
        members: dict[str, bytes] = {}
        kept, histograms, notes = [], [], Counter[str]()
        for url, size, month in zip(item.urls, item.sizes, facts["months"], strict=True):
            seen = self._seen(item.group, url, size, month["udm"], facts["has_udm"])
            if isinstance(seen, FetchError):
                lost.append(Lost(f"{url}#p{k:02d}", seen))
                continue
            if drop and seen.picture.black[k] >= _HALF:
                notes["patches left out: half black"] += 1
                continue
            notes.update([seen.note] if seen.note else [])
            pixels = seen.picture.patch(k)
            member = f"{len(views):03d}.png"
            extra = {name: facts[name] for name in ("aoi", "patch", "row", "col", "country", "state", "city")}
            extra["valid_fraction"] = float(seen.picture.valid[k])
            extra["cloud_fraction"] = None if seen.clouds is None else float(seen.clouds[k])
            time = f"{month['month']}-01T00:00:00+00:00"
            views.append(
                View(
                    member=member,
                    width=pixels.shape[1],
                    height=pixels.shape[0],
                    label=item.label,
                    split=item.split,
                    lon=item.lon,
                    lat=item.lat,
                    time=time,
                    gsd_m=facts["gsd_m"],
                    source=url,
                    licence=self.licence,
                    extra=extra,
                )
            )
            members[member] = encode_png(pixels)
            kept.append({**extra, "member": member, "month": month["month"], "source": url})
            histograms.append(Histogram.of(pixels))
        if not views:
            again = [part.error for part in lost if part.error.kind is FailureClass.TRANSIENT]
            black = f"black in all of its {len(item.urls)} months"
            raise (
                again + [part.error for part in lost] + [FetchError(FailureClass.INVALID, black, "check")]
            )[0]
        about = {"id": item.id, "aoi": facts["aoi"], "patch": k, "label": item.label, "split": item.split}
        members["json"] = json_member({**about, "lon": item.lon, "lat": item.lat, "views": kept})
        if item.label is not None:
            members["cls"] = str(item.label).encode()
        sample = Sample(item.key, members, tuple(views))
        return Fetched(sample, Histogram.total(histograms), tuple(lost), dict(notes))

    def _other_images(self, root: Path, train: Sequence[Area]) -> dict[str, Month]:
        """Path of a training image -> the image that stands for it where it is held out."""
        from dataclasses import replace

        from rsdata.curate.sn7_files import months_of, scan

        if self.val_images in (None, self.images):
            return {}
        assert self.val_images is not None
        there = {month.path: month for month in months_of(scan(root, "train", self.val_images))}
        found = {}
        for month in months_of(list(train)):
            path = f"train/{month.area}/{self.val_images}/{month.name}"
            found[month.path] = there.get(path) or replace(
                month, path=path, size=0
            )  # it fails as gone, in sight
        return found

    def _seen(self, group: str, url: str, size: int, udm: str | None, has_udm: bool) -> _Seen | FetchError:
        """An image of the area under work, read once."""
        if self._area[0] != group:
            self._area = (group, {})
        area = self._area[1]
        if url not in area:
            try:
                area[url] = self._read(url, size, udm, has_udm)
            except FetchError as error:
                area[url] = error
        return area[url]

    def _read(self, url: str, size: int, udm: str | None, has_udm: bool) -> _Seen:
        import numpy as np

        from rsdata.curate.sn7_pixels import PATCHES, read_clouds, read_picture
        from shards.failures import FailureClass

        if self._folder is None:
            self._folder = self.folder()
        try:
            picture = read_picture(read_file(self._folder, url, size))
        except ValueError as error:
            raise FetchError(FailureClass.INVALID, str(error), "check") from None
        if udm is None:
            return _Seen(picture, np.zeros(PATCHES) if has_udm else None)
        try:
            return _Seen(picture, read_clouds(read_file(self._folder, udm, None)))
        except (FetchError, ValueError):
            return _Seen(picture, None, "cloud masks that cannot be read")


def _about(place: Place, label: int | None) -> dict[str, Any]:
    """What the items of an area share."""
    said = place.address
    return {
        "label": label,
        "spots": place.patch_centres(),
        "gsd_m": place.footprint.gsd_m() if place.footprint else None,
        "address": {"country": said.country, "state": said.state, "city": said.city},
    }


def _item(area: Area, k: int, split: str, months: Sequence[Month], about: dict[str, Any], mode: str) -> Item:
    import json

    row, column = divmod(k, 4)
    lon, lat = about["spots"][k]
    key = f"{area.name}_p{k:02d}"
    torn = mode != "aoi" and area.part == "train"
    facts = {"aoi": area.name, "patch": k, "row": row, "col": column, "gsd_m": about["gsd_m"]}
    facts |= about["address"] | {"has_udm": area.has_udm}
    return Item(
        id=f"{split}/{key}",
        key=f"{split}-{key}" if torn else key,
        urls=tuple(month.path for month in months),
        sizes=tuple(month.size for month in months),
        split=split,
        label=about["label"],
        group=f"{area.part}/{area.name}",
        lon=lon,
        lat=lat,
        time=f"{months[0].month}-01",
        facts=json.dumps(facts | {"months": [{"month": m.month, "udm": m.udm} for m in months]}),
    )
