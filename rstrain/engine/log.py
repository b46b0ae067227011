"""metrics.jsonl, TensorBoard and, if asked for, Weights & Biases: one record a log step, written by rank 0."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rstrain.engine.board import Board
from shards.config import digest_of
from shards.errors import ConfigError
from shards.store import Store, write_error

NAME = "metrics.jsonl"


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Every record of a run; an unfinished last line is left out."""
    path = run / NAME
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


class Metrics:
    """Appends records; a resumed run first forgets those after the step that it goes on from."""

    def __init__(self, run: Path, *, step: int, wandb_project: str | None, config: dict[str, Any]) -> None:
        self._path = run / NAME
        kept = [r for r in read_metrics(run) if r["step"] <= step]
        Store(run).write(NAME, "".join(json.dumps(r) + "\n" for r in kept).encode())
        self._file = (run / NAME).open("a", encoding="utf-8")
        with self._writing():
            self._board = Board(run / "tensorboard", step=step + 1)
        self._wandb = _wandb(wandb_project, run, config) if wandb_project else None

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; it reaches the disk before this returns.

        Raises:
            ShardError: the disk is full, or the folder cannot be written.
        """
        values = {k: v for k, v in record.items() if k != "step" and isinstance(v, int | float)}
        with self._writing():
            self._file.write(json.dumps(record, allow_nan=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._board.scalars(values, record["step"])
        if self._wandb is not None:
            self._wandb.log(values, step=record["step"])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(error, str(self._path)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if kind else self._writing():
            for close in (self._file.close, self._board.close):
                close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if kind is None else 1)


def _wandb(project: str, run: Path, config: dict[str, Any]) -> Any:
    try:
        import wandb
    except ImportError:
        raise ConfigError("--wandb needs the extra: pip install 'rspretrain[wandb]'") from None
    return wandb.init(
        project=project, dir=str(run), id=_identity(run), name=run.name, resume="allow", config=config
    )


def _identity(run: Path) -> str:
    """The same for each resume, another for a folder of the same name elsewhere."""
    return digest_of(str(run.resolve()))[:16]
