"""Archives of others, member by member: nothing outside of the folder, nothing but files, nothing without end.

The folder appears when everything is in it. Whatever is wrong with one member refuses the whole archive.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from rsdata.remote.member_writer import DEFAULT, PIECE, ArchiveError, Limits, MemberWriter
from shards.store import write_error

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_LARGEST_READ = 8 << 20
"""Bytes that may be read of a tar at once: a piece, or the header of a member with its long name."""
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError, NotImplementedError,
    UnicodeError,
)  # fmt: skip


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
            writer = MemberWriter(archive, file, part, limits, advance)
            try:
                _read(file, start, writer)
            except _DAMAGE as error:
                raise writer.damaged(error) from None
            except OSError as error:
                if error.errno is None:  # how bz2 and gzip say that the data are none of theirs
                    raise writer.damaged(error) from None
                raise
            writer.tell_apart()
        os.sync()
        part.replace(folder)
    except OSError as error:
        raise write_error(error, f"{folder}, from {archive}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _read(file: IO[bytes], start: bytes, writer: MemberWriter) -> None:
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


def _unzip(archive: zipfile.ZipFile, writer: MemberWriter) -> None:
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


def _untar(stream: IO[bytes], writer: MemberWriter) -> None:
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
    while reader.read(PIECE):  # to the check sum of the compression
        pass


class _Bounded:
    """A stream that cannot be read far beyond what is allowed: headers can be bombs, too."""

    def __init__(self, stream: IO[bytes], writer: MemberWriter) -> None:
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
