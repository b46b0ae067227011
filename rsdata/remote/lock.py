"""One process at a time at a file that several may want to make."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shards.console import say
from shards.errors import ConfigError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the right to make `path`; whoever else wants it waits. A killed holder frees it.

    The lock is a file `.NAME.lock` beside it, which goes when it is released.

    Raises:
        ConfigError: the folder cannot be written.
    """
    name = path.with_name(f".{path.name}.lock")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        file = _acquire(name, path.name)
    except OSError as error:
        raise ConfigError(
            f"{name.parent}: cannot be written ({error.strerror}); choose another folder"
        ) from None
    try:
        yield
    finally:
        name.unlink(
            missing_ok=True
        )  # while it is held: who waits for it sees that it is another file, and tries again
        os.close(file)


def _acquire(name: Path, what: str) -> int:
    told = False
    while True:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                say(f"{what}: waiting for another process that makes it")
                told = True
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, name):
            return file
        os.close(file)


def _is_at(file: int, name: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), name.stat())
    except FileNotFoundError:
        return False
