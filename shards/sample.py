"""Sample: what travels from a source to a shard, and the rules its key and members keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shards.errors import ShardError

_KEY = re.compile(r"[A-Za-z0-9_\-]+\Z")
_MEMBER = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*\Z")
MAX_NAME = 100  # bytes a ustar header keeps without a prefix; longer names would need pax headers


@dataclass(frozen=True)
class View:
    """One row of the index: where and when one member of a sample was seen."""

    member: str
    """Which member of the sample holds the pixels: `jpg`, `000.jpg`."""
    width: int
    height: int
    label: int | None = None
    split: str = "train"
    lon: float | None = None
    """Degrees east, -180 … 180, WGS84."""
    lat: float | None = None
    time: str | None = None
    """ISO 8601, UTC."""
    gsd_m: float | None = None
    """Ground sample distance, metres a pixel."""
    source: str = ""
    """Where the bytes came from: a path inside the archive, or a URL without secrets."""
    licence: str = ""
    parts: tuple[str, ...] = ()
    """Members with the other bands of the view, on coarser grids: `000.b20.b2nd`. The index keeps them in `parts`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """The source's own columns; the same keys and types in every view of a set."""


@dataclass(frozen=True)
class Sample:
    """A place: all its views lie together, so temporal pairs never leave a shard.

    Members of one key stand side by side in the tar as `key.member`. `json` holds the facts of the sample.
    """

    key: str
    """Letters, digits, `_` and `-`: readers end a key at its first dot."""
    members: Mapping[str, bytes]
    views: tuple[View, ...]

    def check(self) -> None:
        """Refuse what readers of WebDataset shards would misread.

        Raises:
            ShardError: the key has a dot, slash or space, a name is too long, or a view names no member.
        """
        check_key(self.key)
        if not self.members:
            raise ShardError(f"sample {self.key}: has no members; a sample needs at least one image")
        for member in self.members:
            if not _MEMBER.match(member):
                raise ShardError(
                    f"sample {self.key}: member {member!r} is not a lower-case ending such as `jpg` or `000.jpg`"
                )
            if len(f"{self.key}.{member}") > MAX_NAME:
                raise ShardError(
                    f"sample {self.key}: the name with .{member} passes {MAX_NAME} characters; shorten the key"
                )
        for view in self.views:
            for member in (view.member, *view.parts):
                if member not in self.members:
                    raise ShardError(f"sample {self.key}: the view {member!r} names no member")


def check_key(key: str) -> None:
    """Refuse a key that could not be read back.

    Raises:
        ShardError: see `clean_key` for the repair.
    """
    if not _KEY.match(key):
        raise ShardError(
            f"key {key!r}: only letters, digits, '_' and '-' are allowed (a dot would end the key)"
        )


def clean_key(text: str) -> str:
    """A legal key for any text: what is not allowed becomes `_`. Two texts may collide; a plan must check."""
    return re.sub(r"[^A-Za-z0-9_\-]", "_", text) or "_"
