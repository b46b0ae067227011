"""Fine-tuning: the whole network learns from all labels or from a share of them."""

from __future__ import annotations

import hashlib

import numpy as np

from rstrain.evals.resume import Course
from rstrain.evals.scores import Outcome, classification, labelling, mistakes
from rstrain.evals.splits import fraction_of
from rstrain.evals.subject import Subject
from rstrain.evals.tuning import tuned
from rstrain.evals.tuning_config import FinetuneConfig


def finetune(config: FinetuneConfig, subject: Subject, seed: int, course: Course) -> Outcome:
    """Train from the checkpoint's weights, score the central crops of the test split with what the last step left.

    Raises:
        ConfigError: see `tuned`.
        ShardError: a multi-label test split without any class.
    """
    train, test = subject.train, subject.test
    details: dict[str, object] = {}
    if config.fraction is not None:
        train = train.take(fraction_of(train, config.fraction, seed))
        names = "".join(f"{name}\n" for name in sorted(set(train.keys)))
        details = {
            "labelled_views": len(train),
            "labelled_places": train.places,
            "labelled_sha256": hashlib.sha256(names.encode()).hexdigest(),
        }
    model, losses = tuned(config, subject, train, seed, course)
    logits = subject.apply(model, test, title=f"logits of {test.name}").double()
    details["loss"] = {"first_epoch": losses[0], "last_epoch": losses[-1]}
    if config.target == "labels":
        outcome = labelling(logits.cpu().numpy(), test.label, test.place, subject.classes, seed=seed)
        return outcome.model_copy(update={"details": outcome.details | details})
    shares = np.asarray(logits.softmax(dim=1).cpu().numpy())
    outcome = classification(shares, test.label, test.place, subject.classes, seed=seed)
    return outcome.model_copy(
        update={"details": details, "mistakes": mistakes(shares, test, subject.classes)}
    )
