"""Plan: every item decided, in its final order and shard, before any pixel is read."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from rsdata.sources import source_of
from rsdata.sources.base import Item, Listing, Row, Source
from shards.config import Config
from shards.errors import ConfigError, ShardError
from shards.sample import clean_key
from shards.store import Store

NAME = "plan.parquet"
FORMAT = 1
SHARD_BYTES = 256_000_000
SHARD_SAMPLES = 10_000
_SPLIT_ORDER = {"train": 0, "val": 1, "test": 2}
_KEY_LENGTH = 80  # leaves room for `.000.jpg` in a ustar name


class PlannedShard(Config):
    """One task: a tar to be."""

    name: str
    split: str
    items: int
    reserves: int = Field(0, description="items that stand in for those which the archive does not have")
    bytes: int | None = Field(description="of the files it is made from; null where unknown")

    @property
    def rows(self) -> int:
        """Items and reserves: its rows in the plan."""
        return self.items + self.reserves


class PlanInfo(Config):
    """What plan.parquet says of itself, in its metadata."""

    format: int = FORMAT
    name: str = Field(description="name of the set")
    source: dict[str, Any] = Field(description="the resolved config of the source")
    classes: list[str]
    notes: dict[str, int] = Field(description="counted facts of the listing")
    shards: list[PlannedShard]
    plan_digest: str = Field(description="sha256 over rows, classes and the source's identity")

    @property
    def items(self) -> int:
        """Items over all shards."""
        return sum(shard.items for shard in self.shards)

    @property
    def reserves(self) -> int:
        """Reserves over all shards."""
        return sum(shard.reserves for shard in self.shards)

    @property
    def bytes(self) -> int | None:
        """Bytes of all source files, where known."""
        sizes = [shard.bytes for shard in self.shards if shard.bytes is not None]
        return sum(sizes) if len(sizes) == len(self.shards) else None

    def splits(self) -> dict[str, int]:
        """Items of each split."""
        out: Counter[str] = Counter()
        for shard in self.shards:
            out[shard.split] += shard.items
        return dict(out)


@dataclass(frozen=True)
class Plan:
    """A written plan."""

    store: Store
    info: PlanInfo

    @classmethod
    def open(cls, out: str | Path | Store) -> Self:
        """Read the facts of a plan; the rows are read shard by shard.

        Raises:
            ConfigError: there is none.
            ShardError: it is damaged or of another version.
        """
        from rsdata.plan_file import read_facts

        store = Store.of(out)
        if not store.exists(NAME):
            raise ConfigError(f"{store}: has no {NAME}; make one with: rsdata plan SOURCE {store}")
        try:
            values = read_facts(_file(store))
        except ValueError:
            raise ShardError(
                f"{store.path(NAME)}: is not a plan of this program; remove it and plan again"
            ) from None
        if values.get("format") != FORMAT:
            raise ShardError(
                f"{store.path(NAME)}: has format {values.get('format')}, expected {FORMAT}; plan again into an empty "
                "folder, or use the version that made it"
            )
        return cls(store, PlanInfo.build(store.path(NAME), **values))

    def source(self) -> Source:
        """The source, ready to fetch."""
        return source_of(self.info.source, self.store.path(NAME))

    def items(self, shard: int) -> list[Item]:
        """The items of a shard, in order; then its reserves."""
        from rsdata.plan_file import read_items

        start = sum(s.rows for s in self.info.shards[:shard])
        return read_items(_file(self.store), start, start + self.info.shards[shard].rows)

    def check_is(self, other: PlanInfo) -> None:
        """Refuse a folder that was planned otherwise.

        Raises:
            ConfigError: names what differs.
        """
        if self.info.plan_digest == other.plan_digest:
            return
        differs = _difference(self.info, other, self.source().where)
        raise ConfigError(
            f"{self.store}: holds another plan: {differs}\n"
            "  Choose another folder, give the same options, or remove the folder to start over."
        )


def make_plan(source: Source, out: str | Path | Store) -> Plan:
    """List a source, fix the order, cut it into shards and write plan.parquet.

    An equal plan that is there already is kept; only the place of the archive (`root`) may have changed.

    Raises:
        ConfigError: no items, two items with one key, OUT lies in the archive, or it holds another plan.
    """
    from rsdata.plan_file import to_bytes

    store = Store.of(out)
    _check_apart(source, store)
    listing = source.listing()
    if not listing.items:
        raise ConfigError(f"{source.kind}: found no items to plan; check the options")
    items = _with_keys(listing.items + listing.reserves, source.kind)
    spare = {item.id for item in listing.reserves}
    reserves = [item for item in items if item.id in spare]
    items = [item for item in items if item.id not in spare]
    if source.limit is not None:
        items = _draw(items, source.limit, source)
    shards, rows = _deal(*_cut(source, items), reserves)
    info = PlanInfo(
        name=source.set_name(),
        source=_absolute(source).to_dict(),
        classes=listing.classes,
        notes=dict(sorted(listing.notes.items())),
        shards=shards,
        plan_digest=_digest(source, listing, rows),
    )
    if store.exists(NAME):
        plan = Plan.open(store)
        plan.check_is(info)
        if plan.info == info:
            return plan
    elif store.exists("dataset.json"):
        raise ConfigError(f"{store}: holds a shard set that was not planned here; choose another folder")
    store.make()
    store.write(NAME, to_bytes(rows, info.model_dump(mode="json")))
    return Plan(store, info)


def _check_apart(source: Source, store: Store) -> None:
    """Refuse to write into the archive: the next listing would find our own files there."""
    for key in sorted(source.where):
        folder = getattr(source, key)
        if isinstance(folder, str) and folder.startswith("/"):
            folder = Path(folder)
        if store.local is None or not isinstance(folder, Path) or not folder.is_dir():
            continue
        if store.local.resolve().is_relative_to(folder.expanduser().resolve()):
            raise ConfigError(
                f"{store}: lies in --{key.replace('_', '-')} {folder}; choose a folder outside of the archive"
            )


def key_of(text: str) -> str:
    """The key of an item's id; what would be too long or would lose letters ends in a digest of the id."""
    stem, dot, ending = text.rpartition(".")
    base = clean_key(stem if dot and "/" not in ending else text)
    if text.isascii() and len(base) <= _KEY_LENGTH:
        return base
    return f"{base[: _KEY_LENGTH - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _with_keys(items: list[Item], kind: str) -> list[Item]:
    """Items with keys, in the order of (split, key)."""
    seen: dict[str, str] = {}
    keyed = []
    for item in items:
        item = replace(item, key=item.key or key_of(item.id))
        if item.key.lower() in seen:
            raise ConfigError(
                f"{kind}: two items would have the key {item.key!r}: {seen[item.key.lower()]!r} and {item.id!r}\n"
                "  Keys are told apart neither by case nor by dots, slashes or endings; rename one of the files."
            )
        seen[item.key.lower()] = item.id
        keyed.append(item)
    return sorted(keyed, key=lambda i: (_SPLIT_ORDER.get(i.split, 9), i.split, i.key))


def _draw(items: list[Item], limit: int, source: Source) -> list[Item]:
    from shards.random import stream

    place = _places(items, source, stream("plan/limit"), source.seed)
    return [item for item, p in zip(items, place, strict=True) if p < limit]


def _places(items: list[Item], source: Source, *key: int) -> list[int]:
    """Where a shuffle puts each item; of a source that wants its groups together, the groups are shuffled."""
    from shards.random import permute

    if not source.together:
        return [int(p) for p in permute(range(len(items)), len(items), *key)]
    groups = {group: n for n, group in enumerate(dict.fromkeys(item.group for item in items))}
    turn = permute(range(len(groups)), len(groups), *key)
    order = sorted(range(len(items)), key=lambda i: int(turn[groups[items[i].group]]))
    place = [0] * len(items)
    for p, i in enumerate(order):
        place[i] = p
    return place


def _cut(source: Source, items: list[Item]) -> tuple[list[PlannedShard], list[list[Item]]]:
    """Shuffle within each split, then cut into shards of nearly equal counts; answers the items of each too."""
    from shards.random import stream

    splits = list(dict.fromkeys(item.split for item in items))
    shards: list[PlannedShard] = []
    held: list[list[Item]] = []
    for split in splits:
        part = [item for item in items if item.split == split]
        place = _places(part, source, stream("plan/order"), stream(split), source.seed)
        part = [item for _, item in sorted(zip(place, part, strict=True), key=lambda pair: pair[0])]
        sizes = [sum(item.sizes) if item.sizes else None for item in part]
        size = source.shard_size() or _samples_per_shard(sizes)
        suffix = f"-{split}" if len(splits) > 1 else ""
        for k, (start, end) in enumerate(_cuts(part, size, source)):
            held.append(part[start:end])
            shards.append(
                PlannedShard(
                    name=f"{source.set_name()}{suffix}-{k:06d}.tar",
                    split=split,
                    items=end - start,
                    bytes=_bytes_of(held[-1]),
                )
            )
    return shards, held


def _cuts(part: list[Item], size: int, source: Source) -> Iterator[tuple[int, int]]:
    """Begin and end of each shard of at most `size` items; a group that wants to be together is cut only if larger."""
    start = 0
    while start < len(part):
        end = min(start + size, len(part))
        whole = end
        while source.together and start < whole < len(part) and part[whole].group == part[whole - 1].group:
            whole -= 1
        end = whole if whole > start else end
        yield start, end
        start = end


def _bytes_of(items: list[Item]) -> int | None:
    """Of all files that the items are made from, each counted once; None where one is not known."""
    if not all(item.sizes for item in items):
        return None
    return sum(
        {url: size for item in items for url, size in zip(item.urls, item.sizes, strict=True)}.values()
    )


def _deal(
    shards: list[PlannedShard], held: list[list[Item]], reserves: list[Item]
) -> tuple[list[PlannedShard], list[Row]]:
    """Give the reserves to the shards of their split in turn, so that no shard has to know of another."""
    spare = {split: [i for i in reserves if i.split == split] for split in {s.split for s in shards}}
    count, turn = Counter(shard.split for shard in shards), Counter[str]()
    dealt, rows = [], []
    for number, (shard, items) in enumerate(zip(shards, held, strict=True)):
        mine = spare[shard.split][turn[shard.split] :: count[shard.split]]
        turn[shard.split] += 1
        dealt.append(shard.model_copy(update={"reserves": len(mine)}))
        rows += [Row(item, number, False) for item in items] + [Row(item, number, True) for item in mine]
    return dealt, rows


def _samples_per_shard(sizes: list[int | None]) -> int:
    known = [size for size in sizes if size is not None]
    expected = sum(known) / max(1, len(known)) * len(sizes)
    count = max(1, -(-len(sizes) // SHARD_SAMPLES), -(-int(expected) // SHARD_BYTES))
    return -(-len(sizes) // count)


def _absolute(source: Source) -> Source:
    """The config with absolute paths: a build may start from another folder."""
    paths = {key: value for key in source.where if isinstance(value := getattr(source, key), Path)}
    return source.model_copy(update={key: path.expanduser().absolute() for key, path in paths.items()})


def _digest(source: Source, listing: Listing, rows: list[Row]) -> str:
    import msgspec

    encode = msgspec.json.Encoder().encode
    out = hashlib.sha256(encode([FORMAT, source.identity(), source.set_name(), listing.classes]))
    for item, number, reserve in rows:
        out.update(encode([item, number, "reserve"] if reserve else [item, number]))
    return out.hexdigest()


def _difference(old: PlanInfo, new: PlanInfo, where: frozenset[str]) -> str:
    """What differs, without the fields that only say where the archive lies; those may be what was mistaken."""
    keys = sorted(
        key for key in old.source.keys() | new.source.keys() if old.source.get(key) != new.source.get(key)
    )
    options = [
        f"{key} was {old.source.get(key)!r} and is {new.source.get(key)!r}"
        for key in keys
        if key not in where
    ]
    if options:
        return "; ".join(options)
    moved = [key for key in keys if key in where]
    other = f" (other {', '.join(moved)} than then)" if moved else ""
    if old.items != new.items:
        return f"the archive had {old.items:,} items and has {new.items:,}{other}"
    return f"files of the archive have other names or sizes now{other}"


def _file(store: Store) -> Any:
    return str(store.local / NAME) if store.local is not None else io.BytesIO(store.read(NAME))
