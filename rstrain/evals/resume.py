"""Evaluations that train go on where they were stopped: what they have so far lies beside the scores until these are there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rstrain import distributed
from rstrain.engine import checkpoint
from rstrain.engine.clock import Clock
from rstrain.engine.folder import changes, locked
from rstrain.engine.ranks import gather_state, restore_state
from rstrain.engine.stop import StopSignals
from rstrain.evals.common import CommonConfig
from rstrain.evals.scores import Outcome
from rstrain.interop.backbone import CheckpointError
from shards.console import say
from shards.errors import ConfigError
from shards.store import Store

PLACE_ONLY = frozenset(
    {
        "data",
        "checkpoint",
        "train_list",
        "test_list",
        "pretrained_on",
        "cache",
        "cache_gb",
        "out",
        "device",
        "workers",
        "batch",
        "seeds",
        "save_minutes",
    }
)
"""Options that do not change what a seed's training and scores are: going on may alter them.

Data, checkpoint and lists may move, what they hold may not.
"""
_WHAT = "evaluation.json"


class Course:
    """The training of one seed, one loss a step; saved from time to time where there is a folder for it."""

    def __init__(self, kept: Kept | None = None, seed: int = 0) -> None:
        self.losses: list[Tensor] = []
        """Of the steps done, as this rank gave them."""
        self._kept = kept
        self._folder = kept.folder / f"seed-{seed}" if kept is not None and kept.folder is not None else None
        self._signals = StopSignals()

    @property
    def step(self) -> int:
        """The next one."""
        return len(self.losses)

    @contextmanager
    def running(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Put back what was saved; inside, SIGTERM and Ctrl-C wait for the end of a step. Every rank must call it.

        Raises:
            CheckpointError: what was saved is damaged.
        """
        self._model, self._optimizer = model, optimizer
        if self._kept is None or self._folder is None:
            yield
            return
        if distributed.is_main():
            Store(self._folder).sweep()
        self._put_back(self._folder)
        self._clock = Clock(self._kept.minutes)
        with self._signals:
            if self.step and distributed.is_main():
                say(f"going on from step {self.step} of the training")
            yield

    def took(self, loss: Tensor) -> None:
        """A step is done: save where it is time to, leave where a signal says so. Every rank must call it.

        Raises:
            KeyboardInterrupt: SIGTERM or Ctrl-C; this step is saved.
        """
        self.losses.append(loss.detach())
        if self._kept is None or self._folder is None:
            return
        due = distributed.is_main() and self._clock.save_due()
        flags = (self._signals.number > 0, due)
        if distributed.world_size() > 1:
            shares = distributed.mean(torch.tensor(flags, dtype=torch.float32, device=loss.device))
            flags = (bool(shares[0] > 0), bool(shares[1] > 0))
        if any(flags):
            self._save(self._kept, self._folder)
            self._clock.saved()
        if flags[0]:
            distributed.barrier()  # the first rank has written
            raise KeyboardInterrupt

    def _save(self, kept: Kept, folder: Path) -> None:
        norms = gather_state(self._model, {})["norms"]
        losses = distributed.gather(torch.stack(self.losses)[None]).cpu()
        if not distributed.is_main():
            return
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "norms": norms,
            "losses": losses,
        }
        kept.begin()
        checkpoint.save(folder, state, step=self.step, keep=1)

    def _put_back(self, folder: Path) -> None:
        state = checkpoint.load_last(folder)
        if state is None:
            return
        rank, device = distributed.rank(), next(self._model.parameters()).device
        world = distributed.World(rank, distributed.world_size(), device.index or 0, device)
        try:
            self._model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            restore_state(self._model, state["norms"], {}, world)
            self.losses = list(state["losses"][rank].to(device))
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{folder}: the checkpoint is of another model ({str(error).splitlines()[0]}); remove the folder to "
                "start again"
            ) from None


class Kept:
    """Finished seeds and the training under way of one evaluation; nothing where it writes no scores."""

    def __init__(self, folder: Path | None, minutes: float) -> None:
        self.folder = folder
        self.minutes = minutes
        """Between checkpoints."""
        self._what: dict[str, Any] = {}

    def claim(self, config: CommonConfig, checkpoint_facts: Mapping[str, Any], fingerprint: str) -> None:
        """Say what is evaluated, before anything is taken from the folder.

        Raises:
            ConfigError: the folder holds the beginning of something else.
        """
        if self.folder is None:
            return
        lists = {"train_list": config.train_list, "test_list": config.test_list}
        self._what = {
            **{key: value for key, value in config.to_dict().items() if key not in PLACE_ONLY},
            "content of --checkpoint": {k: v for k, v in checkpoint_facts.items() if k != "source"},
            "fingerprint of --data": fingerprint,
            **{f"content of {name}": checkpoint.file_digest(path) for name, path in lists.items() if path},
            "ranks": distributed.world_size(),
        }
        if not self.begun:
            return
        try:
            before = json.loads(Store(self.folder).read(_WHAT))
        except ValueError:
            raise CheckpointError(
                f"{self.folder / _WHAT}: is damaged; remove the folder to start again"
            ) from None
        if changed := changes(before, self._what, "the unfinished one"):
            raise ConfigError(
                f"{self.folder}: holds an unfinished evaluation of something else\n{changed}\n"
                "  Go on as it was begun, remove the folder to start again, or use another --out."
            )

    @property
    def begun(self) -> bool:
        """Whether anything has been saved."""
        return self.folder is not None and Store(self.folder).exists(_WHAT)

    def begin(self) -> None:
        """Note what the folder is of, before the first thing is saved in it."""
        if self.folder is not None and not self.begun:
            Store(self.folder).write(_WHAT, json.dumps(self._what, indent=1).encode())

    def outcome(self, seed: int) -> Outcome | None:
        """Of a seed that is finished."""
        if self.folder is None or not Store(self.folder).exists(_name(seed)):
            return None
        return Outcome.build(_name(seed), **json.loads(Store(self.folder).read(_name(seed))))

    def keep(self, seed: int, outcome: Outcome) -> Outcome:
        """Keep a finished seed; its training is let go."""
        if self.folder is not None and distributed.is_main():
            self.begin()
            Store(self.folder).write(_name(seed), json.dumps(outcome.model_dump(mode="json")).encode())
            shutil.rmtree(self.folder / f"seed-{seed}", ignore_errors=True)
        return outcome


@contextmanager
def kept_beside(out: Path | None, minutes: float, world: distributed.World) -> Iterator[Kept]:
    """The folder OUT.resume while an evaluation is at work; it outlives the block only where that fails half-way.

    Args:
        out: the scores file, to be written inside the block; without one nothing is kept.
        minutes: between checkpoints.
        world: only the first rank writes.

    Raises:
        ConfigError: another process is at work on the same file.
    """
    if out is None:
        yield Kept(None, minutes)
        return
    folder = out.with_name(out.name + ".resume")
    with locked(folder, world):
        kept, done = Kept(folder, minutes), False
        try:
            yield kept
            distributed.barrier()  # all have read what they need
            done = True
        finally:
            if world.is_main and (done or not kept.begun):
                shutil.rmtree(folder, ignore_errors=True)


def _name(seed: int) -> str:
    return f"seed-{seed}.json"
