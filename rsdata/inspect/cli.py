"""Commands on a finished shard set: info, verify, stats, preview, reshard, merge, export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from shards import console

Folder = Annotated[str, typer.Argument(metavar="DIR", help="folder or URL of a shard set")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="folder or URL of the new set")]
PerShard = Annotated[int, typer.Option(min=1, help="samples of each shard but the last of a split")]


def register(app: typer.Typer) -> None:
    """Add the commands to a program."""
    app.command("info")(info)
    app.command("verify")(verify)
    app.command("stats")(stats)
    app.command("preview")(preview)
    app.command("reshard")(reshard)
    app.command("merge")(merge)
    app.command("export")(export)


def info(folder: Folder, as_json: console.Json = False) -> None:
    """Facts of a shard set."""
    from rsdata.inspect.info import set_facts

    facts = set_facts(folder)
    console.emit(facts.to_dict(), facts.summary(), as_json=as_json)


def verify(folder: Folder, as_json: console.Json = False) -> None:
    """Check every digest, member and index row; exit 1 and name shard, key and byte of any damage."""
    from shards.dataset import read_info
    from shards.verify import verify as check

    shards = len(read_info(folder).shards)
    with console.progress("verify", shards, "shards") as bar:
        report = check(folder, advance=bar.advance)
    console.emit(asdict(report) | {"ok": report.ok}, report.summary(), as_json=as_json)
    if not report.ok:
        raise typer.Exit(1)


def stats(
    folder: Folder,
    quick: Annotated[
        bool, typer.Option("--quick", help="print what dataset.json says; read no pixels")
    ] = False,
    as_json: console.Json = False,
) -> None:
    """Mean, std and quantiles of each band, from the pixels; exit 1 where dataset.json says otherwise."""
    from rsdata.inspect.stats import stats as compute

    if quick:
        report = compute(folder, quick=True)
    else:
        with console.progress("stats", None, "images") as bar:
            report = compute(folder, advance=bar.advance)
    console.emit(report.to_dict(), report.summary(), as_json=as_json)
    if report.same is False:
        raise typer.Exit(1)


def preview(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT.html")],
    places: Annotated[int, typer.Option(min=1, max=500, help="places on the contact sheet")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="which places are shown")] = 0,
    as_json: console.Json = False,
) -> None:
    """One page to look at: contact sheet, classes, time, map, facts."""
    from rsdata.inspect.preview import preview as draw

    size = draw(folder, out, places=places, seed=seed)
    console.emit(
        {"out": str(out), "bytes": size}, f"{out}: {size / 1e6:.1f} MB; open it in a browser", as_json=as_json
    )


def reshard(folder: Folder, out: Out, samples_per_shard: PerShard, as_json: console.Json = False) -> None:
    """Write the same samples in the same order into shards of another size."""
    from rsdata.inspect.reshard import reshard as rewrite

    report = rewrite(folder, out, samples_per_shard=samples_per_shard)
    console.emit(asdict(report), report.summary(), as_json=as_json)


def merge(
    folders: Annotated[
        list[str], typer.Argument(metavar="A B ... OUT", help="two or more sets, then the new one")
    ],
    prefix: Annotated[
        list[str] | None, typer.Option(help="put before the keys; once for each set, in order")
    ] = None,
    name: Annotated[str, typer.Option(help="of the new set (default: the last part of OUT)")] = "",
    samples_per_shard: Annotated[
        int | None, typer.Option(min=1, help="default: the largest shard of the inputs")
    ] = None,
    as_json: console.Json = False,
) -> None:
    """One set from several; classes are united by name."""
    from rsdata.inspect.merge import merge as unite

    *inputs, out = folders
    report = unite(inputs, out, prefix=prefix or (), name=name, samples_per_shard=samples_per_shard)
    console.emit(asdict(report), report.summary(), as_json=as_json)


def export(
    folder: Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="new folder")],
    to: Annotated[Literal["folder", "geotiff"], typer.Option(help="kind of files")] = "folder",
    as_json: console.Json = False,
) -> None:
    """Back to files and an index.csv: as they are stored (folder), or each resolution of a view as a GeoTIFF."""
    if to == "geotiff":
        from rsdata.inspect.export_geotiff import export_geotiff

        report = export_geotiff(folder, out)
    else:
        from rsdata.inspect.export_folder import export_folder

        report = export_folder(folder, out)
    console.emit(asdict(report), report.summary(), as_json=as_json)
