"""Checkpoints: whole or absent, checked against their digest, and refused where a resume could not be exact."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import IO, Any, cast

import torch

from rstrain.interop.backbone import CheckpointError
from shards.store import Store

FORMAT = 1
_LAST = "last.json"


class _Hashing(io.RawIOBase):
    """Passes bytes on and digests them."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        try:
            return self.file.write(data)
        except OSError as error:  # torch would answer with a RuntimeError about its own writer
            self.error = error
            raise


def save(folder: Path, state: dict[str, Any], *, step: int, keep: int) -> Path:
    """Write `step-XXXXXXXX.pt`, then point `last.json` at it, then delete all but the newest `keep`.

    A crash between any two of these leaves the previous checkpoint in force.
    """
    store = Store(folder)
    store.make()
    name = f"step-{step:08d}.pt"
    with store.create(name) as file:
        hashing = _Hashing(file)
        try:
            torch.save({"format": FORMAT, **state}, cast(IO[bytes], hashing))
        except RuntimeError:
            if hashing.error is None:
                raise
            raise hashing.error from None
    pointer = {"file": name, "sha256": hashing.digest.hexdigest(), "step": step}
    store.write(_LAST, json.dumps(pointer).encode())
    old = [n for n in store.names() if n.startswith("step-") and n != name]
    for n in sorted(old)[: max(0, len(old) - (keep - 1))]:
        store.remove(n)
    return folder / name


def load_last(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint on the CPU, or None when the run has not made one.

    Raises:
        CheckpointError: the file is missing, half there or damaged. Nothing older is taken silently.
    """
    store = Store(folder)
    if not store.exists(_LAST):
        return None
    try:
        pointer = json.loads(store.read(_LAST))
        name, expected = pointer["file"], pointer["sha256"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{folder / _LAST}: is damaged; delete the run folder to start again") from None
    path = folder / name
    advice = (
        f"  Older checkpoints are beside it; to go on from one, write its name and sha256 into {folder / _LAST},\n"
        "  or use another --out to start again."
    )
    if not path.exists():
        raise CheckpointError(f"{path}: {_LAST} names this checkpoint, but it is not there\n{advice}")
    found = file_digest(path)
    if found != expected:
        raise CheckpointError(
            f"{path}: sha256 is {found[:12]}…, expected {expected[:12]}…: half written or damaged\n{advice}"
        )
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {state.get('format')}, this version reads {FORMAT}")
    return state


def last_exists(folder: Path) -> bool:
    """Whether the run has made a checkpoint."""
    return Store(folder).exists(_LAST)


def last_digest(folder: Path) -> str:
    """sha256 of the newest checkpoint, as its writer noted it."""
    return str(json.loads(Store(folder).read(_LAST))["sha256"])


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
