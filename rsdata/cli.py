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

SECRETS = """
Credentials are read from where they belong and never stored: Earth Engine from `earthengine authenticate` or
GOOGLE_APPLICATION_CREDENTIALS, Flickr from FLICKR_API_KEY, hosts that want a password from ~/.netrc. S3 is read unsigned."""

app = console.app("From raw remote-sensing archives to curated WebDataset shards.")
plan_app = console.app("Decide what will be fetched: OUT/plan.parquet and an estimate. Touches no pixels.")
run_app = console.app("Plan (if there is no plan) and build.")
app.add_typer(plan_app, name="plan")
app.add_typer(run_app, name="run")

Out = Annotated[str, typer.Argument(metavar="OUT", help="folder or URL of the shard set")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="processes (default: one a core; 0: in this process); slurm: elements at once"),
]
Engine = Annotated[str, typer.Option(help="local, dask (workers of a scheduler) or slurm (writes an array)")]
Address = Annotated[
    str | None, typer.Option(help="dask: scheduler, such as tcp://host:8786 (default: one on this machine)")
]
Submit = Annotated[bool, typer.Option("--submit", help="slurm: submit the jobs, not only write them")]
Sbatch = Annotated[
    list[str] | None,
    typer.Option(help="slurm: an option of sbatch, such as --sbatch=--partition=cpu; repeat"),
]


@app.command()
def sources(json: console.Json = False) -> None:
    """Every source: what it is, licence, credentials it needs, typical size."""
    rows = table()
    text = "\n".join(
        f"{row['source']:<30} {row['is']}\n{'':<30} {row['typical_size']}; licence: {row['licence']}; "
        f"credentials: {row['credentials']}; {row['url']}"
        for row in rows
    )
    console.emit({"sources": rows}, f"{text}\n{SECRETS}\nnext: rsdata plan SOURCE OUT --help", as_json=json)


@app.command()
def build(
    out: Out,
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    submit: Submit = False,
    sbatch: Sbatch = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="make only the shards with the first N items, finish later")
    ] = None,
    json: console.Json = False,
) -> None:
    """Carry the plan of OUT out: fetch, check, shard. Run it again to continue after an interruption."""
    from rsdata import build as building

    hands = _hands(workers, engine, address, submit, sbatch)
    _report(building.build(out, **hands, limit=limit), json)


@app.command("run-task")
def run_task(
    out: Out,
    task: Annotated[int, typer.Argument(min=0, metavar="TASK", help="number of the shard, from 0")],
    of: Annotated[
        int | None, typer.Option(min=1, help="make every N-th shard from this one on, not this one alone")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="processes (default: one a core; 0: in this process)")
    ] = None,
    json: console.Json = False,
) -> None:
    """Make one shard of a plan, as a job of an array does; `build` finishes the set afterwards."""
    from rsdata import build as building

    done = building.run_task(out, task, of=of, workers=workers)
    text = f"{out}: {len(done['made']):,} of {len(done['shards']):,} shards were missing and are made"
    console.emit(done, f"{text}, {done['failed']:,} failures\nnext: rsdata build {out}", as_json=json)


@app.command()
def status(
    out: Out,
    all: Annotated[bool, typer.Option("--all", help="list every failure, not only the first")] = False,
    json: console.Json = False,
) -> None:
    """What is done, what is left, what failed and why."""
    from rsdata import status as standing

    result = standing.status(out, listed=None if all else standing.LISTED)
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
    submit: Submit = False,
    sbatch: Sbatch = None,
    json: console.Json = False,
) -> None:
    """Try the transient failures again."""
    from rsdata import build as building

    hands = _hands(workers, engine, address, submit, sbatch)
    _report(building.retry(out, all=all, **hands), json)


def _plan(
    config: Source,
    out: Out,
    simulate: Annotated[
        str | None,
        typer.Option(
            metavar="workers=8,latency=0.1,quota=40",
            help="foretell the build on other machines: workers, latency (seconds of a request), quota (requests at "
            "once), rate (a second), cpu (seconds a place), places (default 1,000,000)",
        ),
    ] = None,
    json: console.Json = False,
) -> None:
    from rsdata.plan import make_plan
    from rsdata.simulate import Means
    from rsdata.simulate import simulate as play

    means = Means.parse(simulate) if simulate else None
    plan = make_plan(config, out)
    info = plan.info
    forecast = play(plan, means) if means else None
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
        *([forecast.summary()] if forecast else []),
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
        **({"simulation": forecast.to_dict()} if forecast else {}),
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
    submit: Submit = False,
    sbatch: Sbatch = None,
    json: console.Json = False,
) -> None:
    from rsdata import build as building
    from rsdata.plan import make_plan

    make_plan(config, out)
    _report(building.build(out, **_hands(workers, engine, address, submit, sbatch)), json)


def _hands(
    workers: int | None, engine: str, address: str | None, submit: bool, sbatch: list[str] | None
) -> dict[str, Any]:
    """Who carries the plan out, as `rsdata.build` takes it."""
    return {
        "workers": workers,
        "engine": engine,
        "address": address,
        "submit": submit,
        "sbatch": sbatch or (),
    }


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
