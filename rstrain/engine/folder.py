"""A run folder: its config before the first step, and the refusal of a folder that holds another run."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rstrain import distributed
from rstrain.config import TrainConfig, load_config
from rstrain.distributed import World
from rstrain.engine.checkpoint import last_exists
from rstrain.engine.machine import write_environment
from shards.errors import ConfigError, ShardError
from shards.store import Store

_LOCK = ".lock"


def check_run(config: TrainConfig, out: Path, world: World) -> None:
    """Refuse a folder that is not this run's; writes nothing. Options may change until there is a checkpoint.

    Raises:
        ConfigError: the folder is another run's, or holds something else.
    """
    if not world.is_main:
        return
    if (out / "config.toml").exists():
        if last_exists(out / "checkpoints"):
            _same(load_config(out / "config.toml"), config, out)
    elif out.is_dir() and any(entry.name != _LOCK for entry in out.iterdir()):
        raise ConfigError(f"{out}: is not empty and is no run folder (no config.toml); choose another --out")


@contextmanager
def locked(out: Path, world: World) -> Iterator[None]:
    """Make the folder and keep other processes from training in it.

    Raises:
        ConfigError: another process is at work there.
        ShardError: the folder cannot be made or written.
    """
    if not world.is_main:
        yield
        return
    Store(out).make()
    try:
        file = (out / _LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise ShardError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"{out}: another training is at work here ({file.read().strip() or 'process unknown'}); wait for it, "
                "or stop it and run this again"
            ) from None
        except OSError:  # a file system without locks
            pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def open_run(config: TrainConfig, out: Path, world: World) -> None:
    """Rank 0 writes config.toml and environment.json, before any work starts."""
    if world.is_main:
        store = Store(out)
        store.sweep()
        store.sweep("checkpoints")
        store.write("config.toml", config.to_toml().encode())
        write_environment(out, world)
    distributed.barrier()


def changes(old: dict[str, Any], new: dict[str, Any], holder: str) -> str:
    """A line for each value (of nested tables too) in which `new` differs from what `holder` has; empty if none does."""
    before, after = _flat(old), _flat(new)
    return "\n".join(
        f"  {key}: {holder} has {before.get(key)!r}, now {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )


def _same(old: TrainConfig, new: TrainConfig, out: Path) -> None:
    if changed := changes(old.weights_matter(), new.weights_matter(), "the run"):
        raise ConfigError(
            f"{out}: holds a run with other options\n{changed}\n"
            "  Use another --out for a new run, or the old options to go on with this one."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
