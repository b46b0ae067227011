"""What a checkpoint of a run holds, and how a run goes on from one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from rstrain import distributed
from rstrain.config import TrainConfig
from rstrain.engine import checkpoint, spread
from rstrain.engine.ranks import gather_state, restore_state
from rstrain.engine.window import Window
from rstrain.interop.backbone import CheckpointError
from rstrain.methods.base import Method
from shards.errors import ConfigError


@dataclass(frozen=True)
class SavedRun:
    """The checkpoints of one run folder: method, optimiser, position, and the digests of the data they belong to."""

    config: TrainConfig
    out: Path
    world: distributed.World
    method: Method
    optimizer: torch.optim.Optimizer
    fingerprint: str
    """Of the data set."""
    second: str
    """Of the second data set; empty where the method takes one."""
    clusters: str
    """Digest of the geo clusters; empty where the method has none."""

    @property
    def folder(self) -> Path:
        """Where the checkpoints lie."""
        return self.out / "checkpoints"

    def save(self, step: int, window: Window) -> None:
        """Write a checkpoint; every rank must call it."""
        ranks = gather_state(self.method, window.sums)
        weights, moments = spread.whole_state(self.method, self.optimizer)
        if not self.world.is_main:
            return
        state = {
            "step": step,
            "samples": step * self.config.batch,
            "fingerprint": self.fingerprint,
            "second": self.second,
            "method": weights,
            "optimizer": moments,
            "clusters": self.clusters,
            **ranks,
        }
        checkpoint.save(self.folder, state, step=step, keep=self.config.keep)

    def resume(self) -> tuple[int, Window]:
        """Put the newest checkpoint back; answers its step and log window, or step 0 where there is none.

        Raises:
            ConfigError: the data or the clusters are not those of the run.
            CheckpointError: the checkpoint is damaged, or of another model.
        """
        state = checkpoint.load_last(self.folder)
        if state is None:
            return 0, Window()
        for name, data, own in (
            ("fingerprint", self.config.data, self.fingerprint),
            ("second", self.config.data2, self.second),
        ):
            if state.get(name, own) != own:
                raise ConfigError(
                    f"{data}: is not the data that {self.out} was trained on (fingerprint {own[:12]}…, the run has "
                    f"{state[name][:12]}…)\n"
                    "  Give the original data set, or another --out to start a new run."
                )
        if state.get("clusters", self.clusters) != self.clusters:
            raise ConfigError(
                f"{self.config.clusters}: holds other centroids than {self.out} was trained with; give the original file, "
                "or another --out to start a new run"
            )
        try:
            spread.put_back(self.method, self.optimizer, state["method"], state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self.out}: the checkpoint is of another model ({str(error).splitlines()[0]}); use another --out"
            ) from None
        return int(state["step"]), Window(
            restore_state(self.method, state["norms"], state["window"], self.world)
        )
