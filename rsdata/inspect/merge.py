"""`rsdata merge`: one set from several of the same kind of pixels; classes are united by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsdata.inspect.reshard import RewriteReport
from rsdata.inspect.rewrite import Input, Part, empty_output, samples_of, shard_names, write_set
from rsdata.inspect.stats import pixel_statistics
from shards.dataset import DatasetInfo, Member
from shards.errors import UserError
from shards.index import Index
from shards.sample import check_key, clean_key
from shards.store import Store


def merge(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    prefix: Sequence[str] = (),
    name: str = "",
    samples_per_shard: int | None = None,
) -> RewriteReport:
    """Write the union: the samples of the first set, then those of the second, … within each split.

    Labels become positions in the alphabetical list of all classes; sets with boxes, masks or label vectors must have the same. Statistics are computed from the pixels again.

    Args:
        folders: two or more finished sets.
        out: folder or URL of the new set.
        prefix: one a set, put before its keys as `PREFIX-KEY`; needed where keys collide.
        name: of the new set; default: the last part of `out`.
        samples_per_shard: default: the largest of the inputs.

    Raises:
        ShardError: a set is unfinished or damaged.
        UserError: bands or targets differ, keys collide, or the output is not empty.
    """
    if len(folders) < 2:
        raise UserError("merge needs two or more sets and the folder for their union")
    if prefix and len(prefix) != len(folders):
        raise UserError(
            f"{len(prefix)} --prefix for {len(folders)} sets: give one for each, in the same order"
        )
    indexes = [Index.open(folder) for folder in folders]
    members = _members(indexes)
    classes = _classes(indexes)
    inputs = [Input(index, _mapping(index.info.classes, classes)) for index in indexes]
    parts = _parts(indexes, prefix)
    name = name or clean_key(str(out).rstrip("/").rsplit("/", 1)[-1])
    check_key(name)
    runs = [(name if len(parts) == 1 else f"{name}-{split}", run) for split, run in parts.items()]
    size = samples_per_shard or max(shard.samples for index in indexes for shard in index.info.shards)
    shards = shard_names(runs, size)
    store = empty_output(out, [shard for shard, _ in shards])
    info = write_set(store, shards, inputs, _info(indexes, members, classes, name))
    return RewriteReport(
        store.url, info.samples, info.views, len(info.shards), len(info.classes), info.fingerprint
    )


def _classes(indexes: list[Index]) -> list[str]:
    """The alphabetical list of all; of sets with boxes, masks or label vectors, whose numbers stay, the one they share."""
    first = indexes[0]
    if not any(index.info.targets for index in indexes):
        return sorted({name for index in indexes for name in index.info.classes})
    for index in indexes:
        if (index.info.targets, index.info.classes) != (first.info.targets, first.info.classes):
            raise UserError(
                f"{index.store}: has other targets or classes than {first.store}, or in another order; the numbers in "
                "boxes, masks and label vectors stay as they are, so give both sets the same --classes when they are planned"
            )
    return list(first.info.classes)


def _mapping(old: list[str], new: list[str]) -> tuple[int, ...] | None:
    return None if old == new else tuple(new.index(name) for name in old)


def _parts(indexes: list[Index], prefix: Sequence[str]) -> dict[str, list[Part]]:
    """Samples by split; refuses keys that occur twice."""
    out: dict[str, list[Part]] = {}
    owner: dict[str, tuple[str, Store]] = {}
    for number, index in enumerate(indexes):
        keys, splits = index.table["key"].to_pylist(), index.table["split"].to_pylist()
        starts, counts = samples_of(index)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            key = f"{prefix[number]}-{keys[start]}" if prefix else keys[start]
            check_key(key)
            if key.lower() in owner:
                other, store = owner[key.lower()]
                raise UserError(
                    f"key {key!r} of {index.store} is {other!r} of {store} already; "
                    "tell them apart with one --prefix for each set, in the same order"
                )
            owner[key.lower()] = key, index.store
            out.setdefault(splits[start], []).append(Part(number, start, count, key))
    return out


def _members(indexes: list[Index]) -> list[Member]:
    first = indexes[0]
    found: dict[str, Member] = {}
    for index in indexes:
        if index.info.bands != first.info.bands:
            ours, theirs = (", ".join(band.name for band in i.info.bands) for i in (first, index))
            raise UserError(
                f"{index.store}: has the bands {theirs}, but {first.store} has {ours} (or other units): they cannot be one set"
            )
        for member in index.info.members:
            known = found.setdefault(member.ending, member)
            if known.dtype != member.dtype or known.bands != member.bands:
                raise UserError(
                    f"{index.store}: stores .{member.ending} otherwise than {first.store}; they cannot be one set"
                )
            pairs = zip(known.shape[:2], member.shape[:2], strict=True)
            height, width = (a if a == b else None for a, b in pairs)
            found[member.ending] = known.model_copy(update={"shape": (height, width, member.shape[2])})
    return list(found.values())


def _info(indexes: list[Index], members: list[Member], classes: list[str], name: str) -> DatasetInfo:
    infos = [index.info for index in indexes]
    statistics, of = pixel_statistics(indexes)
    notes: dict[str, Any] = {}
    for info in infos:
        for key, value in info.notes.items():
            notes[key] = notes.get(key, 0) + value if isinstance(value, int) else value
    sources = list(dict.fromkeys(info.source for info in infos))
    return infos[0].model_copy(
        update={
            "name": name,
            "source": sources[0] if len(sources) == 1 else "merge",
            "members": members,
            "classes": classes,
            "notes": notes,
            "statistics": statistics,
            "statistics_of": of,
            "licence": "; ".join(dict.fromkeys(info.licence for info in infos if info.licence)),
            "attribution": " | ".join(dict.fromkeys(info.attribution for info in infos if info.attribution)),
            "config": {
                "merged": [
                    {
                        "name": i.name,
                        "fingerprint": i.fingerprint,
                        "plan_digest": i.plan_digest,
                        "config": i.config,
                    }
                    for i in infos
                ]
            },
            "plan_digest": "",
        }
    )
