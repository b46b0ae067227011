"""Source: facts and parsing of one archive. `listing` decides what, `fetch` brings one item.

This module is imported to make command-line options, so it needs only pydantic and the standard library.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from shards.config import Config

if TYPE_CHECKING:
    from shards.dataset import Member, Target
    from shards.failures import FailureClass
    from shards.sample import Sample
    from shards.stats import Histogram

LARGEST_FILE = 2 << 30
"""Bytes; larger image files are refused unread."""


class FetchError(Exception):
    """One item, or one view of it, that cannot be had; the build records it and goes on."""

    def __init__(self, kind: FailureClass, reason: str, stage: str = "fetch") -> None:
        super().__init__(reason)
        self.kind, self.reason, self.stage = kind, reason, stage


@dataclass(frozen=True, slots=True)
class Item:
    """One sample to be, decided before any pixel is read; a row of plan.parquet."""

    id: str
    """Unique in the archive, such as `Airport/airport_1.jpg`; the key of the sample is made from it."""
    urls: tuple[str, ...]
    """Files of the item: paths relative to the source's root, or URLs."""
    sizes: tuple[int, ...] = ()
    """Bytes of each file, or empty where one is not known; a file of another size at build time fails the item."""
    split: str = "train"
    label: int | None = None
    group: str = ""
    """What must not be torn apart: the place, the scene."""
    lon: float | None = None
    lat: float | None = None
    time: str | None = None
    """ISO 8601, UTC; of the first view."""
    facts: str = ""
    """Whatever else `fetch` needs, as text."""
    key: str = ""
    """Filled in by the plan."""


class Row(NamedTuple):
    """An item's place in the plan."""

    item: Item
    shard: int
    reserve: bool
    """Fetched only when an item of its shard is not to be had."""


@dataclass(frozen=True)
class Listing:
    """Everything that a source would fetch."""

    items: list[Item]
    classes: list[str] = field(default_factory=list)
    """Class names; a label is a position in this list."""
    notes: dict[str, int] = field(default_factory=dict)
    """Counted facts for people: `ignored: .txt` -> 3."""
    reserves: list[Item] = field(default_factory=list)
    """Stand in for items that the archive turns out not to have; dealt to the shards in this order."""


@dataclass(frozen=True)
class Lost:
    """One view that failed while its place is kept."""

    id: str
    error: FetchError


@dataclass(frozen=True)
class Fetched:
    """A sample and what was seen while it was made."""

    sample: Sample
    histogram: Histogram | None
    """Of all pixels of the sample's images."""
    lost: tuple[Lost, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    """Counted facts: `converted: CMYK` -> 1."""


class Source(Config):
    """Options that every source has; a subclass adds its own and the facts of its archive."""

    kind: str
    name: str = Field("", description="name of the set and of its tars; by default that of the source")
    seed: int = Field(0, ge=0, description="seed of the order of samples and of every random choice")
    samples_per_shard: int | None = Field(
        None, gt=0, description="samples in a tar; by default at most 10,000 and about 256 MB"
    )
    limit: int | None = Field(None, gt=0, description="plan only this many items, drawn by the seed")

    title: ClassVar[str]
    url: ClassVar[str]
    licence: ClassVar[str] = "see the archive's page"
    access: ClassVar[str] = "none"
    typical_size: ClassVar[str] = "any"
    bands: ClassVar[tuple[tuple[str, float | None], ...]] = (("red", None), ("green", None), ("blue", None))
    """Name and centre wavelength in nanometres of each band of the pixels."""
    extra_columns: ClassVar[dict[str, str]] = {}
    """Columns of the index beyond the common ones: name -> pyarrow's name of the type, or `list<int32>`."""
    together: ClassVar[bool] = False
    """Items of one group are made from the same files: they follow each other, in one shard where it has the room."""
    where: ClassVar[frozenset[str]] = frozenset({"root"})
    """Fields that say where the archive lies, not what it is: they do not enter digests."""

    def set_name(self) -> str:
        """Name of the set."""
        return self.name or self.kind

    def set_licence(self) -> str:
        """Licence of the imagery."""
        return self.licence

    def set_attribution(self) -> str:
        """What the imagery is, and where it comes from."""
        return f"{self.title}; {self.url}"

    def set_members(self) -> list[Member] | None:
        """Members of a view where it has one for each resolution, finest first; None: one, as the views say."""
        return None

    def set_targets(self, classes: list[str]) -> list[Target]:
        """Typed members beside the pixels, where the set has any; `classes` are those of the listing."""
        return []

    def shard_size(self) -> int | None:
        """Samples in a tar; None leaves it to the plan, which knows the sizes of the files."""
        return self.samples_per_shard

    def estimate(self, items: int) -> dict[str, float]:
        """What so many items will cost at a service: requests, bytes, hours; nothing where there is none."""
        return {}

    def listing(self) -> Listing:
        """Find every item; reads no pixels."""
        raise NotImplementedError

    def fetch(self, item: Item) -> Fetched:
        """Read, check and convert one item; called from several threads where `concurrency` is above 1.

        Raises:
            FetchError: it cannot be had; the build records it.
        """
        raise NotImplementedError

    def ready(self) -> None:
        """See that items can be fetched at all; called once, before a build begins its first shard.

        Raises:
            ConfigError: what would stop every item, such as missing credentials.
        """

    def concurrency(self) -> int:
        """Items that a task fetches at the same time: more than one where fetching is waiting for others."""
        return 1

    def identity(self) -> dict[str, Any]:
        """The config without the fields that say where the archive lies."""
        return {key: value for key, value in self.to_dict().items() if key not in self.where}


def read_file(root: Path, url: str, size: int | None) -> bytes:
    """A file of a local archive, as it was when it was planned.

    Raises:
        FetchError: gone, changed since the plan, not readable, outside of the root, or larger than 2 GiB.
    """
    from shards.failures import FailureClass

    parts = url.split("/")
    if url.startswith("/") or ".." in parts:
        raise FetchError(FailureClass.REFUSED, f"the path {url!r} leaves the folder of the archive")
    if size is not None and size > LARGEST_FILE:
        raise FetchError(FailureClass.REFUSED, f"{size:,} bytes: files over 2 GiB are not read")
    try:
        data = (root / url).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FetchError(FailureClass.GONE, f"{root / url}: was there when planned and is gone") from None
    except PermissionError:
        raise FetchError(FailureClass.REFUSED, f"{root / url}: access denied") from None
    except OSError as error:
        kind = FailureClass.INVALID if error.errno == errno.EISDIR else FailureClass.TRANSIENT
        raise FetchError(kind, f"{root / url}: cannot be read ({error.strerror})") from None
    if size is not None and len(data) != size:
        raise FetchError(
            FailureClass.INVALID, f"{root / url}: {len(data):,} bytes, {size:,} when planned; it was changed"
        )
    return data
