"""Which patches of SpaceNet 7 are held out: by area, month, image or patch; only the first does not leak.

Every published score is of a random split inside the same areas (sheet `sn7-vicreg`, 1.6). The published splits are those of
scikit-learn, so `image` and `patch` are too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from rsdata.curate.configs import Sn7Split
from rsdata.curate.sn7_files import Month
from rsdata.curate.sn7_pixels import PATCHES
from rsdata.curate.sn7_places import Place
from rsdata.curate.sn7_published import mixed42, shuffle_split
from shards.errors import ConfigError
from shards.random import address, stream
from shards.sphere import great_circle_km

_ORDER = stream("splits/sn7/aoi")


class Patch(NamedTuple):
    """One row of a list."""

    area: str
    month: str
    """`2018-01`."""
    patch: int


Assignment = dict[Patch, str]
"""Patch -> `train` or `val`; a patch that is in neither is left out."""


def every_patch(months: Sequence[Month]) -> list[Patch]:
    """16 of each image, in the order of the images."""
    return [Patch(month.area, month.month, k) for month in months for k in range(PATCHES)]


def assign(options: Sn7Split, months: Sequence[Month], places: Mapping[str, Place]) -> Assignment:
    """Every patch of the training images to its split.

    Raises:
        ConfigError: nothing can be held out, or the list of a replay is missing or of no use.
    """
    if options.split == "aoi":
        return by_area(
            months,
            places,
            fraction=options.val_fraction,
            seed=options.seed,
            apart_km=options.apart_km,
            countries=options.countries,
        )
    if options.split == "temporal":
        return by_month(months, options.last_months)
    if options.split == "image":
        return by_image(months, seed=options.seed)
    if options.split == "patch":
        return by_patch(months, seed=options.seed)
    if options.images_list is None:
        raise ConfigError(
            "--split compat-mixed42 needs --images-list: the order of the study's ids_and_labels_encoded.csv decides"
        )
    try:
        return replay_mixed42(months, options.images_list.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{options.images_list}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # pandas' parser errors and text that is not UTF-8 are such
        raise ConfigError(f"{options.images_list}: is not the study's list ({error})") from None


def by_area(
    months: Sequence[Month],
    places: Mapping[str, Place],
    *,
    fraction: float,
    seed: int,
    apart_km: float,
    countries: Literal["known", "any"],
) -> Assignment:
    """Hold out whole areas; areas nearer to each other than `apart_km` stay on one side.

    Args:
        months: the images.
        places: of their areas.
        fraction: share of the areas to hold out; less where `known` leaves no more.
        seed: of the order in which areas are taken.
        apart_km: between the centres of two areas on different sides, kilometres.
        countries: `known` takes an area only if another of its country stays in train, so that every held-out label has
            been seen; 25 of the 31 countries have one area, and so stay whole. `any` takes any.

    Raises:
        ConfigError: nothing can be held out.
    """
    names = sorted({month.area for month in months})
    groups = _neighbours(names, places, apart_km)
    order = sorted(groups, key=lambda group: int(address(_ORDER, seed, stream(group[0]))))
    left = {name: places[name].address.country for name in names}
    target = round(fraction * len(names))
    val: set[str] = set()
    for group in order:
        if len(val) >= target or len(left) == len(group):
            break
        rest = {country for name, country in left.items() if name not in group}
        if countries == "known" and not {left[name] for name in group} <= rest:
            continue
        val.update(group)
        for name in group:
            del left[name]
    if not val:
        raise ConfigError(
            f"none of {len(names)} areas can be held out"
            + ("; with --countries any the only area of a country may be" if countries == "known" else "")
            + f" (--val-fraction {fraction:g}, --apart-km {apart_km:g})"
        )
    return {patch: "val" if patch.area in val else "train" for patch in every_patch(months)}


def by_month(months: Sequence[Month], last: int) -> Assignment:
    """Hold out the last months of the calendar.

    Raises:
        ConfigError: there are no more months than that.
    """
    known = sorted({month.month for month in months})
    if len(known) <= last:
        raise ConfigError(f"--last-months {last} of {len(known)} months leaves none to train on")
    late = set(known[-last:])
    return {patch: "val" if patch.month in late else "train" for patch in every_patch(months)}


def by_image(months: Sequence[Month], *, seed: int) -> Assignment:
    """A quarter of the images, at random: as published, on a sorted list."""
    _, held_out = shuffle_split(_several(months), seed)
    val = {(months[i].area, months[i].month) for i in held_out}
    return {patch: "val" if patch[:2] in val else "train" for patch in every_patch(months)}


def by_patch(months: Sequence[Month], *, seed: int) -> Assignment:
    """A quarter of the patches, at random: neighbours in one image fall on both sides."""
    patches = every_patch(months)
    _several(months)
    _, held_out = shuffle_split(len(patches), seed)
    val = set(held_out.tolist())
    return {patch: "val" if i in val else "train" for i, patch in enumerate(patches)}


def replay_mixed42(months: Sequence[Month], text: str) -> Assignment:
    """The study's patch lists, from its list of images in its order; images that it lost on the way are left out.

    Args:
        months: the images of the tree.
        text: `ids_and_labels_encoded.csv` of the study.

    Raises:
        ConfigError: the list names none of these images.
    """
    by_name = {month.name: month for month in months}
    out: Assignment = {}
    for split, rows in zip(("train", "val"), mixed42(text), strict=True):
        for row in rows:
            patch, name = row.split(",", 1)[0].split("!", 1)
            if name in by_name:
                out[Patch(by_name[name].area, by_name[name].month, int(patch))] = split
    if len(set(out.values())) < 2:
        raise ConfigError(
            "--images-list: has not two of the tree's images; expected Image_id,City,State,Country with a header"
        )
    return out


def _several(months: Sequence[Month]) -> int:
    if len(months) < 2:
        raise ConfigError(f"{len(months)} images cannot be split; use another --split")
    return len(months)


def _neighbours(names: list[str], places: Mapping[str, Place], apart_km: float) -> list[list[str]]:
    """Areas that must stay together, chained by their distance; an area without coordinates is alone."""
    group = list(range(len(names)))
    known = [(i, v) for i, name in enumerate(names) if (v := places[name].vector()) is not None]
    for n, (i, a) in enumerate(known):
        for j, b in known[:n]:
            if float(great_circle_km(a, b)) < apart_km and group[i] != group[j]:
                old, new = group[i], group[j]
                group = [new if g == old else g for g in group]
    members: dict[int, list[str]] = {}
    for name, number in zip(names, group, strict=True):
        members.setdefault(number, []).append(name)
    return [sorted(names) for names in members.values()]
