"""Run an evaluation: from a config to a scores file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from rstrain import distributed
from rstrain.evals.config import ClusterConfig, EvalConfig, KnnConfig, LinearConfig, MultilabelConfig
from rstrain.evals.files import scores_file
from rstrain.evals.finetune import finetune
from rstrain.evals.frozen import cluster, knn, linear, multilabel
from rstrain.evals.leakage import leakage
from rstrain.evals.pictures import mistakes_strip
from rstrain.evals.resume import Course, Kept, kept_beside
from rstrain.evals.scores import Outcome, Scores, spread_of, versions
from rstrain.evals.separation import near
from rstrain.evals.splits import fraction_of
from rstrain.evals.subject import Subject, open_subject
from rstrain.evals.tuning_config import FinetuneConfig
from rstrain.interop.backbone import RANDOM, weights_digest
from shards.config import digest_of
from shards.console import say
from shards.errors import ConfigError
from shards.store import Store


def run_eval(config: EvalConfig) -> Scores:
    """Evaluate, write `config.out` (or RUN/evals/TASK.json when the checkpoint is a run folder), answer the scores.

    Under torchrun every rank calls it and gets the same scores; the first one writes. What an interrupted fine-tuning has
    made lies in OUT.resume, and the same call goes on from there to the same scores.

    Raises:
        UserError: data without labels or splits, a checkpoint that does not fit, settings at odds with each other.
        KeyboardInterrupt: SIGTERM or Ctrl-C while it trains.
    """
    return run_evals([config])[0]


def run_evals(configs: Sequence[EvalConfig]) -> list[Scores]:
    """As `run_eval` for each, in order; configs that agree on what features depend on have them extracted once.

    A subject (backbone, data, features) is let go after the last config that wants it.

    Raises:
        UserError: as `run_eval`, or configs for different devices.
    """
    if not configs:
        return []
    device = configs[0].device
    if any(config.device != device for config in configs):
        raise ConfigError(
            "evaluations for different devices cannot run together: give all of them one device"
        )
    paths = [scores_file(config) for config in configs]
    with distributed.session(device) as world:
        subjects = _Subjects(world.device)
        found = []
        for number, (config, path) in enumerate(zip(configs, paths, strict=True)):
            minutes = config.save_minutes if isinstance(config, FinetuneConfig) else 0.0
            with kept_beside(path if minutes else None, minutes, world) as kept:
                scores = _run(config, subjects, kept)
                if path is not None and world.is_main:
                    _save(config, scores, subjects.get(config, config.seed), path)
            subjects.keep_for(configs[number + 1 :])
            found.append(scores)
        distributed.barrier()
    return found


class _Subjects:
    """Each subject opened once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._open: dict[str, Subject] = {}

    def get(self, config: EvalConfig, seed: int) -> Subject:
        """The subject of one seed."""
        key = _subject_key(config, seed)
        if key not in self._open:
            self._open[key] = open_subject(config, self._device, seed, several=_several(config))
        return self._open[key]

    def keep_for(self, configs: Sequence[EvalConfig]) -> None:
        """Let go of what none of these wants."""
        wanted = {_subject_key(config, seed) for config in configs for seed in _seeds(config)}
        self._open = {key: subject for key, subject in self._open.items() if key in wanted}


def _subject_key(config: EvalConfig, seed: int) -> str:
    own = EvalConfig.model_fields.keys() - {"kind", "out", "seed", "seeds", "pretrained_on"}
    drawn = seed if config.checkpoint == RANDOM else None  # a file's features know no seed
    return digest_of([config.model_dump(mode="json", include=own), drawn, _several(config)])


def _seeds(config: EvalConfig) -> range:
    once = config.checkpoint != RANDOM and isinstance(config, KnnConfig)
    return range(config.seed, config.seed + (1 if once else config.seeds))


def _run(config: EvalConfig, subjects: _Subjects, kept: Kept) -> Scores:
    begun = time.monotonic()
    seeds = _seeds(config)
    if len(seeds) < config.seeds:
        say("nothing is random in the kNN of a given checkpoint: one seed says all")
    first = subjects.get(config, config.seed)
    digest = weights_digest(first.backbone)
    info = first.test.index.info
    checkpoint = {"source": config.checkpoint, "sha256": digest} | first.facts.to_dict()
    kept.claim(config, checkpoint, info.fingerprint)
    outcomes = [
        kept.outcome(seed)
        or kept.keep(seed, _evaluate(config, subjects.get(config, seed), seed, Course(kept, seed)))
        for seed in seeds
    ]
    return Scores(
        task=config.kind,
        protocol=config.to_dict() | {"size": first.size, "test_split": first.test.name},
        checkpoint=checkpoint,
        data={
            "path": config.data,
            "name": info.name,
            "fingerprint": info.fingerprint,
            "train_split": first.train.name,
            "test_split": first.test.name,
            "classes": first.classes,
        },
        n_train=len(first.train),
        n_test=len(first.test),
        n_test_places=first.test.places,
        seed=config.seed,
        near=near(first.train.index, first.test.index),
        leakage=leakage(first.test.index, first.facts, config),
        spread=spread_of(outcomes),
        seconds=round(time.monotonic() - begun, 3),
        versions=versions(),
        outcome=outcomes[0],
    )


def _evaluate(config: EvalConfig, subject: Subject, seed: int, course: Course) -> Outcome:
    match config:
        case KnnConfig():
            return knn(config, subject, seed)
        case LinearConfig():
            return linear(config, subject, seed)
        case ClusterConfig():
            return cluster(config, subject, seed)
        case MultilabelConfig():
            return multilabel(config, subject, seed)
        case FinetuneConfig():
            return finetune(config, subject, seed, course)
    raise ConfigError(f"no evaluation for {type(config).__name__}")


def _several(config: EvalConfig) -> bool:
    """Whether an image may have several classes."""
    return isinstance(config, MultilabelConfig) or getattr(config, "target", "class") == "labels"


def _save(config: EvalConfig, scores: Scores, subject: Subject, path: Path) -> None:
    """The scores, and beside them what is to be looked at or used again."""
    scores.save(path)
    _beside(path, "mistakes.png", mistakes_strip(subject.test, scores.outcome.mistakes))
    fraction = getattr(config, "fraction", None)
    if fraction is not None:
        rows = fraction_of(subject.train, fraction, config.seed)
        names = sorted({subject.train.keys[row] for row in rows.tolist()})
        _beside(path, "train-list.txt", "".join(f"{name}\n" for name in names).encode())


def _beside(path: Path, ending: str, data: bytes | None) -> None:
    """A file named after the scores; an old one does not outlive them."""
    name = f"{path.stem}.{ending}"
    if data is None:
        (path.parent / name).unlink(missing_ok=True)
    else:
        Store(path.parent).write(name, data)
