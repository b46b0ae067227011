"""Run a dense evaluation: from a config to a scores file and a sheet of pictures."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from rstrain import distributed
from rstrain.evals.bench import Bench, open_bench
from rstrain.evals.change import change
from rstrain.evals.dense_config import ChangeConfig, DenseConfig, DetectConfig, SegmentConfig
from rstrain.evals.detect import detect
from rstrain.evals.scores import Outcome, Scores, spread_of, versions
from rstrain.evals.segment import segment
from rstrain.interop.backbone import RANDOM, weights_digest
from shards.errors import ConfigError
from shards.store import Store
from shards.targets import BOXES, MASK


def run_dense(config: DenseConfig) -> Scores:
    """Train, score, write `config.out` (or RUN/evals/TASK.json for a run folder) and a PNG beside it.

    Under torchrun every rank calls it and gets the same scores; the first one writes.

    Raises:
        UserError: data without the target or the splits, a checkpoint that does not fit, settings at odds.
    """
    begun = time.monotonic()
    out = _out(config)
    with distributed.session(config.device) as world:
        outcomes: list[Outcome] = []
        facts: dict[str, Any] = {}
        for seed in range(config.seed, config.seed + config.seeds):
            bench = open_bench(config, world.device, seed, BOXES if config.kind == "detect" else MASK)
            facts = facts or _facts(config, bench)
            first = seed == config.seed
            sheet = out.with_suffix(".png") if out is not None and first else None
            outcomes.append(_evaluate(config, bench, seed, sheet))
        scores = Scores(
            task=config.kind,
            seed=config.seed,
            spread=spread_of(outcomes),
            seconds=round(time.monotonic() - begun, 3),
            versions=versions(),
            outcome=outcomes[0],
            **facts,
        )
        if out is not None and world.is_main:
            scores.save(out)
        distributed.barrier()
    return scores


def _facts(config: DenseConfig, bench: Bench) -> dict[str, Any]:
    """What is said of checkpoint and data, before the training changes the weights."""
    info = bench.test.info
    return {
        "protocol": config.to_dict() | {"test_split": bench.test_split, "norm": bench.norm},
        "checkpoint": {"source": config.checkpoint, "sha256": weights_digest(bench.backbone)}
        | bench.facts.to_dict(),
        "data": {
            "path": config.data,
            "name": info.name,
            "fingerprint": info.fingerprint,
            "train_split": config.train_split,
            "test_split": bench.test_split,
            "classes": bench.classes,
        },
        "n_train": len(bench.train),
        "n_test": len(bench.test),
        "n_test_places": len(set(bench.test.places()[0].tolist())),
    }


def _evaluate(config: DenseConfig, bench: Bench, seed: int, sheet: Path | None) -> Outcome:
    match config:
        case DetectConfig():
            return detect(config, bench, seed, sheet)
        case SegmentConfig():
            return segment(config, bench, seed, sheet)
        case ChangeConfig():
            return change(config, bench, seed, sheet)
    raise ConfigError(f"no evaluation for {type(config).__name__}")


def _out(config: DenseConfig) -> Path | None:
    """Where scores go; checked before hours of work end in a path that cannot be written."""
    folder = Path(config.checkpoint).expanduser()
    if config.out is None:
        inside = config.checkpoint != RANDOM and folder.is_dir()
        out = folder / "evals" / f"{config.kind}.json" if inside else None
    else:
        out = config.out
    if out is None:
        return None
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; give a file name, for example {out}/scores.json")
    Store(out.parent).make()
    if not os.access(out.parent, os.W_OK):
        raise ConfigError(f"--out {out}: the folder cannot be written; choose another")
    return out
