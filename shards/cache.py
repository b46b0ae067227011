"""Shards of a remote set on a local disk: fetched whole, their digest checked, the ones used longest ago let go."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shards.dataset import Shard
from shards.errors import ConfigError, ShardError
from shards.store import Store, write_error


class ShardCache:
    """A folder that processes and ranks of a host share; a file in it is whole and is what its name, a digest, says.

    Files are evicted by the time of their last use. One that is mapped stays readable after it is gone.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit = Path(folder).expanduser().absolute(), limit_bytes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: cannot be made ({error.strerror}); choose another --cache"
            ) from None

    def path(self, shard: Shard) -> Path:
        """Where a shard lies once it is here."""
        return self.folder / f"{shard.sha256}.tar"

    def has(self, shard: Shard) -> bool:
        """Whether it is here; it counts as used now."""
        try:
            os.utime(self.path(shard))
        except FileNotFoundError:
            return False
        return True

    def get(self, store: Store, shard: Shard, *, wait: bool = True) -> Path | None:
        """The local file of a shard, fetched if it is not here.

        `wait=False`: None if another process is fetching it.

        Raises:
            ShardError: it cannot be fetched, or is not what dataset.json says.
            ConfigError: the cache is smaller than the shard.
        """
        if self.has(shard):
            return self.path(shard)
        if shard.bytes > self.limit:
            raise ConfigError(
                f"{self.folder}: may hold {self.limit / 1e9:.2f} GB, but {shard.name} alone has "
                f"{shard.bytes / 1e9:.2f}: use a larger --cache-gb"
            )
        with self._locked(f".{shard.sha256}.lock", wait) as mine:
            if not mine:
                return None
            if not self.has(shard):
                self._fetch(store, shard)
        return self.path(shard)

    def open(self, store: Store, shard: Shard) -> IO[bytes]:
        """A shard to read from, fetched if it is not here.

        Raises:
            ShardError: as `get`.
        """
        while True:
            path = self.get(store, shard)
            assert path is not None
            with contextlib.suppress(FileNotFoundError):  # evicted in between
                return path.open("rb")

    def _fetch(self, store: Store, shard: Shard) -> None:
        part = self.folder / f".{shard.sha256}.part"
        try:
            with part.open("wb") as file:
                with self._locked(".room", True):
                    file.truncate(0)
                    self._make_room(shard.bytes)
                    file.truncate(shard.bytes)  # its room is taken from now on
                store.fetch(shard.name, file, size=shard.bytes, sha256=shard.sha256)
            part.replace(self.path(shard))
        except OSError as error:
            raise write_error(error, str(part)) from None
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Delete what was used longest ago until `size` more bytes fit."""
        files = []
        for entry in os.scandir(self.folder):
            if entry.name.endswith((".tar", ".part")):
                with contextlib.suppress(FileNotFoundError):
                    facts = entry.stat()
                    files.append((facts.st_mtime_ns, facts.st_size, Path(entry.path)))
        total = sum(size for _, size, _ in files)
        for _, bytes_, path in sorted(files):
            if total + size <= self.limit:
                return
            if path.suffix == ".part" and self._is_fetched(path):
                continue
            path.unlink(missing_ok=True)
            total -= bytes_

    def _is_fetched(self, part: Path) -> bool:
        """Whether somebody holds the lock of a part; a killed process leaves one without."""
        with self._locked(part.name.replace(".part", ".lock"), False) as free:
            return not free

    @contextmanager
    def _locked(self, name: str, wait: bool) -> Iterator[bool]:
        """Hold a lock of the folder; a process that dies lets it go. Lock files are empty and stay."""
        file = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(file)


class Fetcher:
    """Brings shards in a thread, in the order in which they will be read, as far as the cache holds them."""

    def __init__(self, cache: ShardCache, store: Store) -> None:
        self._cache, self._store = cache, store
        self._wanted: list[Shard] = []
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def want(self, shards: list[Shard]) -> None:
        """The shards read next, first things first; replaces what was wanted before."""
        room, wanted = self._cache.limit, []
        for shard in shards:
            room -= shard.bytes
            if room < 0:
                break
            wanted.append(shard)
        self._wanted = wanted
        self._news.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fetcher", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            for shard in self._wanted:
                self._cache.has(shard)  # what is needed soon goes last
            for shard in self._wanted:
                with contextlib.suppress(ShardError, ConfigError):  # the reader meets it again, and says so
                    self._cache.get(self._store, shard, wait=False)
                if self._news.is_set():
                    break
