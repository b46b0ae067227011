"""What held-out patches of SpaceNet 7 share with the training patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rsdata.curate.sn7_places import Place
from rsdata.curate.sn7_splits import Patch
from shards.sphere import great_circle_km


@dataclass(frozen=True)
class Leakage:
    """Counts of held-out patches, and shares of them."""

    held_out: str
    """`val` or `test`."""
    train_patches: int
    patches: int
    same_area: int
    """Held-out patches whose area is in training."""
    leaked: int
    """Held-out patches with a twin: the same ground, at another month, in training."""
    same_image: int
    """Held-out patches with a neighbour from the same image in training."""
    shared_areas: tuple[str, ...]
    shared_countries: tuple[str, ...]
    only_held_out_countries: tuple[str, ...]
    """Countries that training has not seen."""
    nearest_km: Mapping[str, tuple[str, float]]
    """Held-out area -> nearest area of training and the distance of their centres."""

    def share(self, count: int) -> float:
        """Of the held-out patches."""
        return count / self.patches if self.patches else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        names = ("same_area", "leaked", "same_image")
        shares = {f"{name}_share": self.share(getattr(self, name)) for name in names}
        nearest = {area: {"area": near, "km": km} for area, (near, km) in self.nearest_km.items()}
        return asdict(self) | shares | {"nearest_km": nearest}

    def summary(self) -> str:
        """A few lines for people."""

        def of(count: int) -> str:
            return f"{count:,} ({100 * self.share(count):.1f} %)"

        lines = [
            f"{self.held_out}: {self.patches:,} patches against {self.train_patches:,} for training",
            f"  leaked, the same ground at another month in training: {of(self.leaked)}",
            f"  of an area in training: {of(self.same_area)}",
            f"  of an image in training: {of(self.same_image)}",
            f"  countries in both: {', '.join(self.shared_countries) or 'none'}",
        ]
        if self.only_held_out_countries:
            lines.append(f"  countries that training has not: {', '.join(self.only_held_out_countries)}")
        if self.nearest_km:
            area, (near, km) = min(self.nearest_km.items(), key=lambda pair: pair[1][1])
            lines.append(f"  nearest areas: {area} and {near}, {km:,.1f} km apart")
        return "\n".join(lines)


def leakage(
    name: str, train: Iterable[Patch], held_out: Iterable[Patch], places: Mapping[str, Place]
) -> Leakage:
    """Compare two sets of patches.

    Args:
        name: of the held-out set.
        train: what is trained on.
        held_out: what is scored on.
        places: of the areas of both.
    """
    kept, out = set(train), list(held_out)
    ground: dict[tuple[str, int], set[str]] = {}
    for patch in kept:
        ground.setdefault((patch.area, patch.patch), set()).add(patch.month)
    images = {patch[:2] for patch in kept}
    areas, out_areas = {patch.area for patch in kept}, {patch.area for patch in out}
    countries, out_countries = (
        {places[area].address.country for area in found} - {""} for found in (areas, out_areas)
    )
    return Leakage(
        held_out=name,
        train_patches=len(kept),
        patches=len(out),
        same_area=sum(patch.area in areas for patch in out),
        leaked=sum(bool(ground.get((patch.area, patch.patch), set()) - {patch.month}) for patch in out),
        same_image=sum(patch[:2] in images for patch in out),
        shared_areas=tuple(sorted(areas & out_areas)),
        shared_countries=tuple(sorted(countries & out_countries)),
        only_held_out_countries=tuple(sorted(out_countries - countries)),
        nearest_km=_nearest(sorted(areas), sorted(out_areas), places),
    )


def _nearest(
    areas: list[str], out_areas: list[str], places: Mapping[str, Place]
) -> dict[str, tuple[str, float]]:
    ends = {name: vector for name in areas if (vector := places[name].vector()) is not None}
    found: dict[str, tuple[str, float]] = {}
    for name in out_areas:
        start = places[name].vector()
        if start is not None and ends:
            near = min(ends, key=lambda end: float(great_circle_km(start, ends[end])))
            found[name] = (near, round(float(great_circle_km(start, ends[near])), 3))
    return found
