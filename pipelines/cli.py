"""`pipelines`: list, show and run whole experiments."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from shards import console
from shards.errors import ConfigError

app = console.app("Whole experiments: data, train, evaluate, report.")

Name = Annotated[str, typer.Argument(help="see `pipelines list`")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, a setting of the pipeline; may be repeated")
]
Out = Annotated[Path | None, typer.Option("--out", help="folder of the experiment [default: runs/NAME]")]


@app.command("list")
def list_(json: console.Json = False) -> None:
    """Every pipeline."""
    from pipelines.all import PIPELINES

    rows = {name: (kind.__doc__ or "").strip() for name, kind in PIPELINES.items()}
    text = "\n".join(f"{name:<18} {what}" for name, what in rows.items())
    console.emit(rows, f"{text}\nnext: pipelines show NAME", as_json=json)


@app.command()
def show(name: Name, set: Set = None, out: Out = None, json: console.Json = False) -> None:
    """Settings and stages of a pipeline."""
    folder = out or Path("runs") / name
    pipeline = _pipeline(name, set)
    stages = [{"name": s.name, "does": s.does, "makes": str(s.makes)} for s in pipeline.stages(folder)]
    settings = "\n".join(
        f"  {key:<10} {value!s:<10} {type(pipeline).model_fields[key].description}"
        for key, value in pipeline.to_dict().items()
    )
    steps = "\n".join(f"  {s['name']:<20} {s['does']}" for s in stages)
    text = f"settings (--set key=value)\n{settings}\nstages\n{steps}\nnext: pipelines run {name}"
    console.emit({"settings": pipeline.to_dict(), "stages": stages}, text, as_json=json)


@app.command()
def run(
    name: Name,
    set: Set = None,
    out: Out = None,
    stage: Annotated[str | None, typer.Option(help="run this stage alone")] = None,
    json: console.Json = False,
) -> None:
    """Run a pipeline; stages whose inputs have not changed are skipped, so run it again to go on."""
    if (ranks := os.environ.get("WORLD_SIZE", "")) not in ("", "1"):
        raise ConfigError(
            f"pipelines run: is one of {ranks} ranks (WORLD_SIZE), but a pipeline is one process: start it without torchrun; "
            "several GPUs train with torchrun --nproc-per-node N -m rstrain pretrain METHOD …"
        )
    from pipelines.runner import run_pipeline
    from pipelines.scoreboard import as_text, scoreboard

    folder = out or Path("runs") / name
    pipeline = _pipeline(name, set)
    outcomes = run_pipeline(pipeline, folder, only=stage)
    board = scoreboard(
        sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: (p.name != "random", p.name))
    )
    seconds = sum(outcome.seconds for outcome in outcomes)
    text = as_text(board) if board else ""
    if (folder / "report.html").exists():
        text += f"\nnext: open {folder / 'report.html'} in a browser ({seconds:,.0f} s in all)"
    console.emit(
        {"stages": [asdict(o) for o in outcomes], "scores": board, "seconds": seconds},
        text.strip(),
        as_json=json,
    )


def _pipeline(name: str, settings: list[str] | None) -> Any:
    from pipelines.all import PIPELINES

    if name not in PIPELINES:
        raise ConfigError(f"pipeline {name!r}: is not one of {', '.join(PIPELINES)}")
    values = {}
    for text in settings or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected key=value")
        values[key] = value
    return PIPELINES[name].build("--set", **values)


def main() -> None:
    """The console script."""
    console.run(app, "pipelines")
