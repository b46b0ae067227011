"""Run an evaluation: from a config to a scores file."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist

from rstrain import distributed
from rstrain.evals.config import EvalConfig, KnnConfig, LinearConfig
from rstrain.evals.knn import check_k, knn_majority, knn_votes
from rstrain.evals.linear import fit_linear
from rstrain.evals.scores import Outcome, Scores, classification, spread_of, versions, with_temporal
from rstrain.evals.subject import Subject, open_subject
from rstrain.interop.backbone import RANDOM, weights_digest
from shards.console import say
from shards.errors import ConfigError


def run_eval(config: EvalConfig) -> Scores:
    """Evaluate, write `config.out` (or RUN/evals/TASK.json when the checkpoint is a run folder), answer the scores.

    Under torchrun every rank calls it and gets the same scores; the first one writes.

    Raises:
        UserError: data without labels or splits, a checkpoint that does not fit, settings at odds with each other.
    """
    inside = dist.is_available() and dist.is_initialized()
    with (
        nullcontext(distributed.init(config.device))
        if inside
        else distributed.session(config.device) as world
    ):
        scores = _run(config, world.device)
        path = _target(config)
        if path is not None and world.is_main:
            scores.save(path)
        distributed.barrier()
    return scores


def _run(config: EvalConfig, device: torch.device) -> Scores:
    begun = time.monotonic()
    random = config.checkpoint == RANDOM
    repeats = config.seeds
    if repeats > 1 and not random and isinstance(config, KnnConfig):
        say("nothing is random in the kNN of a given checkpoint: one seed says all")
        repeats = 1
    subject = open_subject(config, device, config.seed)
    first, digest = subject, weights_digest(subject.backbone)
    outcomes = []
    for seed in range(config.seed, config.seed + repeats):
        if random and seed != config.seed:
            subject = open_subject(config, device, seed)
        outcomes.append(_evaluate(config, subject, seed))
    info = first.test.index.info
    return Scores(
        task=str(getattr(config, "kind", "")),
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
        return folder / "evals" / f"{getattr(config, 'kind', 'scores')}.json"
    return None
