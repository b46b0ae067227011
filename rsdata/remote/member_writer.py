"""Members of archives of others as files: nothing outside of the folder, no name twice, nothing without end."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from shards.errors import UserError

PIECE = 1 << 20
"""Bytes that are read at once."""


class ArchiveError(UserError):
    """An archive that is damaged, or that is not safe to unpack."""


@dataclass(frozen=True)
class Limits:
    """What an archive may become."""

    total: int = 2 << 40
    """Bytes of all files."""
    ratio: float = 100.0
    """Bytes of all files for each byte of the archive."""
    floor: int = 256 << 20
    """So many bytes are allowed at any ratio: small archives of masks shrink to almost nothing."""
    member: int = 1 << 40
    """Bytes of one file."""
    count: int = 20_000_000
    """Files and folders."""

    def allowed(self, size: int) -> int:
        """Bytes that an archive of so many may become."""
        return min(self.total, max(self.floor, int(self.ratio * size)))


DEFAULT = Limits()


class MemberWriter:
    """Checks each member before it is written, and counts what is."""

    def __init__(
        self, archive: Path, file: IO[bytes], folder: Path, limits: Limits, advance: Callable[[int], None]
    ) -> None:
        self.archive, self.folder, self.limits = archive, folder, limits
        self._file, self._advance, self._at = file, advance, 0
        self.allowed = limits.allowed(archive.stat().st_size)
        self.name = ""
        self._written = self._count = 0
        self._folders = {"": ""}
        """Path of each folder as some file systems see it -> as it is spelled. Files are too many to be held."""

    def refuse(self, why: str) -> NoReturn:
        """Say why a member is not written."""
        raise ArchiveError(
            f"{self.archive}: is not unpacked, for its member {self.name[:200]!r} {why}; "
            "get the archive elsewhere, or look into it and give a folder that you unpacked yourself"
        )

    def damaged(self, error: Exception) -> ArchiveError:
        """An archive that ends early or does not hold what it says."""
        where = f" at or after its member {self.name[:200]!r}" if self.name else ""
        return ArchiveError(f"{self.archive}: is damaged{where} ({error}); remove it and fetch it again")

    def expect(self, size: int) -> None:
        """See that so many bytes are allowed and fit on the disk."""
        self._bound(size)
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise ArchiveError(
                f"{self.archive}: needs {size / 1e9:,.1f} GB in {self.folder.parent}, where {free / 1e9:,.1f} GB are "
                "free; make room or choose another folder"
            )

    def file(self, name: str, size: int, source: IO[bytes]) -> None:
        """A file and its content."""
        parts = self._claim(name)
        if size > self.limits.member:
            self.refuse(f"has {size:,} bytes, where {self.limits.member:,} are allowed")
        self._make(parts[:-1])
        with self._create("/".join(parts)) as file:
            while piece := source.read(PIECE):
                size -= len(piece)
                self._written += len(piece)
                self._bound(self._written)
                file.write(piece)
                self._tell()
        if size:
            raise EOFError(f"{size:,} bytes are missing")

    def make(self, name: str) -> None:
        """A folder."""
        self._make(self._claim(name))

    def tell_apart(self) -> None:
        """See that no file is one with another, or with a folder, where a file system cannot tell their names apart."""
        for folder in self._folders.values():
            seen: dict[str, str] = {}
            above = f"{folder}/" if folder else ""
            for name in sorted(path.name for path in (self.folder / folder).iterdir()):
                if (before := seen.setdefault(_folded(name), name)) != name:
                    self.name = above + name
                    self.refuse(f"collides with {f'{above}{before}'[:200]!r}")

    def _tell(self) -> None:
        """Say what was read; the members of a zip may lie in another order than its list."""
        at = max(self._at, self._file.tell())
        self._advance(at - self._at)
        self._at = at

    def _bound(self, size: int) -> None:
        if size > self.allowed:
            self.refuse(f"brings the files to more than {self.allowed:,} bytes, as a bomb does")

    def _claim(self, name: str) -> list[str]:
        """The parts of a member's path."""
        self.name = name
        self._count += 1
        if self._count > self.limits.count:
            self.refuse(f"is one of more than {self.limits.count:,}")
        return self._parts(name)

    def _make(self, parts: list[str]) -> None:
        """A folder and those above it, none of them spelled in two ways."""
        whole = "/".join(parts)
        if self._folders.get(_folded(whole)) == whole:
            return
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            before = self._folders.get(_folded(path))
            if before is None:
                try:
                    (self.folder / path).mkdir()
                except FileExistsError:
                    self.refuse(f"collides with {path[:200]!r}")
                self._folders[_folded(path)] = path
            elif before != path:
                self.refuse(f"collides with {f'{before}/'[:200]!r}")

    def _create(self, path: str) -> IO[bytes]:
        """A file that is not there yet."""
        try:
            return (self.folder / path).open("xb")
        except FileExistsError:
            there = self.folder / path
            self.refuse(f"collides with {f'{path}/'[:200]!r}" if there.is_dir() else "is there twice")

    def _parts(self, name: str) -> list[str]:
        if name.startswith("/") or re.match(r"[A-Za-z]:", name):
            self.refuse("has an absolute path")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            self.refuse("leads out of the folder")
        if "\\" in name or not name.isprintable():
            self.refuse("has a backslash, a control character or bytes that are no text in its name")
        if max(map(len, map(str.encode, parts)), default=0) > 255 or len(name) > 1000:
            self.refuse("has too long a name")
        return parts


def _folded(path: str) -> str:
    """A path as file systems see it that ignore case and how accents are written."""
    return unicodedata.normalize("NFC", path).casefold()
