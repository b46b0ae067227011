"""dataset.json: what a shard set is. Written last: a folder without it is unfinished."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from shards.config import Config, digest_of
from shards.errors import ShardError
from shards.stats import BandStats
from shards.store import Store
from shards.writer import ShardFacts

NAME = "dataset.json"
FORMAT = 1


class Band(Config):
    """One band of the pixels."""

    name: str
    wavelength_nm: float | None = Field(None, description="centre wavelength, nanometres")
    unit: str = Field("digital number", description="what a stored integer means")


class Member(Config):
    """One kind of member: how its bytes are read."""

    ending: str = Field(
        description="`jpg`, `png`, `npy`, …; `b10.b2nd`, `b20.b2nd` … where a view has a member for each resolution"
    )
    dtype: str = Field("uint8", description="numpy name of the pixels' type")
    shape: tuple[int | None, int | None, int] = Field(
        description="height, width, bands as decoded; null where it varies"
    )
    bands: list[Band]


class Target(Config):
    """What a sample is scored against beyond one class: a typed member of every sample; see `shards/targets.py`."""

    member: str = Field(description="`boxes.json`, `mask.png` or `labels.npy`")
    classes: list[str] = Field(description="class names; the member's numbers are positions in this list")


class Shard(Config):
    """One tar."""

    name: str
    bytes: int
    samples: int
    views: int
    sha256: str


class DatasetInfo(Config):
    """Everything that a reader, a trainer and a report need to know of a set."""

    format: int = Field(FORMAT, description="version of this file's schema")
    name: str
    source: str = Field(description="kind of the source, as `rsdata sources` names it")
    made_by: str = Field("", description="program and version that wrote the set")
    members: list[Member]
    classes: list[str] = Field(
        default_factory=list, description="class names; a label is a position in this list"
    )
    targets: list[Target] = Field(
        default_factory=list, description="typed members beside the pixels: boxes, masks, label vectors"
    )
    samples: int
    views: int
    failed: int = Field(0, description="rows of failures.parquet")
    splits: dict[str, int] = Field(description="views of each split")
    labels: dict[str, int] = Field(default_factory=dict, description="views of each class")
    notes: dict[str, Any] = Field(default_factory=dict, description="counted facts: conversions, drops")
    statistics: list[BandStats] = Field(default_factory=list)
    statistics_of: str = Field(
        "train", description="split the statistics are of; `all` where there is no train split"
    )
    shards: list[Shard]
    index_bytes: int
    index_sha256: str
    licence: str = ""
    attribution: str = ""
    config: dict[str, Any] = Field(default_factory=dict, description="the resolved config that made the set")
    plan_digest: str = ""
    fingerprint: str = Field("", description="sha256 over all of the above")

    def sealed(self) -> DatasetInfo:
        """With its fingerprint filled in."""
        return self.model_copy(update={"fingerprint": self.expected_fingerprint()})

    def expected_fingerprint(self) -> str:
        """Digest of every other field."""
        left_out = {"fingerprint"} if self.targets else {"fingerprint", "targets"}
        # A set without targets keeps the fingerprint that it always had.
        return digest_of(self.model_dump(mode="json", exclude=left_out))

    @property
    def bands(self) -> list[Band]:
        """Every band once: those of the first kind of member, then what other kinds have beside them."""
        return list({band.name: band for member in self.members for band in member.bands}.values())

    @property
    def rgb(self) -> tuple[str, str, str] | None:
        """Names of the red, green and blue band: by name, else by wavelength; None where one is missing."""
        names = {band.name for band in self.bands}
        if {"red", "green", "blue"} <= names:
            return "red", "green", "blue"
        found = [_nearest(self.bands, nm) for nm in _RGB_NM]
        red, green, blue = found
        return None if red is None or green is None or blue is None else (red, green, blue)


_RGB_NM = (665.0, 560.0, 490.0)
_NEAR_NM = 30.0


def _nearest(bands: list[Band], nm: float) -> str | None:
    """The band whose centre is closest to a wavelength, within what a colour spans."""
    off = [(abs(band.wavelength_nm - nm), band.name) for band in bands if band.wavelength_nm is not None]
    distance, name = min(off, default=(_NEAR_NM, None))
    return name if distance < _NEAR_NM else None


def shard_of(facts: ShardFacts) -> Shard:
    """A writer's facts as they stand in dataset.json."""
    return Shard(**facts.__dict__)


def finish(store: Store, info: DatasetInfo, index: bytes) -> DatasetInfo:
    """Write index, wids.json and, last of all, dataset.json; answers the sealed info.

    `info` may carry any index facts: they are filled in from `index`.
    """
    info = info.model_copy(
        update={"index_bytes": len(index), "index_sha256": hashlib.sha256(index).hexdigest()}
    ).sealed()
    store.write("index.parquet", index)
    store.write("wids.json", _json(_wids(info)))
    store.write(NAME, _json(info.model_dump(mode="json")))
    return info


def read_info(folder: str | Path | Store) -> DatasetInfo:
    """dataset.json of a finished set, its fingerprint checked.

    Raises:
        ShardError: no set is there, it is unfinished, or the file was changed.
    """
    store = Store.of(folder)
    if not store.exists(NAME):
        if store.exists("plan.parquet"):
            raise ShardError(f"{store}: is not finished yet (no {NAME}); run: rsdata build {store}")
        raise ShardError(f"{store}: is no shard set (no {NAME}); make one with: rsdata run SOURCE {store}")
    try:
        info = DatasetInfo(**json.loads(store.read(NAME)))
    except (ValueError, TypeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ShardError(
            f"{store.path(NAME)}: cannot be understood ({first}); it is damaged or of another version"
        ) from None
    if info.fingerprint != info.expected_fingerprint():
        raise ShardError(
            f"{store.path(NAME)}: was changed after it was written (the fingerprint differs); rebuild the set"
        )
    return info


def _wids(info: DatasetInfo) -> dict[str, Any]:
    shards = [{"url": s.name, "nsamples": s.samples, "filesize": s.bytes} for s in info.shards]
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": info.name, "shardlist": shards}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
