"""Million-AID (Long et al. 2021): a million aerial scenes, of which ten thousand have public labels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from rsdata.sources.base import Fetched, Item, Listing, read_file
from rsdata.sources.rooted import Rooted
from shards.errors import ConfigError

_SPLITS = ("train", "test")


class MillionAID(Rooted):
    """Scenes of train/ (nested class folders, labelled) and test/ (flat or nested, no labels)."""

    kind: Literal["millionaid"] = "millionaid"
    splits: tuple[str, ...] = Field((), description="train, test, or both (default: those that are there)")
    size: int = Field(
        512,
        ge=0,
        description="scale the short side down to this many pixels, JPEG q95; 0: keep bytes (scenes have up to 31,672 px)",
    )
    max_pixels: int = Field(1_200_000_000, gt=0, description="refuse images with more pixels")

    title: ClassVar[str] = "Million-AID: a million aerial scenes, 51 classes in three levels"
    url: ClassVar[str] = "https://captain-whu.github.io/DiRS/"
    licence: ClassVar[str] = "academic use; Google Earth imagery"
    typical_size: ClassVar[str] = "10,000 labelled and 990,848 unlabelled images, over 200 GB"
    extra_columns: ClassVar[dict[str, str]] = {"class_name": "string", "class_path": "string"}

    def listing(self) -> Listing:
        """Find the scenes. Labels are positions in the sorted names of the leaf folders of train.

        Raises:
            ConfigError: neither split is there, one that is asked for is not, or one class has two parents.
        """
        root = self.folder()
        for split in self.splits:
            if split not in _SPLITS:
                raise ConfigError(f"splits: {split!r} is none of them; give train, test, or both")
        there = [split for split in _SPLITS if (root / split).is_dir()]
        wanted = list(dict.fromkeys(self.splits)) or there
        missing = [split for split in wanted if split not in there]
        if missing or not wanted:
            raise ConfigError(
                f"{root}: has no folder {missing[0] if missing else 'train or test'}/; give --root the folder that holds "
                "train/ and test/"
            )
        notes: Counter[str] = Counter()
        found = {split: list(_scenes(root, split, notes)) for split in wanted}
        paths = sorted({path for _, _, path in found.get("train", []) if path})
        classes = _leaves(root, paths)
        items = []
        for split, scenes in found.items():
            for url, size, path in scenes:
                label = classes.index(path.rpartition("/")[2]) if split == "train" and path else None
                notes["without a label"] += label is None
                items.append(
                    Item(
                        url,
                        (url,),
                        (size,),
                        split=split,
                        label=label,
                        group=url,
                        facts=path if label is not None else "",
                    )
                )
        return Listing(items, classes, {what: count for what, count in notes.items() if count})

    def fetch(self, item: Item) -> Fetched:
        """One scene, with its label where it has one."""
        from rsdata.images import check_image, fit
        from rsdata.sources.members import image_sample

        data = read_file(self.folder(), item.urls[0], item.sizes[0])
        image = check_image(data, max_pixels=self.max_pixels)
        return image_sample(
            item,
            fit(image, size=self.size or None),
            licence=self.licence,
            extra={"class_name": item.facts.rpartition("/")[2], "class_path": item.facts},
            more={"width": image.width, "height": image.height},
        )


def _scenes(root: Path, split: str, notes: Counter[str]) -> list[tuple[str, int, str]]:
    """Path, bytes and class path (`agriculture_land/grassland/meadow`; empty without folders) of each scene."""
    from rsdata.sources.below import images_below

    found = [(url, size, "/".join(url.split("/")[1:-1])) for url, size in images_below(root, split, notes)]
    if not found:
        raise ConfigError(f"{root / split}: has no images; unpack the archives there")
    return found


def _leaves(root: Path, paths: list[str]) -> list[str]:
    """Names of the classes: the last folder of each path."""
    owner: dict[str, str] = {}
    for path in paths:
        name = path.rpartition("/")[2]
        if owner.setdefault(name, path) != path:
            raise ConfigError(
                f"{root / 'train'}: the class {name!r} lies in {owner[name]} and in {path}; move one of the folders"
            )
    return sorted(owner)
