"""What a run folder says: read leniently, for a report of a half-finished run is still wanted."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shards.errors import UserError
from shards.index import Index

_LARGEST = 4 << 20
"""Bytes of a picture that the page takes in."""


class ReportError(UserError):
    """A folder that is no run, or a report that cannot be written."""


@dataclass
class Run:
    """Everything found in one run folder."""

    name: str
    """Name of the folder; the way to it as well where two folders share a name."""
    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    environment: dict[str, Any]
    scores: list[dict[str, Any]]
    pictures: list[tuple[str, bytes]] = field(default_factory=list)
    """Name and PNG of each picture beside the scores."""
    gaps: list[str] = field(default_factory=list)
    """What is missing or cannot be read, in plain words."""

    @property
    def method(self) -> str:
        """As the config names it, else as its scores do."""
        method = self.config.get("method")
        if isinstance(method, dict):
            method = method.get("kind")
        if method is None and self.scores:
            method = self.scores[0]["checkpoint"].get("method")
        return str(method or "unknown")

    def series(self, key: str) -> tuple[list[float], list[float]]:
        """Steps and values of one metric; what is not a number is NaN."""
        found = [(m["step"], m[key]) for m in self.metrics if key in m and isinstance(m.get("step"), int)]
        values = [float(v) if isinstance(v, int | float) else math.nan for _, v in found]
        return [float(step) for step, _ in found], values


def read_run(folder: Path) -> Run:
    """Read config.toml, metrics.jsonl, environment.json and evals/*.json.

    Raises:
        ReportError: none of them is there.
    """
    if not folder.is_dir():
        raise ReportError(f"{folder}: there is no such run folder")
    run = Run(folder.resolve().name, folder, {}, [], {}, [])
    run.config = _toml(run, folder / "config.toml")
    run.metrics = _metrics(run, folder / "metrics.jsonl")
    environment = _json(run, folder / "environment.json")
    run.environment = environment if isinstance(environment, dict) else {}
    for path in sorted((folder / "evals").glob("*.json")):
        scores = _json(run, path)
        if _is_scores(scores):
            run.scores.append(scores)
        elif scores is not None:
            run.gaps.append(f"evals/{path.name} is not a scores file")
    for path in sorted((folder / "evals").glob("*.png")):
        if path.stat().st_size > _LARGEST:
            run.gaps.append(f"evals/{path.name} is larger than {_LARGEST >> 20} MiB")
        else:
            run.pictures.append((path.stem, path.read_bytes()))
    if not run.scores:
        run.gaps.append("no scores (rstrain eval … --checkpoint RUN)")
    if not (run.config or run.metrics or run.scores):
        raise ReportError(
            f"{folder}: is no run folder (no config.toml, metrics.jsonl or evals/*.json); give the --out of "
            "`rstrain pretrain`"
        )
    return run


def _is_scores(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("task"), str)
        and all(isinstance(value.get(key), dict) for key in ("checkpoint", "data", "outcome"))
        and isinstance(value["outcome"].get("scores"), dict)
    )


def _text(run: Run, path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        run.gaps.append(f"no {path.name}")
    except (OSError, UnicodeDecodeError) as error:
        run.gaps.append(f"{path.name} cannot be read ({error})")
    return None


def _toml(run: Run, path: Path) -> dict[str, Any]:
    source = _text(run, path)
    try:
        return tomllib.loads(source) if source is not None else {}
    except tomllib.TOMLDecodeError as error:
        run.gaps.append(f"{path.name} is not valid TOML ({error})")
        return {}


def _json(run: Run, path: Path) -> Any:
    source = _text(run, path)
    try:
        return json.loads(source) if source is not None else None
    except json.JSONDecodeError as error:
        run.gaps.append(f"{path.name} is not valid JSON ({error})")
        return None


def _metrics(run: Run, path: Path) -> list[dict[str, Any]]:
    out, bad = {}, 0
    for line in (_text(run, path) or "").splitlines():
        try:
            value = json.loads(line)
            out[int(value["step"])] = value  # a resumed run may repeat a step: the later line stands
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            bad += 1
    if bad:
        run.gaps.append(f"{bad} line{'s' if bad > 1 else ''} of {path.name} cannot be read")
    return [out[step] for step in sorted(out)]


@dataclass(frozen=True)
class DataFacts:
    """What a shard set says of itself, and where its places are."""

    where: str
    info: dict[str, Any]
    lon: list[float]
    lat: list[float]


def read_data(where: str) -> DataFacts | str:
    """Facts of a set, or in plain words why there are none."""
    try:
        index = Index.open(where)
    except UserError as error:
        return str(error).splitlines()[0]
    first = sorted(set(index.places()[0].tolist()))
    lon, lat = index.column("lon"), index.column("lat")
    here = [i for i in first if _finite(lon[i]) and _finite(lat[i])]
    return DataFacts(
        where,
        index.info.model_dump(mode="json"),
        [float(lon[i]) for i in here],
        [float(lat[i]) for i in here],
    )


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)


def thinned(x: list[float], y: list[float], most: int = 160) -> tuple[list[float], list[float]]:
    """At most `most` points: means over equal stretches of steps."""
    if len(x) <= most:
        return x, y
    out_x, out_y = [], []
    for i in range(most):
        a, b = i * len(x) // most, (i + 1) * len(x) // most
        part = [v for v in y[a:b] if math.isfinite(v)]
        out_x.append(sum(x[a:b]) / (b - a))
        out_y.append(sum(part) / len(part) if part else math.nan)
    return out_x, out_y
