"""`rstrain`: from shards to backbones and scores. A command is a signature and a call of one public function."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from rstrain.config import TrainConfig, config_for
from rstrain.evals.config import EvalConfig, KnnConfig, LinearConfig
from rstrain.methods import method_kinds
from shards import console

app = console.app("From shards to backbones and scores.")
pretrain_app = console.app(
    "Train a backbone without labels; the same command with the same --out resumes exactly."
)
eval_app = console.app("Score a backbone on labelled data.")
app.add_typer(pretrain_app, name="pretrain")
app.add_typer(eval_app, name="eval")

Out = Annotated[Path, typer.Option("--out", help="run folder; an unfinished run in it is resumed")]


@app.command()
def methods(json: console.Json = False) -> None:
    """Every method with its paper, its views and its defaults."""
    rows: dict[str, Any] = {}
    for kind, method in method_kinds().items():
        config = method(kind=kind)
        rows[kind] = {
            "paper": method.paper,
            "views": config.pairing,
            "preset": method.differs,
            "defaults": config.to_dict(),
            "run_defaults": config.run_defaults(),
        }
    text = "\n".join(f"{kind:<14} {row['views']:<9} {row['paper']}" for kind, row in rows.items())
    console.emit(rows, text + "\n\nnext: rstrain pretrain METHOD --help", as_json=json)


def _pretrain(kind: str) -> None:
    config_class = config_for(kind)
    method = method_kinds()[kind]
    differs = f" --preset repo|paper: {method.differs}." if method.differs else ""

    @console.configured(pretrain_app, kind, config_class, help=f"{kind}: {method.paper}.{differs}")
    def command(config: TrainConfig, out: Out, json: console.Json = False) -> None:
        from rstrain.engine.train import pretrain

        report = pretrain(config, out)
        if int(os.environ.get("RANK", "0")) == 0:
            console.emit(report.to_dict(), report.summary(), as_json=json)
        if not report.finished:
            raise typer.Exit(130)


for _kind in method_kinds():
    _pretrain(_kind)


def _evaluate(config: EvalConfig, as_json: bool) -> None:
    from rstrain.evals.base import run_eval

    scores = run_eval(config)
    if int(os.environ.get("RANK", "0")) == 0:
        console.emit(scores.to_dict(), scores.summary(), as_json=as_json)


@console.configured(eval_app, "knn", KnnConfig)
def knn(config: KnnConfig, json: console.Json = False) -> None:
    """Weighted k nearest neighbours on frozen features."""
    _evaluate(config, json)


@console.configured(eval_app, "linear", LinearConfig)
def linear(config: LinearConfig, json: console.Json = False) -> None:
    """A linear classifier on frozen features; for places with several views also the temporal vote."""
    _evaluate(config, json)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders")],
    out: Annotated[Path, typer.Argument(help="page to write, .html")],
    json: console.Json = False,
) -> None:
    """One self-contained page: curves, scores, data facts and maps of runs side by side."""
    from rstrain.report import build_report

    path = build_report(runs, out)
    console.emit({"report": str(path)}, f"{path}: open it in a browser", as_json=json)


def main() -> None:
    """The console script."""
    console.run(app, "rstrain")
