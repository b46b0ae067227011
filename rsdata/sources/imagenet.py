"""ImageNet (Russakovsky et al. 2015): ILSVRC 2012 in folders as everybody has it, with the devkit for a flat val."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rsdata.sources.base import Fetched, Item, Listing, read_file
from rsdata.sources.rooted import Rooted
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rsdata.curate.ilsvrc import Devkit

_VAL = "ILSVRC2012_val_"


class ImageNet(Rooted):
    """train/<wnid>/ and val/<wnid>/ or a flat val/; labels are positions in the sorted wnids of train."""

    kind: Literal["imagenet"] = "imagenet"
    devkit: Path | None = Field(
        None, description="ILSVRC2012_devkit_t12: classes of a flat val/, and names of the classes"
    )
    class_names: Path | None = Field(
        None, description="words.txt or LOC_synset_mapping.txt: names of the classes (default: the devkit's)"
    )
    size: int | None = Field(
        None,
        gt=0,
        description="scale the short side down to this many pixels, JPEG q95 (default: keep bytes)",
    )
    max_pixels: int = Field(300_000_000, gt=0, description="refuse images with more pixels")

    title: ClassVar[str] = "ImageNet: ILSVRC 2012, 1,000 classes of photos"
    url: ClassVar[str] = "https://image-net.org/challenges/LSVRC/2012/"
    licence: ClassVar[str] = "non-commercial research (terms of access of image-net.org)"
    access: ClassVar[str] = "an account at image-net.org for the download"
    typical_size: ClassVar[str] = "1,281,167 + 50,000 images, 150 GB"
    extra_columns: ClassVar[dict[str, str]] = {"wnid": "string", "class_name": "string"}
    where: ClassVar[frozenset[str]] = Rooted.where | {"devkit", "class_names"}  # what they say is in the plan

    def listing(self) -> Listing:
        """List the folders.

        Raises:
            ConfigError: no train/ of wnid folders, or a val/ that nothing tells the classes of.
        """
        from rsdata.curate.ilsvrc import read_devkit
        from rsdata.flickr.lists import read_names

        root = self.folder()
        notes: Counter[str] = Counter()
        devkit = read_devkit(self.devkit) if self.devkit is not None else None
        files = {"train": _classes(root, "train", notes)}
        if (root / "val").is_dir():
            flat = any(entry.name.startswith(_VAL) for entry in (root / "val").iterdir())
            files["val"] = (
                _flat(root, devkit, notes) if flat else _classes(root, "val", notes, files["train"])
            )
        wnids = sorted(files["train"])
        unknown = sorted(files.get("val", {}).keys() - files["train"].keys())
        if unknown:
            notes["val images of classes that train does not have"] = sum(
                len(files["val"][wnid]) for wnid in unknown
            )
        names = dict(devkit.names) if devkit else {}
        if self.class_names is not None:
            names = read_names(self.class_names)
        items = [
            Item(
                url,
                (url,),
                (size,),
                split=split,
                label=label,
                group=url,
                facts=f"{wnid} {names.get(wnid, '')}",
            )
            for split, found in files.items()
            for label, wnid in enumerate(wnids)
            for url, size in found.get(wnid, [])
        ]
        return Listing(
            items, [f"{wnid} {names[wnid]}" if wnid in names else wnid for wnid in wnids], dict(notes)
        )

    def fetch(self, item: Item) -> Fetched:
        """One image with its label."""
        from rsdata.images import check_image, fit
        from rsdata.sources.members import image_sample

        data = read_file(self.folder(), item.urls[0], item.sizes[0])
        image = fit(check_image(data, max_pixels=self.max_pixels), size=self.size)
        wnid, _, name = item.facts.partition(" ")
        return image_sample(item, image, licence=self.licence, extra={"wnid": wnid, "class_name": name})


Files = dict[str, list[tuple[str, int]]]
"""wnid -> path relative to the root and bytes of each image."""


def _classes(root: Path, split: str, notes: Counter[str], known: Files | None = None) -> Files:
    """The images of wnid folders."""
    from rsdata.flickr.lists import WNID
    from rsdata.sources.below import folders_in, images_below

    names = folders_in(root / split)
    wnids = [name for name in names if WNID.match(name)]
    if not wnids or len(wnids) < len(names):
        strange = next((name for name in names if name not in wnids), None)
        what = f"{strange!r} is no wnid" if strange else "there are no folders"
        hint = "; for a flat val/ give --devkit" if known else ""
        raise ConfigError(
            f"{root / split}: {what}; expected {split}/n01440764/…, one folder a class "
            f"(unpack the tar of each class into a folder of its name){hint}"
        )
    found = {wnid: list(images_below(root, f"{split}/{wnid}", notes)) for wnid in wnids}
    empty = [wnid for wnid, images in found.items() if not images]
    if empty:
        raise ConfigError(f"{root / split / empty[0]}: has no images; unpack them, or remove the folder")
    return found


def _flat(root: Path, devkit: Devkit | None, notes: Counter[str]) -> Files:
    """Images of a flat val: number N has line N of the ground truth."""
    from rsdata.sources.below import images_below

    if devkit is None:
        raise ConfigError(
            f"{root / 'val'}: is flat, so nothing tells the classes of its images; give --devkit ILSVRC2012_devkit_t12"
        )
    found: Files = {}
    for url, size in images_below(root, "val", notes):
        digits = url.rpartition("/")[2].removeprefix(_VAL).partition(".")[0]
        if not digits.isdecimal() or not 1 <= int(digits) <= len(devkit.truth):
            raise ConfigError(
                f"{root / url}: has no line in the ground truth of --devkit, which has {len(devkit.truth):,}; move it away"
            )
        found.setdefault(devkit.truth[int(digits) - 1], []).append((url, size))
    return found
