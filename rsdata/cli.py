"""The `rsdata` program: each command is a signature and a call."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rsdata.curate import cli as curate
from rsdata.inspect import cli as inspect
from rsdata.sandbox import cli as sandbox
from rsdata.sources import kinds, table
from rsdata.sources.base import Source
from shards import console

app = console.app("From raw remote-sensing archives to curated WebDataset shards.")
plan_app = console.app("Decide what will be fetched: OUT/plan.parquet and an estimate. Touches no pixels.")
run_app = console.app("Plan (if there is no plan) and build.")
app.add_typer(plan_app, name="plan")
app.add_typer(run_app, name="run")

Out = Annotated[str, typer.Argument(metavar="OUT", help="folder or URL of the shard set")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="processes (default: one a core; 0: in this process)")
]
Engine = Annotated[str, typer.Option(help="local (dask and slurm are to come)")]
Address = Annotated[str | None, typer.Option(help="scheduler, such as tcp://host:8786; not for local")]


@app.command()
def sources(json: console.Json = False) -> None:
    """Every source: what it is, licence, credentials it needs, typical size."""
    rows = table()
    text = "\n".join(
        f"{row['source']:<30} {row['is']}\n{'':<30} {row['typical_size']}; licence: {row['licence']}; "
        f"credentials: {row['credentials']}; {row['url']}"
        for row in rows
    )
    console.emit({"sources": rows}, f"{text}\nnext: rsdata plan SOURCE OUT --help", as_json=json)


@app.command()
def build(
    out: Out,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="make only the shards with the first N items, finish later")
    ] = None,
    json: console.Json = False,
) -> None:
    """Carry the plan of OUT out: fetch, check, shard. Run it again to continue after an interruption."""
    from rsdata import build as building

    _report(building.build(out, workers=workers, engine=engine, address=address, limit=limit), json)


@app.command()
def status(
    out: Out,
    all: Annotated[bool, typer.Option("--all", help="list every failure, not only the first")] = False,
    json: console.Json = False,
) -> None:
    """What is done, what is left, what failed and why."""
    from rsdata import build as building

    result = building.status(out, listed=None if all else building.LISTED)
    console.emit(result.to_dict(), result.summary(), as_json=json)


@app.command()
def retry(
    out: Out,
    all: Annotated[
        bool, typer.Option("--all", help="try every failure again, not only the transient")
    ] = False,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    json: console.Json = False,
) -> None:
    """Try the transient failures again."""
    from rsdata import build as building

    _report(building.retry(out, all=all, workers=workers, engine=engine, address=address), json)


def _plan(config: Source, out: Out, json: console.Json = False) -> None:
    from rsdata.plan import make_plan

    info = make_plan(config, out).info
    estimate = config.estimate(info.items)
    size = "unknown size" if info.bytes is None else f"{info.bytes / 1e6:,.1f} MB"
    splits = ", ".join(f"{count:,} {split}" for split, count in info.splits().items())
    lines = [
        f"{out}: planned {info.items:,} items ({splits}), {size} to read, {len(info.shards):,} shards, "
        f"{len(info.classes)} classes",
        *(
            [f"  and {info.reserves:,} reserves, for items that turn out to be missing"]
            if info.reserves
            else []
        ),
        *(f"  {what}: {count:,}" for what, count in info.notes.items()),
        *(f"  about {_amount(amount)} {what.replace('_', ' ')}" for what, amount in estimate.items()),
        f"next: rsdata build {out}",
    ]
    value = {
        "out": out,
        "name": info.name,
        "items": info.items,
        "reserves": info.reserves,
        "splits": info.splits(),
        "bytes": info.bytes,
        "shards": len(info.shards),
        "classes": info.classes,
        "notes": info.notes,
        "estimate": estimate,
        "digest": info.plan_digest,
    }
    console.emit(value, "\n".join(lines), as_json=json)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _run(
    config: Source,
    out: Out,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    json: console.Json = False,
) -> None:
    from rsdata import build as building
    from rsdata.plan import make_plan

    make_plan(config, out)
    _report(building.build(out, workers=workers, engine=engine, address=address), json)


def _report(result: Any, as_json: bool) -> None:
    console.emit(result.to_dict(), result.summary(), as_json=as_json)
    if result.finished and result.failures:
        raise typer.Exit(console.SOME_FAILED)


for _name, _source in kinds().items():
    console.configured(plan_app, _name, _source, help=_source.__doc__)(_plan)
    console.configured(run_app, _name, _source, help=_source.__doc__)(_run)

curate.register(app)
inspect.register(app)
sandbox.register(app)


def main() -> None:
    """Entry point."""
    console.run(app, "rsdata")
