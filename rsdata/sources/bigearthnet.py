"""BigEarthNet v1 (Sumbul et al. 2019, 2021): patches of 1.2 km over ten European countries, several classes each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rsdata.sensors import SENSORS
from rsdata.sources.base import Fetched, FetchError, Item, Listing
from rsdata.sources.rooted import Rooted

if TYPE_CHECKING:
    from rsdata.curate.bigearthnet_files import Patch
    from rsdata.sensors import Sensor
    from shards.dataset import Member, Target

_PER_SHARD = 2500
"""About 256 MB."""


class BigEarthNet(Rooted):
    """Sentinel-2 or Sentinel-1 patches with label vectors of 19 or 43 classes; names of bands are those of `seco`."""

    kind: Literal["bigearthnet"] = "bigearthnet"
    sensor: Literal["s2", "s1"] = Field("s2", description="12 bands of Sentinel-2, or VV and VH in decibels")
    labels: Literal["19", "43"] = Field(
        "19",
        description="the 19 classes of 2020, without patches that have none of them, or the 43 of CORINE",
    )
    split_file: tuple[Path, ...] = Field(
        (),
        description="published list such as train.csv, val.csv, test.csv; give it repeatedly: patches that no list "
        "names are left out (default: every patch is train)",
    )
    exclude: tuple[Path, ...] = Field(
        (),
        description="list of patches to leave out, such as patches_with_seasonal_snow.csv; give it repeatedly",
    )

    title: ClassVar[str] = "BigEarthNet v1: Sentinel-2 and -1 patches over Europe, several classes each"
    url: ClassVar[str] = "https://bigearth.net"
    licence: ClassVar[str] = "CDLA-Permissive-1.0"
    typical_size: ClassVar[str] = "590,326 patches, 66 GB (S2) and 54 GB (S1) as archives"
    extra_columns: ClassVar[dict[str, str]] = {
        "labels": "list<int32>",
        "s2_patch": "string",
        "scene": "string",
        "crs": "string",
        "transform": "string",
    }
    where: ClassVar[frozenset[str]] = Rooted.where | {"split_file", "exclude"}  # what they say is in the plan

    @property
    def instrument(self) -> Sensor:
        """The row of the sensor table, for a patch of 1.2 km."""
        from dataclasses import replace

        return replace(SENSORS["s2-l2a" if self.sensor == "s2" else "s1-grd"], side_px=120)

    def set_name(self) -> str:
        """Name of the set, with the sensor."""
        return self.name or f"bigearthnet-{self.sensor}"

    def set_members(self) -> list[Member]:
        """A member for each resolution."""
        from rsdata.bands import members_of

        return members_of(self.instrument)

    def set_targets(self, classes: list[str]) -> list[Target]:
        """The label vector."""
        from shards.dataset import Target
        from shards.targets import LABELS

        return [Target(member=LABELS, classes=classes)]

    def shard_size(self) -> int | None:
        """As many patches as make about 256 MB."""
        return self.samples_per_shard or _PER_SHARD

    def listing(self) -> Listing:
        """Find every patch and read its JSON; one whose JSON is of no use is planned, and fails in sight.

        Raises:
            ConfigError: no patches, or a list that is of no use.
        """
        from collections import Counter

        from rsdata.curate.bigearthnet_files import find_patches, lon_lat, read_patch
        from rsdata.curate.bigearthnet_labels import CLASSES_19, CLASSES_43
        from rsdata.sources.split_files import read_lines, read_names

        root = self.folder()
        split_of = read_names(self.split_file)
        without = {
            cell.strip() for file in self.exclude for line in read_lines(file) for cell in line.split(",")
        }
        notes: Counter[str] = Counter()
        chosen: list[tuple[str, str, Patch | str]] = []
        for path in find_patches(root, self.sensor):
            name = path.rpartition("/")[2]
            patch = read_patch(root, path)
            names = {name} if isinstance(patch, str) else {name, patch.s2_patch}
            if names & without:
                notes["left out: in a list of --exclude"] += 1
                continue
            split = next((split_of[n] for n in sorted(names) if n in split_of), None if split_of else "train")
            if split is None:
                notes["left out: in no list of --split-file"] += 1
                continue
            if not isinstance(patch, str) and not self._numbers(patch.labels):
                notes[f"left out: has none of the {self.labels} classes"] += 1
                continue
            chosen.append((path, split, patch))
        whole = [patch for _, _, patch in chosen if not isinstance(patch, str)]
        places = iter(lon_lat(whole).tolist())
        items = [
            self._item(path, split, patch, None if isinstance(patch, str) else next(places))
            for path, split, patch in chosen
        ]
        classes = CLASSES_19 if self.labels == "19" else CLASSES_43
        return Listing(items, list(classes), dict(notes))

    def fetch(self, item: Item) -> Fetched:
        """All bands of a patch with its labels."""
        import json

        import numpy as np

        from rsdata.bands import histogram_of
        from rsdata.curate.bigearthnet_labels import CLASSES_19, CLASSES_43
        from rsdata.sources.bandfile import read_band
        from rsdata.sources.members import json_member
        from shards.failures import FailureClass
        from shards.raster import encode_raster
        from shards.sample import Sample, View
        from shards.targets import LABELS, encode_labels

        facts = json.loads(item.facts)
        if "error" in facts:
            raise FetchError(FailureClass.INVALID, facts["error"], "plan")
        root, folder, sensor = self.folder(), item.urls[0], self.instrument
        stem = f"{folder}/{item.id}"
        arrays = {}
        for gsd in sensor.resolutions:
            side = sensor.side_at(gsd)
            files = [f"{stem}_{_file(band.name)}.tif" for band in sensor.bands_at(gsd)]
            bands = [read_band(root, file, height=side, width=side, dtype=sensor.dtype) for file in files]
            arrays[gsd] = np.stack(bands)
        labels = self._numbers(facts["labels"])
        classes = CLASSES_19 if self.labels == "19" else CLASSES_43
        members = {f"b{gsd}.b2nd": encode_raster(array) for gsd, array in arrays.items()}
        pixels = list(members)
        members[LABELS] = encode_labels(labels, len(classes))
        x, y = facts["corner"]
        transform = (float(sensor.finest_m), 0.0, x, 0.0, -float(sensor.finest_m), y)
        about = {
            "id": item.id,
            "split": item.split,
            "lon": item.lon,
            "lat": item.lat,
            "time": item.time,
            "labels": [classes[number] for number in labels],
            "labels_43": [CLASSES_43[number] for number in facts["labels"]],
            "crs": facts["crs"],
            "transform": list(transform),
            "scene": facts["scene"],
            "s2_patch": item.group,
        }
        members["json"] = json_member(about)
        view = View(
            member=pixels[0],
            parts=tuple(pixels[1:]),
            width=sensor.side_px,
            height=sensor.side_px,
            split=item.split,
            lon=item.lon,
            lat=item.lat,
            time=item.time,
            gsd_m=float(sensor.finest_m),
            source=folder,
            licence=self.licence,
            extra={
                "labels": labels,
                "s2_patch": item.group,
                "scene": facts["scene"],
                "crs": facts["crs"],
                "transform": " ".join(f"{number:.12g}" for number in transform),
            },
        )
        return Fetched(Sample(item.key, members, (view,)), histogram_of(arrays))

    def _numbers(self, labels_43: tuple[int, ...] | list[int]) -> list[int]:
        from rsdata.curate.bigearthnet_labels import CLASSES_43, numbers_19

        if self.labels == "43":
            return list(labels_43)
        return numbers_19(CLASSES_43[number] for number in labels_43)

    def _item(self, path: str, split: str, patch: Patch | str, place: list[float] | None) -> Item:
        import json

        name = path.rpartition("/")[2]
        if isinstance(patch, str):
            return Item(name, (path,), split=split, group=name, facts=json.dumps({"error": patch}))
        assert place is not None
        facts = {"labels": patch.labels, "crs": patch.crs, "corner": patch.corner, "scene": patch.scene}
        return Item(
            id=name,
            urls=(path,),
            split=split,
            group=patch.s2_patch or name,
            lon=place[0],
            lat=place[1],
            time=patch.time,
            facts=json.dumps(facts),
        )


def _file(band: str) -> str:
    """`B2` -> `B02`, as the files are named; the polarisations keep their names."""
    return f"B{int(band[1:]):02d}" if band[1:].isdecimal() else band
