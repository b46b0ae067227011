"""`rsdata stats`: mean, std and quantiles of each band, computed from the pixels and compared with dataset.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsdata.inspect.views import view_members
from shards.codec import ImageError
from shards.dataset import read_info
from shards.errors import ShardError
from shards.index import Index
from shards.machine import cores
from shards.stats import BandStats, Histogram
from shards.store import Store

_CHUNK = 64


@dataclass(frozen=True)
class StatsReport:
    """Facts of each band."""

    folder: str
    of: str
    """Split they are of; `all` where there is no train split."""
    recomputed: bool
    same: bool | None
    """Whether the pixels say what dataset.json says, but for rounding of another JPEG decoder; None: not read."""
    bands: list[BandStats]

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self) | {"bands": [band.model_dump(mode="json") for band in self.bands]}

    def summary(self) -> str:
        """A table for people."""
        width = max([len(band.name) for band in self.bands] + [4])
        how = "read from dataset.json" if not self.recomputed else "computed from the pixels"
        lines = [f"{self.folder}: split {self.of}, {how}"]
        lines.append(
            f"  {'band':<{width}} {'mean':>9} {'std':>9} {'min':>6} {'2 %':>6} {'50 %':>6} {'98 %':>6} {'max':>6}"
        )
        for b in self.bands:
            q = b.quantiles
            lines.append(
                f"  {b.name:<{width}} {b.mean:9.3f} {b.std:9.3f} {b.minimum:6g} "
                f"{q['0.02']:6g} {q['0.5']:6g} {q['0.98']:6g} {b.maximum:6g}"
            )
        if self.same is not None:
            lines.append("  the same as in dataset.json" if self.same else "  DIFFERENT from dataset.json")
        return "\n".join(lines)


def stats(
    folder: str | Path | Store, *, quick: bool = False, advance: Callable[[int], None] | None = None
) -> StatsReport:
    """Statistics of the split that dataset.json has them of.

    Args:
        folder: a finished set.
        quick: answer what dataset.json says and read no pixels.
        advance: called with the number of images just read.

    Raises:
        ShardError: the set is unfinished, or an image is damaged.
    """
    info = read_info(folder)
    store = Store.of(folder)
    if quick:
        return StatsReport(store.url, info.statistics_of, False, None, info.statistics)
    found, of = pixel_statistics([Index.open(store)], info.statistics_of, advance)
    return StatsReport(store.url, of, True, _agree(found, info.statistics), found)


def _agree(found: list[BandStats], written: list[BandStats]) -> bool:
    """Equal counts, and moments within 0.2 % of the range: decoders of JPEG may differ by one in a few pixels."""
    if [(b.name, b.pixels) for b in found] != [(b.name, b.pixels) for b in written]:
        return False
    return all(
        max(abs(a.mean - b.mean), abs(a.std - b.std)) <= 0.002 * max(b.maximum - b.minimum, 1)
        for a, b in zip(found, written, strict=True)
    )


def pixel_statistics(
    indexes: Sequence[Index], of: str | None = None, advance: Callable[[int], None] | None = None
) -> tuple[list[BandStats], str]:
    """Statistics over the views of one split of all sets, and which split: train where there is one, else all."""
    if of is None:
        of = "train" if any("train" in index.info.splits for index in indexes) else "all"
    chosen = [
        index if of == "all" else index.where(split=of)
        for index in indexes
        if of == "all" or of in index.info.splits
    ]
    total = Histogram.total(part for index in chosen for part in _histograms(index, advance))
    names = [band.name for band in indexes[0].info.bands]
    return ([] if total is None else total.stats(names)), of


def _histograms(index: Index, advance: Callable[[int], None] | None) -> Iterator[Histogram]:
    members = index.table["member"].to_pylist()

    def one(start: int) -> Histogram | None:
        rows = range(start, min(start + _CHUNK, len(index)))
        total: Histogram | None = None
        for row in rows:
            part = _histogram(index, row, members[row])
            if total is not None and part.counts.shape != total.counts.shape:
                key = index.keys([row])[0]
                raise ShardError(
                    f"{index.store}: sample {key} has other bands or another depth than those before it"
                )
            total = part if total is None else Histogram(total.counts + part.counts, part.dtype)
        if advance is not None:
            advance(len(rows))
        return total

    with ThreadPoolExecutor(min(8, cores())) as pool:
        yield from (part for part in pool.map(one, range(0, len(index), _CHUNK)) if part is not None)


def _histogram(index: Index, row: int, member: str) -> Histogram:
    try:
        return Histogram.beside([Histogram.of(pixels) for _, pixels in view_members(index, row)])
    except (ImageError, ValueError) as error:
        raise ShardError(f"{index.store}: sample {index.keys([row])[0]}, {member}: {error}") from None
