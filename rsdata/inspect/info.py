"""`rsdata info`: what a set is, in a screenful or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shards.dataset import DatasetInfo
from shards.index import Index
from shards.store import Store

_CLASSES_SHOWN = 12


@dataclass(frozen=True)
class SetFacts:
    """dataset.json and what the index adds to it."""

    folder: str
    info: DatasetInfo
    bytes: int
    places: int
    """Samples that have a position."""
    views_per_sample: tuple[int, float, int]
    """Least, mean, most."""
    bbox: tuple[float, float, float, float] | None
    """West, south, east, north, degrees."""
    times: tuple[str, str] | None
    """First and last, ISO 8601."""
    gsd_m: tuple[float, float] | None
    """Least and most."""
    sizes_px: tuple[int, int, int, int]
    """Least and most width, least and most height."""
    columns: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self) | {
            "info": self.info.model_dump(mode="json", exclude={"shards"}),
            "shards": len(self.info.shards),
        }

    def lines(self) -> list[tuple[str, str]]:
        """Names and values for people."""
        info = self.info
        low, mean, high = self.views_per_sample
        width = span(self.sizes_px[0], self.sizes_px[1])
        height = span(self.sizes_px[2], self.sizes_px[3])
        rows = [
            ("source", f"{info.source}" + (f", made by {info.made_by}" if info.made_by else "")),
            ("licence", info.licence or "not stated"),
            ("attribution", info.attribution or "not stated"),
            (
                "samples",
                f"{info.samples:,} ({info.views:,} views; {low} to {high} a sample, mean {mean:.2f})",
            ),
            ("splits", ", ".join(f"{name} {count:,}" for name, count in info.splits.items()) + " views"),
            ("shards", f"{len(info.shards):,} ({self.bytes / 1e6:,.1f} MB)"),
            (
                "images",
                f"{width} x {height} px, " + "; ".join(f"{m.ending}, {m.dtype}" for m in info.members),
            ),
            ("bands", ", ".join(band.name for band in info.bands)),
        ]
        if info.classes and not info.labels:
            shown = ", ".join(info.classes[:_CLASSES_SHOWN])
            rest = len(info.classes) - _CLASSES_SHOWN
            rows.append(
                ("classes", f"{len(info.classes)}: {shown}" + (f", and {rest} more" if rest > 0 else ""))
            )
        elif info.classes:
            most = sorted(info.labels.items(), key=lambda pair: (-pair[1], pair[0]))[:_CLASSES_SHOWN]
            shown = ", ".join(f"{name} {count:,}" for name, count in most)
            rest = len(info.classes) - len(most)
            rows.append(
                ("classes", f"{len(info.classes)}: {shown}" + (f", and {rest} more" if rest > 0 else ""))
            )
        if info.targets:
            said = [f"{target.member} ({len(target.classes)} classes)" for target in info.targets]
            rows.append(("targets", ", ".join(said)))
        if self.bbox:
            w, s, e, n = self.bbox
            rows.append(("where", f"{self.places:,} places, lon {w:.2f} to {e:.2f}, lat {s:.2f} to {n:.2f}"))
        if self.times:
            rows.append(("when", f"{self.times[0][:10]} to {self.times[1][:10]}"))
        if self.gsd_m:
            rows.append(
                ("ground sample distance", f"{span(round(self.gsd_m[0], 2), round(self.gsd_m[1], 2))} m")
            )
        if info.failed:
            rows.append(("failed", f"{info.failed:,} items, listed in failures.parquet"))
        rows += [(f"note: {name}", f"{value}") for name, value in info.notes.items()]
        rows.append(("fingerprint", info.fingerprint))
        return rows

    def summary(self) -> str:
        """For people."""
        rows = self.lines()
        width = max(len(name) for name, _ in rows)
        return "\n".join(
            [f"{self.info.name} ({self.folder})", *(f"  {name:<{width}}  {value}" for name, value in rows)]
        )


def set_facts(folder: str | Path | Store) -> SetFacts:
    """Facts of a finished set.

    Raises:
        ShardError: no finished set is there.
    """
    index = Index.open(folder)
    return facts_of(index)


def facts_of(index: Index) -> SetFacts:
    """Facts of an open set."""
    first, count = index.places()
    starts = first == np.arange(len(first))
    per = count[starts] if len(first) else np.zeros(1)
    lon, lat = index.column("lon").astype(float), index.column("lat").astype(float)
    there = np.isfinite(lon) & np.isfinite(lat)
    gsd = index.column("gsd_m").astype(float)
    gsd = gsd[np.isfinite(gsd)]
    times = index.table["time"].drop_null()
    width, height = index.column("width"), index.column("height")
    return SetFacts(
        folder=index.store.url,
        info=index.info,
        bytes=sum(shard.bytes for shard in index.info.shards),
        places=int((there & starts).sum()),
        views_per_sample=(int(per.min()), float(per.mean()), int(per.max())),
        bbox=_bbox(lon[there], lat[there]),
        times=_ends(times),
        gsd_m=(float(gsd.min()), float(gsd.max())) if len(gsd) else None,
        sizes_px=(int(width.min()), int(width.max()), int(height.min()), int(height.max())),
        columns=index.table.column_names,
    )


def span(low: float, high: float) -> str:
    """`3` or `3 to 5`."""
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _bbox(lon: Any, lat: Any) -> tuple[float, float, float, float] | None:
    if not len(lon):
        return None
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _ends(times: Any) -> tuple[str, str] | None:
    import pyarrow.compute as pc

    if not len(times):
        return None
    ends = pc.min_max(times).as_py()
    return ends["min"].isoformat(), ends["max"].isoformat()
