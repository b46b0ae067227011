"""Commands on tables and archives: geocluster, geocluster-assign, fmow-csv, sn7-csv."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rsdata.curate.configs import FmowCsvConfig, GeoclusterConfig, Sn7CsvConfig, TableConfig
from shards import console

Table = Annotated[
    Path, typer.Argument(metavar="TABLE", help="CSV, Parquet or GeoParquet file, or a shard set")
]
OutCsv = Annotated[Path, typer.Argument(metavar="OUT.csv", help="the table with the column `cluster`")]


def register(app: typer.Typer) -> None:
    """Add the commands to a program."""

    @console.configured(app, "geocluster", GeoclusterConfig)
    def geocluster(
        config: GeoclusterConfig, table: Table, out: OutCsv, as_json: console.Json = False
    ) -> None:
        """Label every row with a geographic cluster; also OUT.json (centroids) and OUT.png (map)."""
        from rsdata.curate import geofiles

        report = geofiles.geocluster(table, out, config)
        console.emit(asdict(report), report.summary(), as_json=as_json)

    @console.configured(app, "geocluster-assign", TableConfig)
    def geocluster_assign(
        config: TableConfig,
        centroids: Annotated[Path, typer.Argument(metavar="CENTROIDS.json", help="OUT.json of geocluster")],
        table: Table,
        out: OutCsv,
        as_json: console.Json = False,
    ) -> None:
        """Label another table by the nearest saved centroid."""
        from rsdata.curate import geofiles

        report = geofiles.geocluster_assign(centroids, table, out, config)
        console.emit(asdict(report), report.summary(), as_json=as_json)

    @console.configured(app, "fmow-csv", FmowCsvConfig)
    def fmow_csv(
        config: FmowCsvConfig,
        root: Annotated[
            Path, typer.Argument(metavar="ROOT", help="fMoW tree: <root>/train/<class>/<class>_<location>/…")
        ],
        out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="folder for the lists")],
        as_json: console.Json = False,
    ) -> None:
        """Write train_62classes.csv, test_62classes.csv and train_100geoclasses.csv from an fMoW tree."""
        from rsdata.curate import fmow_csv as lists

        report = lists.fmow_csv(root, out_dir, config)
        console.emit(asdict(report), report.summary(), as_json=as_json)
        if report.failed:
            raise typer.Exit(console.SOME_FAILED)

    @console.configured(app, "sn7-csv", Sn7CsvConfig)
    def sn7_csv(
        config: Sn7CsvConfig,
        root: Annotated[
            Path, typer.Argument(metavar="ROOT", help="SpaceNet 7 tree: <root>/train/<area>/images/…")
        ],
        out_dir: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="folder for the lists")],
        as_json: console.Json = False,
    ) -> None:
        """Write train.csv, val.csv and test.csv, a row a patch, and what the held-out ones share with the others."""
        from rsdata.curate import sn7_csv as lists

        contact = config.contact or os.environ.get("RSDATA_CONTACT")
        report = lists.sn7_csv(root, out_dir, config.model_copy(update={"contact": contact}))
        console.emit(asdict(report), report.summary(), as_json=as_json)
        if report.failed:
            raise typer.Exit(console.SOME_FAILED)
