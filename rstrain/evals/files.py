"""Where scores go, and what lies beside them."""

from __future__ import annotations

import os
from pathlib import Path

from rstrain.evals.common import CommonConfig
from rstrain.interop.backbone import RANDOM
from shards.errors import ConfigError
from shards.store import Store


def scores_file(config: CommonConfig) -> Path | None:
    """`config.out`, or RUN/evals/TASK.json when the checkpoint is a run folder; None where nothing is written.

    Asked for first: hours of work should not end in a path that cannot be written.

    Raises:
        ConfigError: a folder stands there, or its own folder cannot be written.
    """
    out = config.out
    if out is None:
        folder = Path(config.checkpoint).expanduser()
        if config.checkpoint == RANDOM or not folder.is_dir():
            return None
        out = folder / "evals" / f"{config.kind}.json"
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; give a file name, for example {out}/scores.json")
    Store(out.parent).make()
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"--out {out}: the folder cannot be written; choose another")
    return out
