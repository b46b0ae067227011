"""Folders of images, one a class: what most aerial benchmarks are distributed as."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsdata.sources.base import Fetched, Item, Listing, read_file
from rsdata.sources.class_folders import class_folders, images_of, layout, unwrapped
from rsdata.sources.preset_classes import CLASSES
from rsdata.sources.presets import PRESETS, PresetName
from rsdata.sources.rooted import Rooted
from shards.errors import ConfigError

if TYPE_CHECKING:
    from shards.dataset import Member


class ImageFolder(Rooted):
    """Images in class folders, or in train/val/test folders of class folders (found out and said)."""

    kind: Literal["imagefolder"] = "imagefolder"
    root: str = Field(
        description="folder of class folders, or of train/val/test folders of class folders; or a zip or tar of it, as a "
        "file or as a URL (https://…, s3://bucket/key), which is fetched, checked and unpacked once"
    )
    preset: PresetName | None = Field(None, description="a known archive: its facts and checks")
    test_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of each class for the test split (exact, seeded)"
    )
    val_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of each class for the val split (exact, seeded)"
    )
    classes: Path | None = Field(
        None, description="text file, a class name a line: the order of labels (default: alphabetical)"
    )
    split_file: tuple[Path, ...] = Field(
        (),
        description="published list such as train.txt, val.txt: `path` or `path label` a line; give it repeatedly: "
        "images that no list names are left out",
    )
    size: int | None = Field(
        None,
        gt=0,
        description="scale the short side down to this many pixels, JPEG q95 (default: keep bytes)",
    )
    max_pixels: int = Field(300_000_000, gt=0, description="refuse images with more pixels")

    title: ClassVar[str] = "images in one folder a class"
    url: ClassVar[str] = "a folder or an archive"
    extra_columns: ClassVar[dict[str, str]] = {"class_name": "string"}
    where: ClassVar[frozenset[str]] = Rooted.where | {"classes", "split_file"}  # what they say is in the plan

    @model_validator(mode="after")
    def _leaves_train(self) -> Self:
        if self.test_fraction + self.val_fraction >= 1:
            raise ValueError(
                "test_fraction and val_fraction leave nothing for train; their sum must be below 1"
            )
        if self.preset == "eurosat-ms" and self.size is not None:
            raise ValueError("size: eurosat-ms keeps its pixels; leave it out")
        if self.split_file and (self.test_fraction or self.val_fraction):
            raise ValueError(
                "split_file: a list decides the splits; leave out test_fraction and val_fraction"
            )
        return self

    def set_name(self) -> str:
        """Name of the set: that of the preset, if there is one."""
        return self.name or self.preset or self.kind

    def set_licence(self) -> str:
        """Licence of the preset; a folder alone does not tell."""
        return PRESETS[self.preset].licence if self.preset else "unknown"

    def set_attribution(self) -> str:
        """Name and page of the preset."""
        return f"{self.preset}; {PRESETS[self.preset].url}" if self.preset else super().set_attribution()

    def set_members(self) -> list[Member] | None:
        """Of the preset with all bands of Sentinel-2; the others are pictures."""
        if self.preset != "eurosat-ms":
            return None
        from rsdata.sources.eurosat_bands import members

        return members()

    def listing(self) -> Listing:
        """List the class folders.

        Raises:
            ConfigError: no class folders, an empty one, other classes than the preset or `--classes` names.
        """
        notes: Counter[str] = Counter()
        root = self._images()
        splits = layout(root)
        if splits and (self.test_fraction or self.val_fraction or self.split_file):
            raise ConfigError(
                f"{self.root}: has its own splits ({', '.join(sorted(splits))}); leave out --test-fraction, "
                "--val-fraction and --split-file, or give one of these folders as --root"
            )
        found: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for split, folder in splits.items() or [("", "")]:
            for name in class_folders(root / folder):
                path = f"{folder}/{name}" if folder else name
                files = images_of(root, path, notes)
                if not files:
                    raise ConfigError(
                        f"{root / path}: the class folder has no images; add some or remove the folder"
                    )
                found[split, name] = files
        classes = self._classes(sorted({name for _, name in found}))
        if self.split_file:
            return self._listed({name: files for (_, name), files in found.items()}, classes, notes)
        notes["layout: " + ("split folders" if splits else "class folders")] = len(splits) or len(classes)
        number = {name: label for label, name in enumerate(classes)}
        items = []
        for (split, name), files in sorted(found.items()):
            label = number[name]
            chosen = [split] * len(files) if split else self._split(name, label, len(files))
            for (path, size), part in zip(files, chosen, strict=True):
                items.append(Item(path, (path,), (size,), split=part, label=label, group=path, facts=name))
        return Listing(items, classes, dict(notes))

    def fetch(self, item: Item) -> Fetched:
        """One image with its label."""
        if self.preset == "eurosat-ms":
            from rsdata.sources.eurosat_bands import fetch

            return fetch(self._images(), item, self.set_licence())
        from rsdata.images import check_image, fit
        from rsdata.sources.members import image_sample

        data = read_file(self._images(), item.urls[0], item.sizes[0])
        return image_sample(
            item,
            fit(check_image(data, max_pixels=self.max_pixels), size=self.size),
            licence=self.set_licence(),
            extra={"class_name": item.facts},
            gsd_m=PRESETS[self.preset].gsd_m if self.preset else None,
        )

    def _images(self) -> Path:
        """The folder of class folders; a local one is taken as it is."""
        folder = self.folder()
        return folder if folder == Path(self.root) else unwrapped(folder)

    def _listed(
        self, found: dict[str, list[tuple[str, int]]], classes: list[str], notes: Counter[str]
    ) -> Listing:
        """The images that lists name, in the class folders that were found; one that is not there fails in sight."""
        from rsdata.sources.split_files import labelled, read_images

        held = {path: (name, size) for name, files in found.items() for path, size in files}
        bare: dict[str, list[str]] = {}
        for path in held:
            bare.setdefault(path.rpartition("/")[2], []).append(path)
        lines, chosen = read_images(self.split_file), []
        for line in lines:
            path = line.path
            if path not in held and len(places := bare.get(path, [])) == 1:
                path = places[0]
            name, size = held.get(path, (path.partition("/")[0], 0))
            if name not in found:
                raise ConfigError(
                    f"{line.where}: {line.path!r} is no image in the class folders of {self.root}; is --root the folder "
                    "that the list starts from?"
                )
            chosen.append((path, size, name, line))
        classes = labelled([(name, line) for _, _, name, line in chosen], classes, fixed=bool(self.classes))
        number = {name: label for label, name in enumerate(classes)}
        items = [
            Item(path, (path,), (size,), split=line.split, label=number[name], group=name, facts=name)
            for path, size, name, line in chosen
        ]
        unnamed = len(held.keys() - {path for path, *_ in chosen})
        notes.update({"left out: in no list of --split-file": unnamed} if unnamed else {})
        return Listing(items, classes, dict(notes))

    def _classes(self, found: list[str]) -> list[str]:
        classes = found
        if self.classes is not None:
            try:
                lines = self.classes.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{self.classes}: cannot be read ({error}); give one name a line") from None
            classes = [line.strip() for line in lines if line.strip()]
            twice = [name for name, count in Counter(classes).items() if count > 1]
            if twice:
                raise ConfigError(f"{self.classes}: {twice[0]!r} stands there twice")
            unknown = [name for name in found if name not in classes]
            if unknown:
                raise ConfigError(
                    f"{self.root}: {len(unknown)} class folders are not named in {self.classes}, the first is "
                    f"{unknown[0]!r}; add them to the file or move them away"
                )
        if self.preset and len(found) != PRESETS[self.preset].classes:
            raise ConfigError(
                f"{self.root}: has {len(found)} class folders, {self.preset} has {PRESETS[self.preset].classes}; "
                f"is --root the folder that holds them ({', '.join(found[:3])}, …)? Without --preset any number will do"
            )
        if self.preset in CLASSES and (strange := sorted(set(found) - set(CLASSES[self.preset].split()))):
            raise ConfigError(
                f"{self.root}: {strange[0]!r} is no class of {self.preset} as published; without --preset any name "
                "will do"
            )
        return classes

    def _split(self, name: str, label: int, count: int) -> list[str]:
        """Exact shares of one class; halves are rounded up."""
        from shards.random import permute, stream

        test, val = (int(count * share + 0.5) for share in (self.test_fraction, self.val_fraction))
        if test + val >= count and test + val:
            raise ConfigError(
                f"{self.root}/{name}: {count} images, {test} for test and {val} for val leave none for train; "
                "choose smaller fractions or remove the class"
            )
        place = permute(range(count), count, stream("imagefolder/split"), self.seed, label)
        return ["test" if p < test else "val" if p < test + val else "train" for p in place]
