"""ShardWriter: the same samples give the same bytes, and the tar appears only when it is whole.

Plain ustar with fixed owner, mode and time: byte for byte what `webdataset.TarWriter(mtime=0)` writes (a test compares
them). The headers are made here because importing webdataset imports torch, two seconds and 200 MB for each worker
that writes a shard.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from shards.errors import ShardError
from shards.sample import Sample
from shards.store import Store

_BLOCK = 512
_RECORD = tarfile.RECORDSIZE


@dataclass(frozen=True)
class Place:
    """Where a member's bytes lie."""

    offset: int
    length: int
    crc32: int
    sha256: str


@dataclass(frozen=True)
class Written:
    """Where a sample lies: one region of the tar, headers and padding included, and its members inside."""

    offset: int
    length: int
    crc32: int
    members: dict[str, Place]


@dataclass(frozen=True)
class ShardFacts:
    """What dataset.json says of one shard."""

    name: str
    bytes: int
    samples: int
    views: int
    sha256: str


class ShardWriter:
    """Writes one tar; use through `open_shard`."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self.name = name
        self._file = file
        self._hash = hashlib.sha256()
        self._at = 0
        self._keys: set[str] = set()
        self._views = 0

    def write(self, sample: Sample) -> Written:
        """Append a sample; members are sorted and lie side by side.

        Raises:
            ShardError: the key is not legal, or differs from an earlier one at most in case.
        """
        sample.check()
        self._claim(sample.key, len(sample.views))
        start, blocks, places = self._at, [], {}
        at = start
        for member in sorted(sample.members):
            data = sample.members[member]
            info = tarfile.TarInfo(f"{sample.key}.{member}")
            info.size, info.mode, info.uname, info.gname = len(data), 0o444, "bigdata", "bigdata"
            blocks += [info.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % _BLOCK)]
            places[member] = Place(at + _BLOCK, len(data), zlib.crc32(data), hashlib.sha256(data).hexdigest())
            at += _BLOCK + len(data) + len(blocks[-1])
        region = b"".join(blocks)
        self._put(region)
        return Written(start, len(region), zlib.crc32(region), places)

    def copy(self, key: str, region: bytes, views: int) -> int:
        """Append a sample's region as it stands in another shard; answers its new offset."""
        self._claim(key, views)
        start = self._at
        self._put(region)
        return start

    def _claim(self, key: str, views: int) -> None:
        if key.lower() in self._keys:
            raise ShardError(
                f"{self.name}: key {key!r} occurs twice (the case of letters does not tell keys apart)"
            )
        self._keys.add(key.lower())
        self._views += views

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._at += len(data)

    def close(self) -> ShardFacts:
        """Write the end of the archive."""
        self._put(bytes(2 * _BLOCK))
        self._put(bytes(-self._at % _RECORD))
        return ShardFacts(self.name, self._at, len(self._keys), self._views, self._hash.hexdigest())


@contextmanager
def open_shard(store: Store, name: str) -> Iterator[ShardWriter]:
    """A writer whose tar gets its name when the block ends well; call `close()` inside for the facts."""
    with store.create(name) as file:
        yield ShardWriter(name, file)
