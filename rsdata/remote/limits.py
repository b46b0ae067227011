"""One limiter round every call to a service, shared by all threads and processes of this user on this host.

Concurrency is N lock files; the kernel frees the locks of a killed process. The rate is one time stamp in a file.
Who waits stands in one line: a process that just had its turn lets the next one go first.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.errors import ConfigError

_POLL_S = 0.002
_STAMP = struct.Struct("<d")


def check_limits(concurrency: int, rate: float | None) -> None:
    """Refuse limits that let nothing through.

    Raises:
        ConfigError: one of them is not positive.
    """
    if concurrency < 1 or (rate is not None and not 0 < rate < math.inf):
        raise ConfigError(
            f"a limit of {concurrency} calls at once and {rate} a second lets nothing through; give positive numbers"
        )


class Limiter:
    """At most `concurrency` calls at once and `rate` calls a second, over all processes that use `folder`."""

    def __init__(self, folder: Path, concurrency: int, rate: float | None = None) -> None:
        check_limits(concurrency, rate)
        _make(folder)
        self.concurrency, self.rate = concurrency, rate
        self._queue = _Lock(folder / "queue")
        self._turn = _Lock(folder / "turn")
        self._stamp = _Lock(folder / "rate")
        self._slots = [_open(folder / f"slot-{k:04d}") for k in range(concurrency)]
        self._held: set[int] = set()
        self._freed = threading.Event()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for a slot, then for the rate, then hold the slot until the block ends."""
        slot = self._acquire()
        try:
            if self.rate is not None:
                time.sleep(self._reserve(self.rate))
            yield
        finally:
            fcntl.flock(self._slots[slot], fcntl.LOCK_UN)
            self._held.discard(slot)
            self._freed.set()

    def _acquire(self) -> int:
        """A slot; only the process whose turn it is looks for one, and the next waits behind it."""
        with self._queue:
            self._turn.acquire()
        try:
            while True:
                self._freed.clear()
                for slot, file in enumerate(self._slots):
                    if slot not in self._held and _try_lock(file):
                        self._held.add(slot)
                        return slot
                self._freed.wait(_POLL_S)
        finally:
            self._turn.release()

    def _reserve(self, rate: float) -> float:
        """Take the next free moment; seconds until then. A tenth of a second's worth may come at once."""
        burst_s = max(0.0, math.floor(rate / 10) - 1) / rate
        with self._stamp:
            now = time.monotonic()
            data = os.pread(self._stamp.file, _STAMP.size, 0)
            free = _STAMP.unpack(data)[0] if len(data) == _STAMP.size else now
            free = max(free, now - burst_s)
            os.pwrite(self._stamp.file, _STAMP.pack(free + 1 / rate), 0)
        return max(0.0, free - now)


Maker = Callable[[str, int, float | None], Limiter]
_maker: Maker | None = None


def share(maker: Maker) -> None:
    """Let `limiter_of` answer what `maker` makes: an engine with workers on several hosts counts over all of them."""
    global _maker
    _maker = maker


def limiter_of(service: str, concurrency: int, rate: float | None = None) -> Limiter:
    """The limiter of a service (its endpoint and the project that pays), the same one for the whole host.

    Where `share` was called it is what its maker makes.

    Raises:
        ConfigError: the temporary folder is not ours.
    """
    if _maker is not None:
        return _maker(service, concurrency, rate)
    name = hashlib.sha256(f"{_boot()} {service}".encode()).hexdigest()[:16]
    return Limiter(Path(tempfile.gettempdir()) / f"rsdata-limits-{os.getuid()}" / name, concurrency, rate)


class _Lock:
    """A lock between threads and, through the kernel, between processes."""

    def __init__(self, path: Path) -> None:
        self.file = _open(path)
        self._threads = threading.Lock()

    def acquire(self) -> None:
        self._threads.acquire()
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.flock(self.file, fcntl.LOCK_UN)
        self._threads.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (folder, folder.parent):
            if path.name.startswith("rsdata-limits-") and path.lstat().st_uid != os.getuid():
                raise ConfigError(
                    f"{path}: belongs to another user; remove it or set TMPDIR to a folder of yours"
                )
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made ({error.strerror}); set TMPDIR to a folder of yours"
        ) from None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _boot() -> str:
    """Which start of the machine this is: time stamps of the monotonic clock end with it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
