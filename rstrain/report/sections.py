"""Sections about runs and data."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from typing import Any

from rstrain.report.collect import DataFacts, Run, read_data, thinned
from rstrain.report.grids import world_map
from rstrain.report.svg import Line, counts, curves, legend, palette

CURVES = (
    ("loss", "loss"),
    ("lr", "learning rate"),
    ("embedding_std", "spread of the embedding (1 even, 0 collapsed)"),
    ("knn", "online kNN top-1, percent"),
    ("samples_per_s", "samples a second"),
    ("data_wait", "share of the time waiting for data"),
)
_KNOWN = {key for key, _ in CURVES} | {"step", "epoch"}
_CLASS_LIMIT = 60


def runs_section(runs: Sequence[Run]) -> str:
    """One row a run."""
    head = ("run", "method", "backbone", "data", "steps", "last loss", "samples/s", "machine")
    rows = []
    for run in runs:
        last = run.metrics[-1] if run.metrics else {}
        speeds = sorted(
            m["samples_per_s"] for m in run.metrics if isinstance(m.get("samples_per_s"), int | float)
        )
        place = run.environment.get("gpu") or run.environment.get("processor") or ""
        rows.append(
            [
                f"<b>{escape(run.name)}</b>",
                escape(run.method),
                escape(str(run.config.get("arch", _arch(run)))),
                _data_cell(run),
                _cell(last.get("step"), ","),
                _cell(last.get("loss"), ".4g"),
                _cell(speeds[len(speeds) // 2] if speeds else None, ",.0f"),
                escape(str(place)),
            ]
        )
    return "<h2>Runs</h2>" + table(head, rows, numeric={4, 5, 6})


def _arch(run: Run) -> str:
    return str(run.scores[0]["checkpoint"].get("arch", "–")) if run.scores else "–"


def _data_cell(run: Run) -> str:
    prints = {s["checkpoint"].get("dataset_fingerprint") for s in run.scores} - {None, ""}
    tail = f"<small><code>{escape(sorted(prints)[0][:12])}</code></small>" if prints else ""
    return escape(str(run.config.get("data", "–"))) + tail


def _cell(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[int]) -> str:
    """A table of ready markup; `numeric` columns stand to the right."""

    def css(i: int) -> str:
        return ' class="n"' if i in numeric else ""

    names = "".join(f"<th{css(i)}>{escape(name)}</th>" for i, name in enumerate(head))
    out = [f'<div class="scroll"><table>{f"<thead><tr>{names}</tr></thead>" if head else ""}<tbody>']
    for row in rows:
        cells = "".join(
            cell if cell.startswith("<td") else f"<td{css(i)}>{cell}</td>" for i, cell in enumerate(row)
        )
        out.append(f"<tr>{cells}</tr>")
    return "".join([*out, "</tbody></table></div>"])


def curves_section(runs: Sequence[Run]) -> str:
    """One panel a metric, all runs in it."""
    trained = [(i, run) for i, run in enumerate(runs) if run.metrics]
    if not trained:
        return "<h2>Training</h2><p class='muted'>No run has metrics.jsonl.</p>"
    extra = sorted({key for _, run in trained for m in run.metrics for key in m} - _KNOWN)
    panels = []
    for key, title in (*CURVES, *((key, key) for key in extra)):
        lines = []
        for i, run in trained:
            x, y = thinned(*run.series(key))
            if x:
                lines.append(Line(run.name, x, y, palette(i)))
        if lines:
            panels.append(curves(title, lines))
    note = "Long curves are means over equal stretches of steps."
    if len({run.method for _, run in trained}) > 1:
        note += " Losses of different methods have no common scale; compare their shapes only."
    return (
        f"<h2>Training</h2>{legend([(run.name, palette(i)) for i, run in trained])}"
        f'<p class="note">{note}</p>'
        f'<div class="grid2">{"".join(f"<div>{p}</div>" for p in panels)}</div>'
    )


def data_section(runs: Sequence[Run]) -> str:
    """Facts and a map of each shard set that a run names."""
    wheres: dict[str, None] = {}
    for run in runs:
        for where in (run.config.get("data"), *(s["data"].get("path") for s in run.scores)):
            if isinstance(where, str) and where:
                wheres[where] = None
    if not wheres:
        return "<h2>Data</h2><p class='muted'>No run names its data.</p>"
    out, seen = ["<h2>Data</h2>"], set()
    for where in wheres:
        facts = read_data(where)
        if isinstance(facts, str):
            out.append(f"<h3>{escape(where)}</h3><p class='muted'>{escape(facts)}</p>")
        elif facts.info["fingerprint"] not in seen:
            seen.add(facts.info["fingerprint"])
            out.append(_data_set(facts))
    return "".join(out)


def _data_set(facts: DataFacts) -> str:
    info = facts.info
    bands = ", ".join(band["name"] for band in info["members"][0]["bands"])
    splits = ", ".join(f"{name} {count:,}" for name, count in sorted(info["splits"].items()))
    rows = [
        ["source", escape(info["source"])],
        ["samples, views", f"{info['samples']:,}, {info['views']:,} ({escape(splits)})"],
        ["classes", f"{len(info['classes']):,}"],
        ["bands", escape(bands)],
        ["failed items", f"{info['failed']:,}"],
        [
            "size",
            f"{sum(s['bytes'] for s in info['shards']) / 2**20:,.1f} MiB in {len(info['shards']):,} shards",
        ],
        ["licence", escape(info["licence"] or "not stated")],
        ["attribution", escape(info["attribution"] or "–")],
        ["fingerprint", f"<code>{escape(info['fingerprint'])}</code>"],
        ["where", f"<code>{escape(facts.where)}</code>"],
    ]
    out = [f"<h3>{escape(info['name'])}</h3>", table((), rows, numeric=set())]
    if facts.lon:
        out.append(world_map(f"{len(facts.lon):,} places with coordinates", facts.lon, facts.lat))
        out.append(
            '<p class="note">Plate carrée. Many places are counted in cells of 1.5°: the stronger the colour, the more (log scale).</p>'
        )
    else:
        out.append("<p class='muted'>No place of this set has coordinates: there is no map.</p>")
    labels = sorted(info["labels"].items(), key=lambda item: (-item[1], item[0]))
    if labels:
        shown = labels[:_CLASS_LIMIT]
        tail = "" if len(shown) == len(labels) else f" (the {len(shown)} largest of {len(labels)})"
        half = -(-len(shown) // 2) if len(shown) > 12 else len(shown)
        parts = [shown[:half], shown[half:]]
        charts = [
            counts(f"views a class{tail}" if i == 0 else "", [n for n, _ in part], [c for _, c in part])
            for i, part in enumerate(parts)
            if part
        ]
        out.append(f'<div class="grid2">{"".join(f"<div>{c}</div>" for c in charts)}</div>')
    return "".join(out)


def pictures_section(runs: Sequence[Run]) -> str:
    """What evaluations drew beside their scores."""
    out = []
    for run in runs:
        for name, data in run.pictures:
            title = f"{run.name}: {name.replace('.', ', ')}"
            source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            out.append(
                f'<figure><img src="{source}" alt="{escape(title)}"><figcaption>{escape(title)}</figcaption></figure>'
            )
    return f"<h2>Pictures</h2>{''.join(out)}" if out else ""


def settings_section(runs: Sequence[Run]) -> str:
    """Every option of every run, folded away."""
    out = ["<h2>Settings</h2>"]
    for run in runs:
        facts = {"config": run.config, "environment": run.environment}
        text = json.dumps({k: v for k, v in facts.items() if v}, indent=2, ensure_ascii=False, default=str)
        out.append(f"<details><summary>{escape(run.name)}</summary><pre>{escape(text)}</pre></details>")
    return "".join(out)


def gaps_section(runs: Sequence[Run]) -> str:
    """What could not be shown."""
    rows = [f"<li>{escape(run.name)}: {escape(gap)}</li>" for run in runs for gap in run.gaps]
    return f"<h2>Not in this report</h2><ul>{''.join(rows)}</ul>" if rows else ""
