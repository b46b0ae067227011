"""Stage: one step of a pipeline, skipped while its inputs have not changed; and the stages that most pipelines have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.config import Config

if TYPE_CHECKING:
    from rsdata.curate.configs import GeoclusterConfig
    from rsdata.sources.base import Source
    from rstrain.config import TrainConfig
    from rstrain.evals.config import EvalConfig


@dataclass(frozen=True)
class Stage:
    """One step: what it does, what decides its result, what it leaves behind."""

    name: str
    does: str
    config: dict[str, Any]
    """JSON values; together with the stages before it, they decide the result."""
    needs: tuple[str, ...]
    """Names of earlier stages whose results go in."""
    makes: Path
    """The file that is there when the stage is done."""
    run: Callable[[], Any]


class Pipeline(Config):
    """Settings of an experiment (`--set key=value`) and the stages they make."""

    def stages(self, out: Path) -> list[Stage]:
        """What is done, in order; every path lies below `out`."""
        raise NotImplementedError


def build_stage(
    name: str, source: Source, folder: Path, *, needs: tuple[str, ...] = (), workers: int | None = None
) -> Stage:
    """Plan and build a shard set."""

    def run() -> None:
        from rsdata.build import build
        from rsdata.plan import make_plan
        from shards.console import say

        make_plan(source, folder)
        result = build(folder, workers=workers)
        if result.failures:
            say(result.summary())

    return Stage(
        name, f"rsdata run {source.kind} {folder}", source.to_dict(), needs, folder / "dataset.json", run
    )


def geocluster_stage(
    name: str, data: Path, csv: Path, config: GeoclusterConfig, *, needs: tuple[str, ...]
) -> Stage:
    """Cluster the places of a shard set."""

    def run() -> None:
        from rsdata.curate.geofiles import geocluster

        geocluster(data, csv, config)

    does = f"rsdata geocluster {data} {csv} --k {config.k} --seed {config.seed}"
    return Stage(name, does, config.to_dict(), needs, csv.with_suffix(".json"), run)


def train_stage(name: str, config: TrainConfig, folder: Path, *, needs: tuple[str, ...]) -> Stage:
    """Pretrain, or go on with an interrupted run."""

    def run() -> None:
        from rstrain.engine.train import pretrain

        report = pretrain(config, folder)
        if not report.finished:
            raise KeyboardInterrupt

    does = f"rstrain pretrain {config.method.kind} --config {folder / 'config.toml'} --out {folder}"
    return Stage(name, does, config.weights_matter(), needs, folder / "backbone.safetensors", run)


def eval_stage(name: str, configs: Sequence[EvalConfig], *, needs: tuple[str, ...]) -> Stage:
    """Score a backbone in one or more ways that share its features; `out` of each is where its scores go."""
    outs = [config.out for config in configs if config.out is not None]
    assert configs and len(outs) == len(configs)

    def run() -> None:
        from rstrain.evals.base import run_evals

        run_evals(configs)

    does = "; ".join(f"rstrain eval {config.kind} {_flags(config)}" for config in configs)
    return Stage(name, does, {"configs": [config.to_dict() for config in configs]}, needs, outs[-1], run)


def _flags(config: Config) -> str:
    """What differs from the defaults, as one would type it."""
    flags = []
    for key, value in config.model_dump(mode="json", exclude_defaults=True).items():
        name = key.replace("_", "-")
        for item in value if isinstance(value, list) else [value]:
            flags.append(f"--{'' if item else 'no-'}{name}" if isinstance(item, bool) else f"--{name} {item}")
    return " ".join(flags)


def report_stage(runs: list[Path], page: Path, title: str, *, needs: tuple[str, ...]) -> Stage:
    """One page of all runs side by side."""

    def run() -> None:
        from rstrain.report import build_report

        build_report(runs, page, title=title)

    does = f"rstrain report {' '.join(map(str, runs))} {page}"
    return Stage("report", does, {"title": title}, needs, page, run)
