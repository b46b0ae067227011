"""Where a tar differs from what the index and dataset.json say of it, to the byte wherever that can be known."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from shards.dataset import Shard

_BLOCK = 512


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it was written."""

    file: str
    """`NAME-000003.tar`, `index.parquet`, `wids.json`."""
    key: str
    """Sample, where one is hit."""
    byte: int | None
    """Offset in the file of the first byte that is, or may be, wrong."""
    what: str

    def __str__(self) -> str:
        place = f"{self.file}" + (f", sample {self.key}" if self.key else "")
        return place + (f", byte {self.byte:,}" if self.byte is not None else "") + f": {self.what}"


@dataclass(frozen=True)
class IndexRow:
    """What a check needs of an index row."""

    key: str
    member: str
    offset: int
    length: int
    crc32: int
    sha256: str | None
    """None where the index keeps the crc alone."""
    sample_offset: int
    sample_length: int
    sample_crc32: int
    label: int | None
    parts: str | None = None
    """JSON: the other members of the view."""

    def members(self) -> list[IndexRow]:
        """The row itself, and one for each other member of the view."""
        places = json.loads(self.parts) if self.parts else {}
        return [self] + [
            replace(
                self,
                member=name,
                offset=self.offset + at,
                length=length,
                crc32=crc,
                sha256=None,
                parts=None,
            )
            for name, (at, length, crc) in places.items()
        ]


def damages_of(
    data: memoryview, shard: Shard, rows: list[IndexRow] | None, owner: dict[str, str]
) -> Iterator[Damage]:
    """Damages of one shard in the order of the file.

    Args:
        data: the whole tar.
        shard: what dataset.json says of it.
        rows: its rows of the index; None where the index cannot be used: then only the digest is compared.
        owner: shard names by sha256, to tell swapped files.
    """
    digest = hashlib.sha256(data).hexdigest()
    if digest != shard.sha256 and digest in owner:
        yield Damage(
            shard.name, "", 0, f"holds the bytes of {owner[digest]}: the files were swapped or renamed"
        )
        return
    found = False
    for damage in _walk(data, shard, rows) if rows is not None else ():
        found = True
        yield damage
    if digest != shard.sha256 and not found:
        what = f"sha256 is {digest[:12]}…, expected {shard.sha256[:12]}…"
        yield Damage(shard.name, "", 0 if rows is None else None, what)


def _walk(data: memoryview, shard: Shard, rows: list[IndexRow]) -> Iterator[Damage]:
    """Damages in the order of the file."""
    samples: dict[tuple[int, str], list[IndexRow]] = {}
    for row in rows:
        samples.setdefault((row.sample_offset, row.key), []).append(row)
    at = 0
    for (start, key), views in sorted(samples.items()):
        if start != at:
            yield Damage(
                shard.name, key, start, f"the index puts the sample here, but the one before ends at {at:,}"
            )
        at = start + views[0].sample_length
        if at > len(data):
            yield Damage(
                shard.name,
                key,
                len(data),
                f"the file is truncated: {len(data):,} bytes, expected {shard.bytes:,}",
            )
            return
        region = data[start:at]
        views = [member for view in views for member in view.members()]
        try:
            if zlib.crc32(region) != views[0].sample_crc32:
                name = _name(region[:_BLOCK])
                if name and name.split(".")[0] != key and _intact(region[:_BLOCK]):
                    what = (
                        f"holds sample {name.split('.')[0]} here: the tar was packed again in another order"
                    )
                    yield Damage(shard.name, key, start, what)
                    return
                yield from _in_sample(region, shard.name, key, start, views)
            else:
                yield from _rows_hold(region, shard.name, start, views)
        finally:
            region.release()
    if len(samples) != shard.samples or len(rows) != shard.views:
        what = f"the index has {len(samples):,} samples and {len(rows):,} views of it; dataset.json {shard.samples:,} and {shard.views:,}"
        yield Damage(shard.name, "", None, what)
    yield from _trailer(data, at, shard)


def _trailer(data: memoryview, at: int, shard: Shard) -> Iterator[Damage]:
    tail = bytes(data[at : shard.bytes])
    if tail.strip(b"\0"):
        first = at + len(tail) - len(tail.lstrip(b"\0"))
        yield Damage(shard.name, "", first, "the end of the archive is not zero")
    if len(data) < shard.bytes:
        what = f"the end of the archive is truncated: {len(data):,} bytes, expected {shard.bytes:,}"
        yield Damage(shard.name, "", len(data), what)
    if len(data) > shard.bytes:
        what = f"{len(data) - shard.bytes:,} bytes follow the end of the archive"
        yield Damage(shard.name, "", shard.bytes, what)


def _rows_hold(region: memoryview, file: str, start: int, views: list[IndexRow]) -> Iterator[Damage]:
    """The sample is whole: whether its rows of the index say so too."""
    for row in views:
        at = row.offset - start
        body = region[at : at + row.length]
        header = region[max(at - _BLOCK, 0) : max(at, 0)]
        if _name(header) != f"{row.key}.{row.member}" or _size(header) != row.length:
            what = f"the index puts {row.member} here, but its header is not before it"
            yield Damage(file, row.key, row.offset, what)
        elif zlib.crc32(body) != row.crc32 or row.sha256 not in (None, hashlib.sha256(body).hexdigest()):
            yield Damage(file, row.key, row.offset, f"{row.member} does not match its digests in the index")


def _in_sample(
    region: memoryview, file: str, key: str, start: int, views: list[IndexRow]
) -> Iterator[Damage]:
    """Where a sample whose digest differs was hit: a header and padding to the byte, else the member."""
    known = {row.member: row for row in views}
    known_headers = {row.offset - start - _BLOCK for row in views}
    unknown: list[Damage] = []
    found = False
    at = 0
    while at < len(region):
        header = bytes(region[at : at + _BLOCK])
        row = _row_at(views, start + at + _BLOCK)
        named = (f"{row.key}.{row.member}", row.length) if row else _likely(region, at, key, known_headers)
        if named is None:
            yield Damage(file, key, start + at, "the header of a member is not readable")
            return
        name, size = named
        wrong = _first_difference(header, _header(name, size))
        if wrong is not None:
            found = True
            yield Damage(file, key, start + at + wrong, f"the header of {name} differs")
        at += _BLOCK
        body = region[at : at + size]
        member = name[len(key) + 1 :]
        if member in known:
            if zlib.crc32(body) != known[member].crc32:
                found = True
                yield Damage(
                    file, key, start + at, f"the contents of {name} differ ({size:,} bytes from here)"
                )
        elif member != "cls" or bytes(body) != str(views[0].label).encode():
            unknown.append(
                Damage(file, key, start + at, f"the contents of {name} differ ({size:,} bytes from here)")
            )
        padding = bytes(region[at + size : at + size + -size % _BLOCK])
        if padding.strip(b"\0"):
            found = True
            first = len(padding) - len(padding.lstrip(b"\0"))
            yield Damage(file, key, start + at + size + first, f"the padding after {name} is not zero")
        at += size + -size % _BLOCK
    if not found:  # members without a row of their own (json, cls) are what is left
        yield from unknown or [Damage(file, key, start, "the sample's crc differs")]


def _likely(region: memoryview, at: int, key: str, known: set[int]) -> tuple[str, int] | None:
    """Name and size that the header at `at`, of a member without a row, has or most likely had; None: no idea.

    A member that is json or text does not end in zeros, so where its header is hit its last byte tells its size.
    """
    header = bytes(region[at : at + _BLOCK])
    size = _size(header)
    if _intact(header) and size is not None:
        return (_name(header), size) if _name(header).startswith(f"{key}.") else None
    end = at + _BLOCK
    while end < len(region) and end not in known and not _intact(region[end : end + _BLOCK]):
        end += _BLOCK
    size = len(bytes(region[at + _BLOCK : end]).rstrip(b"\0"))
    names = [f"{key}.cls", f"{key}.json", _name(header)]
    wrong = [sum(a != b for a, b in zip(header, _header(name, size), strict=True)) for name in names]
    best = wrong.index(min(wrong))
    return (names[best], size) if wrong[best] <= _BLOCK // 8 and names[best].startswith(f"{key}.") else None


def _row_at(views: list[IndexRow], offset: int) -> IndexRow | None:
    return next((row for row in views if row.offset == offset), None)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uname, info.gname = size, 0o444, "bigdata", "bigdata"
    return info.tobuf(tarfile.USTAR_FORMAT)


def _first_difference(a: bytes, b: bytes) -> int | None:
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _name(header: Any) -> str:
    return bytes(header[:100]).split(b"\0")[0].decode("ascii", "replace")


def _size(header: Any) -> int | None:
    try:
        return int(bytes(header[124:136]).split(b"\0")[0], 8)
    except ValueError:
        return None


def _intact(header: Any) -> bool:
    size = _size(header)
    return size is not None and bytes(header) == _header(_name(header), size)
