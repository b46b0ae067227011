"""Run a dense evaluation: from a config to a scores file and a sheet of pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rstrain import distributed
from rstrain.evals.bench import Bench, open_bench
from rstrain.evals.change import change
from rstrain.evals.dense_config import ChangeConfig, DenseConfig, DetectConfig, SegmentConfig
from rstrain.evals.detect import detect
from rstrain.evals.files import scores_file
from rstrain.evals.leakage import leakage
from rstrain.evals.resume import Course, kept_beside
from rstrain.evals.scores import Outcome, Scores, spread_of, versions
from rstrain.evals.segment import segment
from rstrain.evals.separation import near
from rstrain.interop.backbone import weights_digest
from shards.errors import ConfigError
from shards.targets import BOXES, MASK


def run_dense(config: DenseConfig) -> Scores:
    """Train, score, write `config.out` (or RUN/evals/TASK.json for a run folder) and a PNG beside it.

    Under torchrun every rank calls it and gets the same scores; the first one writes. What an interrupted call has made
    lies in OUT.resume, and the same call goes on from there to the same scores.

    Raises:
        UserError: data without the target or the splits, a checkpoint that does not fit, settings at odds.
        KeyboardInterrupt: SIGTERM or Ctrl-C while it trains.
    """
    begun = time.monotonic()
    out = scores_file(config)
    with distributed.session(config.device) as world, kept_beside(out, config.save_minutes, world) as kept:
        outcomes: list[Outcome] = []
        facts: dict[str, Any] = {}
        for seed in range(config.seed, config.seed + config.seeds):
            bench = open_bench(config, world.device, seed, BOXES if config.kind == "detect" else MASK)
            if first := seed == config.seed:
                facts = _facts(config, bench)
                kept.claim(config, facts["checkpoint"], bench.test.info.fingerprint)
            sheet = out.with_suffix(".png") if out is not None and first else None
            outcomes.append(
                kept.outcome(seed)
                or kept.keep(seed, _evaluate(config, bench, seed, sheet, Course(kept, seed)))
            )
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
            "train_split": bench.train_split,
            "test_split": bench.test_split,
            "classes": bench.classes,
        },
        "n_train": len(bench.train),
        "n_test": len(bench.test),
        "n_test_places": len(set(bench.test.places()[0].tolist())),
        "near": near(bench.train, bench.test),
        "leakage": leakage(bench.test, bench.facts, config),
    }


def _evaluate(config: DenseConfig, bench: Bench, seed: int, sheet: Path | None, course: Course) -> Outcome:
    match config:
        case DetectConfig():
            return detect(config, bench, seed, sheet, course)
        case SegmentConfig():
            return segment(config, bench, seed, sheet, course)
        case ChangeConfig():
            return change(config, bench, seed, sheet, course)
    raise ConfigError(f"no evaluation for {type(config).__name__}")
