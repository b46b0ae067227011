"""Run an evaluation: from a config to a scores file."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from rstrain import distributed
from rstrain.evals.config import EvalConfig, KnnConfig, LinearConfig
from rstrain.evals.knn import check_k, knn_majority, knn_votes
from rstrain.evals.linear import fit_linear
from rstrain.evals.scores import Outcome, Scores, classification, spread_of, versions, with_temporal
from rstrain.evals.subject import Subject, open_subject
from rstrain.interop.backbone import RANDOM, weights_digest
from shards.config import digest_of
from shards.console import say
from shards.errors import ConfigError
from shards.store import Store


def run_eval(config: EvalConfig) -> Scores:
    """Evaluate, write `config.out` (or RUN/evals/TASK.json when the checkpoint is a run folder), answer the scores.

    Under torchrun every rank calls it and gets the same scores; the first one writes.

    Raises:
        UserError: data without labels or splits, a checkpoint that does not fit, settings at odds with each other.
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
    for config in configs:
        _check_target(config)
    with distributed.session(device) as world:
        subjects = _Subjects(world.device)
        found = []
        for number, config in enumerate(configs):
            scores = _run(config, subjects)
            subjects.keep_for(configs[number + 1 :])
            path = _target(config)
            if path is not None and world.is_main:
                scores.save(path)
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
            self._open[key] = open_subject(config, self._device, seed)
        return self._open[key]

    def keep_for(self, configs: Sequence[EvalConfig]) -> None:
        """Let go of what none of these wants."""
        wanted = {_subject_key(config, seed) for config in configs for seed in _seeds(config)}
        self._open = {key: subject for key, subject in self._open.items() if key in wanted}


def _subject_key(config: EvalConfig, seed: int) -> str:
    own = EvalConfig.model_fields.keys() - {"kind", "out", "seed", "seeds"}
    drawn = seed if config.checkpoint == RANDOM else None  # a file's features know no seed
    return digest_of([config.model_dump(mode="json", include=own), drawn])


def _seeds(config: EvalConfig) -> range:
    once = config.checkpoint != RANDOM and isinstance(config, KnnConfig)
    return range(config.seed, config.seed + (1 if once else config.seeds))


def _run(config: EvalConfig, subjects: _Subjects) -> Scores:
    begun = time.monotonic()
    seeds = _seeds(config)
    if len(seeds) < config.seeds:
        say("nothing is random in the kNN of a given checkpoint: one seed says all")
    first = subjects.get(config, config.seed)
    digest = weights_digest(first.backbone)
    outcomes = [_evaluate(config, subjects.get(config, seed), seed) for seed in seeds]
    info = first.test.index.info
    return Scores(
        task=config.kind,
        protocol=config.to_dict() | {"size": first.size, "test_split": first.test.name},
        checkpoint={"source": config.checkpoint, "sha256": digest} | first.facts.to_dict(),
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
        spread=spread_of(outcomes),
        seconds=round(time.monotonic() - begun, 3),
        versions=versions(),
        outcome=outcomes[0],
    )


def _evaluate(config: EvalConfig, subject: Subject, seed: int) -> Outcome:
    match config:
        case KnnConfig():
            return _knn(config, subject, seed)
        case LinearConfig():
            return _linear(config, subject, seed)
    raise ConfigError(f"no evaluation for {type(config).__name__}")


def _knn(config: KnnConfig, subject: Subject, seed: int) -> Outcome:
    check_k(config.k, len(subject.train))
    train, test = subject.features(subject.train), subject.features(subject.test)
    label = torch.from_numpy(subject.train.label).to(subject.device)
    classes = len(subject.classes)
    if config.vote == "majority":
        votes = knn_majority(train, label, test, k=config.k, classes=classes).double()
    else:
        votes, _ = knn_votes(train, label, test, k=config.k, temperature=config.temperature, classes=classes)
    votes[votes == 0] = -torch.inf  # a class without a vote is not among the best five
    return classification(
        votes.cpu().numpy(), subject.test.label, subject.test.place, subject.classes, seed=seed
    )


def _linear(config: LinearConfig, subject: Subject, seed: int) -> Outcome:
    train, test = subject.train, subject.test
    central = subject.features(train)
    label = torch.from_numpy(train.label).to(subject.device)
    vary = config.random_crop and not (train.square or config.resize == "squash")

    def features(epoch: int) -> torch.Tensor:
        return subject.random_features(train, epoch, seed) if vary else central

    heads, rate, found = fit_linear(
        features, central, label, train.place, classes=len(subject.classes), config=config, seed=seed
    )
    logits = heads.logits(subject.features(test))[:, 0]
    probabilities = logits.double().softmax(dim=1).cpu().numpy()
    outcome = classification(probabilities, test.label, test.place, subject.classes, seed=seed)
    details = {"lr": rate, "heldout_top1_percent": {f"{lr:g}": value for lr, value in found.items()}}
    outcome = outcome.model_copy(update={"details": details})
    if config.temporal and test.places < len(test):
        outcome = with_temporal(outcome, probabilities, test.keys, test.label, seed=seed)
    return outcome


def _target(config: EvalConfig) -> Path | None:
    if config.out is not None:
        return config.out
    folder = Path(config.checkpoint).expanduser()
    if config.checkpoint != RANDOM and folder.is_dir():
        return folder / "evals" / f"{config.kind}.json"
    return None


def _check_target(config: EvalConfig) -> None:
    """Minutes of work should not end in a path that cannot be written."""
    if config.out is None:
        return
    if config.out.is_dir():
        raise ConfigError(
            f"--out {config.out}: is a folder; give a file name, for example {config.out}/scores.json"
        )
    Store(config.out.parent).make()
    if not os.access(config.out.parent, os.W_OK):
        raise ConfigError(f"--out {config.out}: the folder cannot be written; choose another")
