"""Lists of the planet's photos, builds of them, and what must become of each photo."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rsdata.sandbox.flickr.lists import Truth
from rsdata.sandbox.flickr.photos import KEPT, Fate
from rsdata.sources.geoimagenet import GeoImageNet

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
ENV = {"FLICKR_API_KEY": KEY}
FAILED: dict[Fate, tuple[str, str]] = {
    "placeholder": ("fetch", "gone"),
    "missing": ("fetch", "gone"),
    "truncated": ("check", "invalid"),
    "private": ("fetch", "refused"),
    "nowhere": ("locate", "invalid"),
    "deleted": ("locate", "gone"),
    "null": ("locate", "invalid"),
}
"""Fate -> stage and class of the failure."""


def options(folder: Path, url: str, cache: Path, *more: Any) -> list[str]:
    """Options of `rsdata run geoimagenet` for a list that lies in a folder."""
    given = ["--urls", folder / "urls.txt", "--class-names", folder / "words.txt", "--endpoint", url]
    given += ["--location-cache", cache, "--quota", 3_600_000, "--samples-per-shard", 50, *more]
    return [str(value) for value in given]


def source(folder: Path, url: str, cache: Path, **more: Any) -> GeoImageNet:
    """The same as a config."""
    given = {
        "class_names": folder / "words.txt",
        "endpoint": url,
        "location_cache": cache,
        "quota": 3_600_000,
    }
    return GeoImageNet.build(urls=folder / "urls.txt", **{"samples_per_shard": 50, **given, **more})


def check_fates(out: Path, truths: list[Truth]) -> int:
    """See that exactly the photos that should are kept, and that each other failed as it should; how many are kept."""
    kept = set(pq.read_table(out / "index.parquet")["photo_id"].to_pylist())
    assert kept == {truth.id for truth in truths if truth.fate in KEPT}
    rows = pq.read_table(out / "failures.parquet").to_pylist()
    found = {row["item"]: (row["stage"], row["class"]) for row in rows}
    expected = {f"{t.wnid}/{t.id}": FAILED[t.fate] for t in truths if t.fate not in KEPT}
    assert found == expected
    assert len(rows) == len(expected) and all(row["reason"] for row in rows)
    return len(kept)


def calls(url: str, method: str = "flickr.photos.geo.getLocation") -> list[tuple[int, float]]:
    """Photo and seconds of each call of a method, oldest first."""
    with urllib.request.urlopen(f"{url}/_sandbox_flickr/calls", timeout=30) as answer:
        return [(int(photo), at) for name, photo, at in json.load(answer) if name == method]


def check_rate(times: list[float], rate: float) -> None:
    """See that calls never came faster than so many a second, but for a few that were late and met the next."""
    late = 4
    for first, last in zip(times, times[late:], strict=False):
        assert last - first >= (late - 2) / rate - 0.06, (
            f"{late} calls in {last - first:.3f} s at {rate} a second"
        )
    assert len(times) <= 2 + rate * (times[-1] - times[0] + 0.1)
