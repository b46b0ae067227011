"""Sections about scores: the table, bars with intervals, classes, confusion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rstrain.report.collect import Run
from rstrain.report.grids import class_dots, confusion, mark_legend
from rstrain.report.published import published
from rstrain.report.sections import table
from rstrain.report.svg import GREY, Bar, bars, palette

_VOTED = "temporal_"
_LEAD = (
    "top1_percent",
    "temporal_top1_percent",
    "micro_ap_percent",
    "accuracy_percent",
    "scales_mean_top1_percent",
    "ap50_percent",
    "miou_percent",
    "f1_percent",
    "batch_mean_f1_percent",
)


_SPELT = {
    "f1": "F1",
    "top1": "top-1",
    "top5": "top-5",
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "iou": "IoU",
    "miou": "mIoU",
}


@dataclass(frozen=True)
class Entry:
    """One scores file."""

    name: str
    """Of the checkpoint: a run's name, or `random`."""
    number: int
    """Position in the palette."""
    scores: dict[str, Any]

    @property
    def group(self) -> tuple[str, str, str, str]:
        """Only scores of one group can be compared: task, data, fingerprint, test split."""
        s = self.scores
        data = s["data"]
        return (
            str(s["task"]),
            str(data.get("name", "")),
            str(data.get("fingerprint", "")),
            str(data.get("test_split", "")),
        )

    @property
    def values(self) -> dict[str, float]:
        """Headline numbers, percent."""
        found: dict[str, float] = self.scores["outcome"]["scores"]
        return found

    def bar(self, key: str) -> Bar:
        """A number and its 95 % interval, percent."""
        found = self.scores["outcome"].get("intervals", {}).get(key)
        low, high = (float(found[0]), float(found[1])) if found else (None, None)
        return Bar(self.name, float(self.values[key]), low, high, self.number)


def entries(runs: Sequence[Run]) -> list[Entry]:
    """All scores, random ones first; the same file in two folders counts once."""
    out, seen = [], set()
    for i, run in enumerate(runs):
        for scores in run.scores:
            random = scores["checkpoint"].get("source") == "random"
            name = "random" if random else run.name
            number = GREY if random else palette(i)
            entry = Entry(name, number, scores)
            mark = (
                entry.group,
                name,
                str(scores["checkpoint"].get("sha256")),
                str(scores["outcome"]["scores"]),
            )
            if mark not in seen:
                seen.add(mark)
                out.append(entry)
    return sorted(out, key=lambda e: (e.group, e.name != "random"))


def _groups(runs: Sequence[Run]) -> dict[tuple[str, str, str, str], list[Entry]]:
    out: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries(runs):
        out.setdefault(entry.group, []).append(entry)
    return out


def scores_section(runs: Sequence[Run]) -> str:
    """A table and bars for each group of comparable scores."""
    groups = _groups(runs)
    if not groups:
        return (
            "<h2>Scores</h2><p class='muted'>No run has been evaluated: rstrain eval knn --checkpoint RUN "
            "--data DIR</p>"
        )
    out = ["<h2>Scores</h2>"]
    charts = []
    named = Counter((task, data, split) for task, data, _, split in groups)
    for (task, data, fingerprint, split), group in groups.items():
        first = group[0].scores
        size = f"{first.get('n_test', 0):,} test views of {first.get('n_test_places', 0):,} places"
        out.append(
            f"<h3>{escape(task)} on {escape(data)}, split {escape(split)} <span class='muted'>({size}; "
            f"<code>{escape(fingerprint[:12])}</code>)</span></h3>"
        )
        out.append(_table(group))
        version = f", {fingerprint[:12]}" if named[task, data, split] > 1 else ""
        lead = [k for k in _LEAD if k in first["outcome"]["scores"]]
        for key in lead or list(first["outcome"]["scores"])[:1]:
            values = [e.bar(key) for e in group if key in e.values]
            known = published(task, data, _classes(first), key)
            lines = [(row.model, row.value) for row in known]
            title = f"{task}: {title_of(key)}, percent ({data}, {split}{version})"
            charts.append(bars(title, values, references=lines))
        out.append(_published(task, data, first))
        out.append(_close(group))
        out.append(_shared(group))
    out.append(f'<div class="grid2">{"".join(f"<div>{c}</div>" for c in charts)}</div>')
    out.append(
        '<p class="note">Whiskers: 95 % bootstrap intervals over test places. Bold: best of a column.</p>'
    )
    return "".join(out)


def _classes(scores: dict[str, Any]) -> int | None:
    names = scores["data"].get("classes")
    return len(names) if isinstance(names, list) else None


def _published(task: str, data: str, scores: dict[str, Any]) -> str:
    """Numbers of others for the same task and data."""
    keys = scores["outcome"]["scores"]
    found = [(key, row) for key in keys for row in published(task, data, _classes(scores), key)]
    if not found:
        return ""
    rows = [
        [
            escape(row.model),
            title_of(key),
            f"{row.value:.2f}",
            row.certainty,
            escape(row.source + (f"; {row.note}" if row.note else "")),
        ]
        for key, row in found
    ]
    note = (
        "Dashed lines: made by others, with other code and often another protocol. C: read in the paper; I: inferred; M: "
        "from memory or second hand."
    )
    head = ("published", "score", "percent", "certainty", "source")
    return (
        f"<details><summary>Published numbers ({len(rows)})</summary>{table(head, rows, numeric={2})}"
        f'<p class="note">{note}</p></details>'
    )


def _close(group: Sequence[Entry]) -> str:
    """Test views that have a neighbour among those learnt from."""
    counts = [near["within_1_km"] for e in group if isinstance(near := e.scores.get("near"), dict)]
    if not any(counts):
        return ""
    return f'<p class="note">{max(counts):,} test views lie within 1 km of a place that was learnt from.</p>'


def _shared(group: Sequence[Entry]) -> str:
    """What the test split shares with the pretraining data, where that was asked."""
    rows = [
        f"<li>{escape(e.name)}, learnt from {escape(str(found.get('name')))}: {escape(str(found.get('summary')))}</li>"
        for e in group
        if isinstance(found := e.scores.get("leakage"), dict)
    ]
    if not rows:
        return ""
    return f'<p class="note">Shared with the pretraining data:</p><ul class="note">{"".join(rows)}</ul>'


def title_of(key: str) -> str:
    """`temporal_f1_macro_percent` -> `temporal F1 macro`."""
    words = key.removesuffix("_percent").split("_")
    return " ".join(_SPELT.get(w, w) for w in words)


def _table(group: Sequence[Entry]) -> str:
    keys = list(dict.fromkeys(key.removeprefix(_VOTED) for e in group for key in e.values))
    rows = []
    for prefix, label in (("", ""), (_VOTED, "temporal vote, one a place")):
        best = {
            key: max((e.values[prefix + key] for e in group if prefix + key in e.values), default=None)
            for key in keys
        }
        for entry in group:
            if prefix and not any(key.startswith(prefix) for key in entry.values):
                continue
            small = label or _protocol(entry)
            cells = [_number(entry, prefix + key, best[key], len(group) > 1) for key in keys]
            rows.append([f"<b>{escape(entry.name)}</b><small>{escape(small)}</small>", *cells])
    return table(("checkpoint", *map(title_of, keys)), rows, numeric=set(range(1, len(keys) + 1)))


def _number(entry: Entry, key: str, best: float | None, several: bool) -> str:
    value = entry.values.get(key)
    if value is None:
        return '<td class="n">–</td>'
    spread = entry.scores.get("spread", {}).get(key)
    small = ""
    if spread:
        small = f"<small>{spread['mean']:.1f} ± {spread['std']:.1f} ({len(spread['values'])} seeds)</small>"
    css = "n best" if several and value == best else "n"
    return f'<td class="{css}">{value:.2f}{small}</td>'


def _protocol(entry: Entry) -> str:
    protocol = entry.scores.get("protocol", {})
    details = entry.scores["outcome"].get("details", {})
    found = [f"{protocol['size']} px" if "size" in protocol else ""]
    found += [f"{key} {protocol[key]}" for key in ("k", "temperature", "preset") if key in protocol]
    found.append(f"lr {details['lr']:g}" if isinstance(details.get("lr"), int | float) else "")
    return ", ".join(part for part in found if part)


def classes_section(runs: Sequence[Run]) -> str:
    """Each class in each checkpoint, and what the best one confuses."""
    groups = {
        key: g for key, g in _groups(runs).items() if any(e.scores["outcome"].get("per_class") for e in g)
    }
    if not groups:
        return ""
    key = max(groups, key=lambda k: (k[0] == "linear", max(_top1(e) for e in groups[k])))
    group = groups[key]
    best = max(group, key=_top1)
    per_class = sorted(best.scores["outcome"]["per_class"], key=lambda c: (-c["f1_percent"], c["name"]))
    shown = [e for e in group if e.scores["outcome"].get("per_class")][:4]
    series = [
        (e.name, e.number, {c["name"]: float(c["f1_percent"]) for c in e.scores["outcome"]["per_class"]})
        for e in shown
    ]
    names = [c["name"] for c in per_class]
    half = -(-len(names) // 2) if len(names) > 16 else len(names)
    dots = [
        class_dots("F1 of each class, percent" if i == 0 else "", part, series)
        for i, part in enumerate((names[:half], names[half:]))
        if part
    ]
    out = [
        f"<h2>Classes: {escape(key[0])} on {escape(key[1])}</h2>",
        mark_legend([(name, at) for name, at, _ in series]),
        f'<div class="grid2">{"".join(f"<div>{d}</div>" for d in dots)}</div>',
    ]
    counts = best.scores["outcome"].get("confusion")
    classes = best.scores["data"].get("classes")
    if counts and classes and len(counts) == len(classes):
        present = [i for i in range(len(classes)) if sum(counts[i]) or any(row[i] for row in counts)]
        cut = [[counts[i][j] for j in present] for i in present]
        out.append(confusion(f"Confusion of {best.name}", [str(classes[i]) for i in present], cut))
    else:
        out.append("<p class='muted'>The scores hold no confusion matrix (more than 256 classes).</p>")
    return "".join(out)


def _top1(entry: Entry) -> float:
    return float(entry.values.get("top1_percent", 0.0))
