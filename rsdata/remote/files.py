"""Large files over HTTP: continued where they stopped, checked, and there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rsdata.remote.digests import check_digest, digest_of_file
from rsdata.remote.http import STALL_S, Client, is_page, page_error
from rsdata.remote.lock import locked
from rsdata.remote.pace import SLOWEST
from rsdata.remote.reach import shown
from rsdata.remote.retry import NETWORK, Backoff, RemoteError, retrying
from shards.errors import ConfigError
from shards.failures import FailureClass
from shards.store import write_error

if TYPE_CHECKING:
    import requests

_SPARE = 64 << 20
"""Bytes that stay free on a disk."""


class Watch(Protocol):
    """What shows progress; that of `shards.console` does."""

    done: int

    def expect(self, total: int | None) -> None:
        """How many bytes it will be."""

    def advance(self, count: int = 1) -> None:
        """So many more; negative where they have to be read again."""


@dataclass(frozen=True)
class _Origin:
    """Which file at a source the bytes here are of."""

    url: str = ""
    """Its sha256: a URL may hold a secret."""
    etag: str = ""
    modified: str = ""
    size: int | None = None
    digest: str = ""
    """That the whole file was found to have."""

    @property
    def version(self) -> str:
        """What a source takes for If-Range; empty where it gave nothing of the kind."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    @classmethod
    def read(cls, note: Path) -> _Origin:
        """What a note says; an empty one where there is none that can be read."""
        try:
            return cls(**json.loads(note.read_bytes()))
        except (OSError, ValueError, TypeError):
            return cls()


def download(
    url: str,
    path: Path,
    *,
    client: Client,
    size: int | None = None,
    digest: str | None = None,
    progress: Watch | None = None,
    backoff: Backoff = NETWORK,
    stall_s: float = STALL_S,
) -> None:
    """Bring a file.

    It grows as `.NAME.part` and gets its name when it is whole. After a kill the same call asks for the missing bytes,
    if the file at the source is still the same one. A file that is there already is kept if it has the digest or, where
    none is given, if the source says that it is unchanged. Of two processes the second waits and takes what is there.

    Args:
        url: http or https.
        path: of the file to be.
        client: of the host.
        size: bytes, where they are known before.
        digest: `sha256:…` or `md5:…` of the file.
        progress: is told what comes.
        backoff: between tries; a round of tries that was no slower than `pace.SLOWEST` is followed by another.
        stall_s: longest wait for the next byte, and longest time slower than `pace.SLOWEST`.

    Raises:
        RemoteError: it is not to be had, or is another file than was expected.
        UserError: the digest is no digest, or the disk is full.
    """
    check_digest(digest)
    with locked(path):
        try:
            _Download(url, path, client, size, digest, progress, stall_s).run(backoff)
        except OSError as error:
            raise write_error(error, str(path)) from None


@dataclass
class _Download:
    """One file on its way."""

    url: str
    path: Path
    client: Client
    size: int | None
    digest: str | None
    progress: Watch | None
    stall_s: float

    def __post_init__(self) -> None:
        self.part = self.path.with_name(f".{self.path.name}.part")
        self.part_note = self.path.with_name(f".{self.path.name}.part.json")
        self.note = self.path.with_name(f".{self.path.name}.from.json")
        self.url_id = hashlib.sha256(self.url.encode()).hexdigest()

    def run(self, backoff: Backoff) -> None:
        if self._is_there():
            return
        while True:
            have, start = self._have(), time.monotonic()
            try:
                return retrying(self._attempt, backoff)
            except RemoteError as error:
                slow = self._have() - have < SLOWEST * (time.monotonic() - start)
                if error.kind is not FailureClass.TRANSIENT or slow:
                    raise

    def _is_there(self) -> bool:
        """Whether the file is there with the digest that was asked for."""
        if self.digest is None or not self.path.exists():
            return False
        known = _Origin.read(self.note).digest
        return (known or digest_of_file(self.path, self.digest.split(":")[0])) == self.digest

    def _have(self) -> int:
        """Bytes of this URL that are here and can be continued."""
        if _Origin.read(self.part_note).url != self.url_id:
            return 0
        with contextlib.suppress(FileNotFoundError):
            return self.part.stat().st_size
        return 0

    def _attempt(self) -> None:
        """One call: for what is missing, or for everything.

        Raises:
            RemoteError: it ended early, or is not what was expected.
        """
        origin, have = _Origin.read(self.part_note), self._have()
        if have and have == origin.size:
            return self._finish(origin)
        headers = {"Accept-Encoding": "identity"} | self._conditions(origin, have)
        with self.client.open(self.url, headers, stall_s=self.stall_s) as (response, pieces):
            if response.status_code == 304 and not have:
                return
            if response.status_code not in (200, 206):
                raise self._restart(f"answered {response.status_code} for the rest of the file")
            found, start = self._describe(response)
            if start not in (0, have) or (
                start and (found.size != origin.size or (found.etag or origin.etag) != origin.etag)
            ):
                raise self._restart("changed while it was read")
            self._check_room(found, start)
            self.part_note.write_text(json.dumps(asdict(found)))
            self._write(pieces, start, found.size)
        self._finish(found)

    def _conditions(self, origin: _Origin, have: int) -> dict[str, str]:
        if have and (origin.version or self.digest):
            rest = {"Range": f"bytes={have}-"}
            return rest | {"If-Range": origin.version} if origin.version else rest
        former = _Origin.read(self.note)
        if self.digest is None and former.url == self.url_id and self.path.exists():
            if former.etag:
                return {"If-None-Match": former.etag}
            if former.modified:
                return {"If-Modified-Since": former.modified}
        return {}

    def _describe(self, response: requests.Response) -> tuple[_Origin, int]:
        """Of which file an answer is, and at which byte it begins."""
        said, start = response.headers, 0
        total = said.get("Content-Length", "")
        if said.get("Content-Encoding", "identity") != "identity":
            raise self._unfit("is sent in an encoding that was not asked for")
        if response.status_code == 206:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", said.get("Content-Range", ""))
            if not found or int(total or -1) != int(found[2]) - int(found[1]) + 1:
                raise RemoteError(
                    FailureClass.INVALID, f"{shown(self.url)}: sent another part than it says", again=True
                )
            start, total = int(found[1]), found[3]
        size = int(total) if total.isdecimal() else None
        if None not in (size, self.size) and size != self.size:
            raise self._unfit(
                f"has {size:,} bytes, expected {self.size:,}; it is another file at its source now"
            )
        etag, modified = said.get("ETag", ""), said.get("Last-Modified", "")
        return _Origin(self.url_id, etag, modified, size), start

    def _check_room(self, found: _Origin, start: int) -> None:
        """See that the rest fits on the disk.

        Raises:
            ConfigError: it does not.
        """
        rest, free = (found.size or 0) - start, shutil.disk_usage(self.path.parent).free
        if rest + _SPARE > free:
            raise ConfigError(
                f"{self.path.parent}: {shown(self.url)} needs {rest / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free; "
                "make room or choose another folder"
            )

    def _write(self, pieces: Iterator[bytes], start: int, size: int | None) -> None:
        limit = size if size is not None else self.size
        at = start
        self._show(at, limit)
        with self.part.open("r+b" if start else "wb", buffering=0) as file:
            file.seek(start)
            for piece in pieces:
                if not at and is_page(piece):
                    self._forget()
                    raise page_error(shown(self.url))
                file.write(piece)
                at += len(piece)
                self._show(at, limit)
                if limit is not None and at > limit:
                    raise self._unfit(f"goes on after its {limit:,} bytes")
            os.fsync(file.fileno())
        if limit is not None and at < limit:
            raise RemoteError(
                FailureClass.TRANSIENT,
                f"{shown(self.url)}: ended after {at:,} of {limit:,} bytes",
                again=True,
            )

    def _finish(self, found: _Origin) -> None:
        """Check the whole and give it its name.

        Raises:
            RemoteError: another digest; nothing is left of it.
        """
        if self.digest is not None:
            got = digest_of_file(self.part, self.digest.split(":")[0])
            if got != self.digest:
                raise self._unfit(
                    f"has the digest {got} ({self.part.stat().st_size:,} bytes), expected {self.digest}; what came was "
                    "removed. Run the command again; if this repeats, the file changed at its source: see its page, "
                    "then correct the digest that is expected"
                )
        self.part.replace(self.path)
        self.part_note.unlink()
        self.note.write_text(json.dumps(asdict(replace(found, digest=self.digest or ""))))
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _show(self, at: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress.expect(total)
            self.progress.advance(at - self.progress.done)

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.part_note.unlink(missing_ok=True)

    def _restart(self, why: str) -> RemoteError:
        self._forget()
        return RemoteError(FailureClass.TRANSIENT, f"{shown(self.url)}: {why}", again=True)

    def _unfit(self, why: str) -> RemoteError:
        self._forget()
        return RemoteError(FailureClass.INVALID, f"{shown(self.url)}: {why}")
