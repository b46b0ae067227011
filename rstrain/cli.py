"""`rstrain`: from shards to backbones and scores. A command is a signature and a call of one public function."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rstrain.bench_config import BenchConfig
from rstrain.config import TrainConfig, config_for
from rstrain.evals.config import ClusterConfig, EvalConfig, KnnConfig, LinearConfig, MultilabelConfig
from rstrain.evals.dense_config import ChangeConfig, DenseConfig, DetectConfig, SegmentConfig
from rstrain.evals.tuning_config import FinetuneConfig
from rstrain.interop.families import FAMILIES, Target
from rstrain.methods import method_kinds
from shards import console

if TYPE_CHECKING:
    from rstrain.evals.scores import Scores

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

    _show(run_eval(config), as_json)


def _show(scores: Scores, as_json: bool) -> None:
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


@console.configured(eval_app, "finetune", FinetuneConfig)
def finetune(config: FinetuneConfig, json: console.Json = False) -> None:
    """The whole network learns from labels, or from a share of them (--fraction, the semi-supervised protocols)."""
    _evaluate(config, json)


@console.configured(eval_app, "multilabel", MultilabelConfig)
def multilabel(config: MultilabelConfig, json: console.Json = False) -> None:
    """Several classes an image on frozen features; micro and macro average precision of the whole split."""
    _evaluate(config, json)


@console.configured(eval_app, "cluster", ClusterConfig)
def cluster(config: ClusterConfig, json: console.Json = False) -> None:
    """K-means on frozen features: accuracy of the best naming, mutual information, Rand index."""
    _evaluate(config, json)


def _evaluate_dense(config: DenseConfig, as_json: bool) -> None:
    from rstrain.evals.dense import run_dense

    _show(run_dense(config), as_json)


@console.configured(eval_app, "detect", DetectConfig, fixed={"size": None})
def detect(config: DetectConfig, json: console.Json = False) -> None:
    """Objects by boxes or outlines: a detector on the backbone is trained; COCO and VOC average precision."""
    _evaluate_dense(config, json)


@console.configured(eval_app, "segment", SegmentConfig)
def segment(config: SegmentConfig, json: console.Json = False) -> None:
    """A class for each pixel: a decoder on the backbone is trained; mean IoU of the whole split."""
    _evaluate_dense(config, json)


@console.configured(eval_app, "change", ChangeConfig)
def change(config: ChangeConfig, json: console.Json = False) -> None:
    """What changed between two dates: SeCo's decoder on a frozen backbone; F1 of the whole split."""
    _evaluate_dense(config, json)


@app.command()
def convert(
    source: Annotated[
        Path | None, typer.Argument(metavar="IN", help="checkpoint of another program, .pth or .safetensors")
    ] = None,
    out: Annotated[Path | None, typer.Argument(help="backbone file to write, .safetensors")] = None,
    family: Annotated[
        str | None, typer.Option("--from", "--family", help=f"whose checkpoint it is: {', '.join(FAMILIES)}")
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="resnet50, timm:NAME, ...; by default told from the shapes")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1, help="side of the input, pixels; positions of a vision transformer are fitted to it"
        ),
    ] = None,
    mean: Annotated[
        list[float] | None, typer.Option(help="subtracted in training, 0 to 255, once a band")
    ] = None,
    std: Annotated[
        list[float] | None, typer.Option(help="divided by in training, 0 to 255, once a band")
    ] = None,
    families: Annotated[bool, typer.Option("--list", help="what can be converted, and nothing else")] = False,
    json: console.Json = False,
) -> None:
    """Turn a checkpoint of another program into a backbone that eval takes; loads are strict."""
    if families:
        rows = {name: entry.about for name, entry in FAMILIES.items()}
        text = "\n".join(f"{name:<12} {about}" for name, about in rows.items())
        console.emit(rows, text + "\n\nnext: rstrain convert IN OUT.safetensors --from NAME", as_json=json)
        return
    if source is None or out is None:
        raise typer.BadParameter("give two files, or --list", param_hint="IN OUT")
    from rstrain.interop.convert import convert

    done = convert(source, out, family=family, arch=arch, size=size, mean=mean or (), std=std or ())
    console.emit(done.to_dict(), done.summary(), as_json=json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="run folder or backbone file")],
    out: Annotated[
        Path, typer.Argument(help="file to write, .safetensors or .pth, or .onnx; a card goes beside it")
    ],
    to: Annotated[Target, typer.Option(help="whose model shall load it")] = "torchvision",
    json: console.Json = False,
) -> None:
    """Write plain weights or a graph for others, with a model card."""
    from rstrain.interop.export import export

    done = export(run, out, to=to)
    console.emit(done.to_dict(), done.summary(), as_json=json)


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


@console.configured(app, "bench", BenchConfig)
def bench(config: BenchConfig, json: console.Json = False) -> None:
    """Samples a second of reading alone, of the model alone and of both; the share spent waiting, memory, MFU."""
    from rstrain.bench import bench

    report = bench(config)
    if int(os.environ.get("RANK", "0")) == 0:
        console.emit(report.to_dict(), report.summary(), as_json=json)


def main() -> None:
    """The console script."""
    try:
        console.run(app, "rstrain")
    except SystemExit as end:
        if "RANK" not in os.environ:
            raise
        from rstrain.distributed import leave

        leave(end.code if isinstance(end.code, int) else int(end.code is not None))
