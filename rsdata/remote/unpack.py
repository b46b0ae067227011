"""Archives of others, member by member: nothing outside of the folder, nothing but files, nothing without end.

The folder appears when everything is in it. Whatever is wrong with one member refuses the whole archive.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from shards.errors import UserError
from shards.store import write_error

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PIECE = 1 << 20
_LARGEST_READ = 8 << 20
"""Bytes that may be read of a tar at once: a piece, or the header of a member with its long name."""
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, NotImplementedError,
    UnicodeError,
)  # fmt: skip


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


def unpack(
    archive: Path, folder: Path, *, limits: Limits = DEFAULT, advance: Callable[[int], None] = lambda _: None
) -> None:
    """Write the files of a zip or a tar (plain, gz, bz2, xz) into a folder that is not there yet.

    Modes, owners and times of members are not taken over. What an interrupted call left is removed first, so no two
    may run for one folder at a time.

    Args:
        archive: the file.
        folder: to be.
        limits: what it may become.
        advance: told how many further bytes of the archive were read.

    Raises:
        ArchiveError: damaged, of another kind, or with a member that is refused; nothing is left behind.
        UserError: the disk is full, or the archive cannot be read.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        with archive.open("rb") as file:
            start = file.read(265)
            file.seek(0)
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            writer = _Writer(archive, file, part, limits, advance)
            try:
                _read(file, start, writer)
            except _DAMAGE as error:
                raise writer.damaged(error) from None
            except OSError as error:
                if error.errno is None:  # how bz2 and gzip say that the data are none of theirs
                    raise writer.damaged(error) from None
                raise
        os.sync()
        part.replace(folder)
    except OSError as error:
        raise write_error(error, f"{folder}, from {archive}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


class _Writer:
    """Checks each member before it is written, and counts what is."""

    def __init__(
        self, archive: Path, file: IO[bytes], folder: Path, limits: Limits, advance: Callable[[int], None]
    ) -> None:
        self.archive, self.folder, self.limits = archive, folder, limits
        self._file, self._advance, self._at = file, advance, 0
        self.allowed = limits.allowed(archive.stat().st_size)
        self.name = ""
        self._written = self._count = 0
        self._folders: set[str] = {""}
        """That were made, as they are spelled."""
        self._seen: dict[str, str] = {}
        """Path as some file systems see it -> as it is spelled, with a slash at the end of a folder's."""

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
        path = self._claim(name, folder=False)
        if size > self.limits.member:
            self.refuse(f"has {size:,} bytes, where {self.limits.member:,} are allowed")
        with (self.folder / path).open("xb") as file:
            while piece := source.read(_PIECE):
                size -= len(piece)
                self._written += len(piece)
                self._bound(self._written)
                file.write(piece)
                self._tell()
        if size:
            raise EOFError(f"{size:,} bytes are missing")

    def make(self, name: str) -> None:
        """A folder."""
        self._claim(name, folder=True)

    def _tell(self) -> None:
        """Say what was read; the members of a zip may lie in another order than its list."""
        at = max(self._at, self._file.tell())
        self._advance(at - self._at)
        self._at = at

    def _bound(self, size: int) -> None:
        if size > self.allowed:
            self.refuse(f"brings the files to more than {self.allowed:,} bytes, as a bomb does")

    def _claim(self, name: str, *, folder: bool) -> str:
        """The path of a member; nothing else has it, also where a file system cannot tell two names apart."""
        self.name = name
        self._count += 1
        if self._count > self.limits.count:
            self.refuse(f"is one of more than {self.limits.count:,}")
        parts = self._parts(name)
        if not parts and folder:
            return ""
        above = "/".join(parts[:-1])
        if above not in self._folders:
            for depth in range(1, len(parts)):
                self._take("/".join(parts[:depth]), folder=True)
        path = "/".join(parts)
        self._take(path, folder=folder)
        return path

    def _take(self, path: str, *, folder: bool) -> None:
        key = unicodedata.normalize("NFC", path).casefold()
        mine = f"{path}/" if folder else path
        before = self._seen.get(key)
        if before is None:
            self._seen[key] = mine
        elif before != mine:
            self.refuse(f"collides with {before[:200]!r}")
        elif not folder:
            self.refuse("is there twice")
        if folder:
            (self.folder / path).mkdir(exist_ok=True)
            self._folders.add(path)

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


def _read(file: IO[bytes], start: bytes, writer: _Writer) -> None:
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(file) as archive:
            return _unzip(archive, writer)
    if start.startswith(b"\x1f\x8b"):
        return _untar(cast(IO[bytes], gzip.GzipFile(fileobj=file)), writer)
    if start.startswith(b"BZh"):
        return _untar(cast(IO[bytes], bz2.BZ2File(file)), writer)
    if start.startswith(b"\xfd7zXZ\x00"):
        return _untar(cast(IO[bytes], lzma.LZMAFile(file)), writer)
    if start[257:262] == b"ustar":
        return _untar(file, writer)
    raise ArchiveError(
        f"{writer.archive}: is no archive that can be unpacked; expected one of {', '.join(ENDINGS)}"
    )


def _unzip(archive: zipfile.ZipFile, writer: _Writer) -> None:
    members = archive.infolist()
    for member in members:
        writer.name = member.filename
        if "\0" in member.orig_filename:
            writer.refuse("has a backslash, a control character or bytes that are no text in its name")
        if member.flag_bits & 0x1:
            writer.refuse("is encrypted")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            writer.refuse("is a link" if kind == stat.S_IFLNK else "is no file")
    writer.name = max(members, key=lambda member: member.file_size).filename if members else ""
    writer.expect(sum(member.file_size for member in members))
    for member in members:
        if member.is_dir():
            writer.make(member.filename)
        else:
            with archive.open(member) as source:
                writer.file(member.filename, member.file_size, source)


def _untar(stream: IO[bytes], writer: _Writer) -> None:
    """The members in their order, each read once.

    `tarfile` ends in silence where a header is cut off or is not one, so the end is looked for here.
    """
    reader = _Bounded(stream, writer)
    with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r:") as archive:
        while (member := archive.next()) is not None:
            cast(Any, archive).members.clear()  # else it keeps them all
            writer.name = member.name
            if member.isdir():
                writer.make(member.name)
                continue
            if not member.isreg() or member.issparse():
                writer.refuse("is a link" if member.issym() or member.islnk() else "is no file")
            source = archive.extractfile(member)
            assert source is not None
            writer.file(member.name, member.size, source)
    if reader.last.strip(b"\0") or len(reader.last) != tarfile.BLOCKSIZE:
        raise EOFError("it ends without the mark of its end")
    while reader.read(_PIECE):  # to the check sum of the compression
        pass


class _Bounded:
    """A stream that cannot be read far beyond what is allowed: headers can be bombs, too."""

    def __init__(self, stream: IO[bytes], writer: _Writer) -> None:
        self._stream, self._writer = stream, writer
        self._allowed = 2 * writer.allowed + (64 << 20)
        """Bytes: files are counted elsewhere, this is for what stands between them."""
        self.last = b""
        """What was read last."""

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _LARGEST_READ:
            self._writer.refuse(f"is followed by a header of {count:,} bytes")
        self.last = self._stream.read(count)
        if self._stream.tell() > self._allowed:
            self._writer.refuse("is followed by more bytes than are allowed, as in a bomb")
        return self.last

    def seek(self, position: int) -> int:
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()
