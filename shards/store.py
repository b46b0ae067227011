"""Store: one folder, on a disk or behind any fsspec URL, in which a file is there whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from shards.errors import ShardError, UserError

_WAITS_S = (0.2, 1.0, 5.0, 20.0)
"""Between tries of what is read behind a URL."""


class Store:
    """A folder by path or URL (`/data/eurosat`, `s3://bucket/eurosat`, `memory://eurosat`)."""

    def __init__(self, folder: str | Path) -> None:
        text = str(folder)
        self.url = text.rstrip("/") or "/"
        self.local: Path | None = None
        if "://" not in text or text.startswith("file://"):
            self.local = Path(text.removeprefix("file://")).expanduser().absolute()
            self.url = str(self.local)
            self._opened: tuple[int, Any] = (0, None)
        else:
            fs, self._root = _remote(self.url)
            self._opened = (os.getpid(), fs)

    @property
    def _fs(self) -> Any:
        """The file system of a URL; its connections do not survive a fork, so each process opens its own."""
        process, fs = self._opened
        if self.local is None and process != os.getpid():
            fs, _ = _remote(self.url)
            self._opened = (os.getpid(), fs)
        return fs

    @classmethod
    def of(cls, folder: str | Path | Store) -> Self | Store:
        """`folder` itself if it is a store already."""
        return folder if isinstance(folder, Store) else cls(folder)

    def __str__(self) -> str:
        return self.url

    def path(self, name: str) -> str:
        """Full path or URL of a file, for messages and for other readers."""
        return f"{self.url}/{name}"

    def make(self) -> None:
        """Create the folder (an object store has none to create)."""
        if self.local is None:
            return
        try:
            self.local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ShardError(
                f"{self.local}: cannot be made ({error.strerror}); choose another folder"
            ) from None

    def exists(self, name: str) -> bool:
        """Whether the file is there (and then it is whole)."""
        if self.local is not None:
            return (self.local / name).exists()
        return bool(self._fs.exists(f"{self._root}/{name}"))

    def size(self, name: str) -> int:
        """Bytes of a file."""
        if self.local is not None:
            return (self.local / name).stat().st_size
        return int(self._fs.size(f"{self._root}/{name}"))

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes [start, end) of a file; behind a URL they are asked for again where that may help.

        Raises:
            ShardError: the file is not there or cannot be read.
        """
        if self.local is None:
            return self._patiently(name, start, end)
        try:
            with (self.local / name).open("rb") as file:
                file.seek(start)
                return file.read() if end is None else file.read(end - start)
        except OSError as error:
            raise self._unreadable(name, error) from None

    def _patiently(self, name: str, start: int, end: int | None) -> bytes:
        waits_s = iter(_WAITS_S)
        while True:
            try:
                return self._cat(name, start, end)
            except OSError as error:
                lasting = isinstance(error, FileNotFoundError | PermissionError)
                wait_s = None if lasting else next(waits_s, None)
                if wait_s is None:
                    raise self._unreadable(name, error) from None
            time.sleep(wait_s)

    def _unreadable(self, name: str, error: OSError) -> ShardError:
        if isinstance(error, FileNotFoundError):
            return ShardError(f"{self.path(name)}: there is no such file")
        return ShardError(f"{self.path(name)}: cannot be read ({error.strerror or error})")

    def _cat(self, name: str, start: int, end: int | None) -> bytes:
        try:
            data: bytes = self._fs.cat_file(f"{self._root}/{name}", start=start or None, end=end)
            return data
        except OSError:
            raise
        except Exception as error:  # each protocol's client has errors of its own
            status = getattr(error, "status", None)
            what = type(error).__name__ if status is None else f"HTTP {status}"
            final = status is not None and 400 <= status < 500 and status not in (408, 429)
            raise (PermissionError if final else OSError)(
                None, what
            ) from error  # its text may hold a signed URL

    def fetch(self, name: str, file: IO[bytes], *, size: int, sha256: str, piece: int = 8 << 20) -> None:
        """Copy a file of known digest into another, a piece at a time.

        Raises:
            ShardError: it cannot be read, or is not the file that was expected.
        """
        digest = hashlib.sha256()
        for start in range(0, size, piece):
            data = self.read(name, start, min(start + piece, size))
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise ShardError(
                f"{self.path(name)}: has the sha256 {digest.hexdigest()[:12]}…, dataset.json says {sha256[:12]}…\n"
                f"  It is damaged or of another version. Run: rsdata verify {self.url}"
            )

    def names(self, folder: str = "") -> list[str]:
        """Names of the files directly in `folder`, sorted, unfinished parts left out."""
        try:
            if self.local is not None:
                found = [entry.name for entry in os.scandir(self.local / folder) if entry.is_file()]
            else:
                root = f"{self._root}/{folder}".rstrip("/")
                self._fs.invalidate_cache()
                rows = self._fs.ls(root, detail=True)
                found = [row["name"].rsplit("/", 1)[1] for row in rows if row["type"] == "file"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ShardError(
                f"{self.url}: cannot be listed ({error.strerror or error}); give a folder that can be read"
            ) from None
        return sorted(name for name in found if not _is_part(name))

    def write(self, name: str, data: bytes) -> None:
        """Write a small file whole or not at all."""
        with self.create(name) as file:
            file.write(data)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """A file that appears under its name only when the block ends without an error.

        On a disk: a part file beside it, fsync, rename, fsync of the folder. Behind a URL: a local temporary file,
        then one upload, which object stores make visible at once.

        Raises:
            ShardError: the disk is full, or the folder cannot be written.
        """
        part = self._part(name)
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if self.local is not None:
                part.replace(self.local / name)
                _fsync_folder(part.parent)
            else:
                self._fs.makedirs(f"{self._root}/{name}".rsplit("/", 1)[0], exist_ok=True)
                self._fs.put_file(str(part), f"{self._root}/{name}")
        except OSError as error:
            raise write_error(error, self.path(name)) from error
        finally:
            part.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Delete a file; no error if it is not there."""
        if self.local is not None:
            (self.local / name).unlink(missing_ok=True)
        elif self._fs.exists(f"{self._root}/{name}"):
            self._fs.rm_file(f"{self._root}/{name}")

    def sweep(self, folder: str = "") -> None:
        """Delete the parts that killed writers left behind. Only while no other writer is at work."""
        if self.local is not None and (self.local / folder).is_dir():
            for entry in os.scandir(self.local / folder):
                if _is_part(entry.name):
                    Path(entry.path).unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        tag = f"{os.getpid()}-{secrets.token_hex(4)}.part"
        if self.local is not None:
            target = self.local / name
            return target.with_name(f".{target.name}.{tag}")
        import tempfile

        return Path(tempfile.gettempdir()) / f".{Path(name).name}.{tag}"


def _is_part(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(error: OSError, where: str) -> UserError:
    """A failed write as one plain message."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ShardError(
            f"{where}: the disk is full; nothing half was left behind\n"
            "  Free some space and run the same command again: it continues where it stopped."
        )
    return ShardError(f"{where}: cannot be written ({error.strerror or error})")


def _remote(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        fs, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        scheme = url.split("://")[0]
        extra = " (install the extra: pip install 'rspretrain[s3]')" if scheme in ("s3", "s3a") else ""
        raise ShardError(f"{url}: no reader for {scheme}:// is installed{extra}: {error}") from None
    return fs, root.rstrip("/")
