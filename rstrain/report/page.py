"""The report: runs side by side on one page that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from rstrain.report.collect import ReportError, Run, read_run
from rstrain.report.sections import (
    curves_section,
    data_section,
    gaps_section,
    pictures_section,
    runs_section,
    settings_section,
)
from rstrain.report.style import CSS, SHADES
from rstrain.report.tables import classes_section, scores_section
from shards.store import Store


def build_report(runs: Sequence[Path], out: Path, title: str = "Training report") -> Path:
    """Write one HTML file from run folders: facts, curves, scores, data and maps, side by side.

    It reads the folders and the shard sets they name, and writes nothing but `out`. What is missing is said on the page.

    Raises:
        ReportError: no folder was given, or one of them is no run.
    """
    if not runs:
        raise ReportError("a report needs at least one run folder: rstrain report RUN [RUN …] OUT.html")
    if out.is_dir():
        raise ReportError(f"{out}: is a folder; the last argument is the HTML file to write")
    found = _named([read_run(Path(folder)) for folder in runs])
    store = Store(out.absolute().parent)
    store.make()
    store.write(out.name, render(found, title).encode())
    return out


def render(runs: Sequence[Run], title: str) -> str:
    """The page as text."""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">{len(runs)} run{"s" if len(runs) > 1 else ""}, {made}</p>',
        runs_section(runs),
        scores_section(runs),
        curves_section(runs),
        classes_section(runs),
        pictures_section(runs),
        data_section(runs),
        settings_section(runs),
        gaps_section(runs),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}{SHADES}</style></head>\n"
        f"<body><main>{''.join(part for part in parts if part)}</main></body></html>\n"
    )


def _named(runs: list[Run]) -> list[Run]:
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            run.name = str(run.folder)
    return runs
