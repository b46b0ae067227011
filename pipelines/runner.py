"""Carry the stages of a pipeline out; what is done and unchanged is skipped."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.stage import Pipeline, Stage
from shards.config import digest_of
from shards.console import say
from shards.errors import ConfigError
from shards.store import Store

_STAMPS = "stages"


@dataclass(frozen=True)
class Outcome:
    """One stage of a finished call."""

    name: str
    skipped: bool
    seconds: float
    makes: str


def run_pipeline(pipeline: Pipeline, out: Path, *, only: str | None = None) -> list[Outcome]:
    """Run every stage that is not up to date, or one of them.

    A stage is up to date when what it makes is there and was made with the same settings from the same earlier results.

    Raises:
        ConfigError: no such stage, or a stage whose earlier results are missing.
        UserError: whatever a stage says.
    """
    stages = pipeline.stages(out)
    if only is not None and only not in {stage.name for stage in stages}:
        raise ConfigError(f"stage {only!r}: is not one of {', '.join(stage.name for stage in stages)}")
    stamps = Store(out / _STAMPS)
    stamps.make()
    Store(out).write("pipeline.toml", pipeline.to_toml().encode())
    digests: dict[str, str] = {}
    outcomes = []
    for number, stage in enumerate(stages, 1):
        digest = digests[stage.name] = digest_of(
            [stage.name, stage.config, [digests[n] for n in stage.needs]]
        )
        fresh = stage.makes.exists() and _stamp(stamps, stage) == digest
        if only is not None and stage.name != only:
            continue
        title = f"[{number}/{len(stages)}] {stage.name}"
        if fresh:
            say(f"{title}: unchanged, skipped")
            outcomes.append(Outcome(stage.name, True, 0.0, str(stage.makes)))
            continue
        _ready(stage, stages, stamps, digests)
        say(f"{title}: {stage.does}")
        begun = time.monotonic()
        stage.run()
        seconds = time.monotonic() - begun
        assert stage.makes.exists(), f"{stage.name} left no {stage.makes}"
        stamps.write(
            f"{stage.name}.json", json.dumps({"digest": digest, "seconds": round(seconds, 1)}).encode()
        )
        outcomes.append(Outcome(stage.name, False, seconds, str(stage.makes)))
    return outcomes


def _stamp(stamps: Store, stage: Stage) -> str | None:
    name = f"{stage.name}.json"
    if not stamps.exists(name):
        return None
    try:
        found: dict[str, Any] = json.loads(stamps.read(name))
    except ValueError:
        return None
    return found.get("digest")


def _ready(stage: Stage, stages: list[Stage], stamps: Store, digests: dict[str, str]) -> None:
    for earlier in stages:
        if earlier.name in stage.needs and not (
            earlier.makes.exists() and _stamp(stamps, earlier) == digests[earlier.name]
        ):
            raise ConfigError(
                f"stage {stage.name}: needs the result of {earlier.name}, which is missing or was made with other "
                f"settings; run that stage first, or the whole pipeline"
            )
