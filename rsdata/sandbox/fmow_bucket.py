"""What the fMoW bucket has, of the embedded planet: images of four splits, disturbed metadata, ground truth, manifest.

As published: no JSON beside an image has coordinates, folders of test and seq are numbers, and `groundtruth.tar.bz2` has
the whole metadata with the mapping of those numbers. The traps of `fmow_tree` are in it.
"""

from __future__ import annotations

import bz2
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

_NUMBERS = 10_000_000


def write_fmow_bucket(
    root: Path, seed: int, *, places: int = 24, classes: int = 4, size_px: int = 64, max_views: int = 4
) -> None:
    """Write what lies in `spacenet-dataset/Hosted-Datasets/fmow/fmow-rgb`.

    Args:
        root: an empty folder.
        seed: of the planet.
        places: over all classes and splits.
        classes: how many.
        size_px: mean side of an image.
        max_views: of a place.
    """
    from rsdata.sandbox.fmow_tree import write_fmow_tree

    write_fmow_tree(
        root,
        places=places,
        classes=classes,
        seed=seed,
        val_fraction=0.5,
        size_px=size_px,
        max_views=max_views,
        traps=True,
    )
    truth: dict[str, bytes] = {}
    for split in ("test", "seq"):
        truth |= _hide(root, split, seed)
    for path in sorted(root.rglob("*.json")):
        name = path.relative_to(root).as_posix()
        if name.startswith(("train/", "val/")):
            truth[name] = path.read_bytes()
            path.write_bytes(_without_coordinates(truth[name]))
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    (root / "groundtruth.tar.bz2").write_bytes(bz2.compress(_tar(truth)))
    (root / "manifest.json.bz2").write_bytes(bz2.compress(json.dumps(names).encode()))


def _hide(root: Path, split: str, seed: int) -> dict[str, bytes]:
    """Make some places of val those of another split, under a number; its part of the ground truth."""
    from shards.random import permute, stream

    shown = sorted((root / "val").glob("*/*"))[:: 3 if split == "test" else 2]
    truth: dict[str, bytes] = {}
    mapping: list[dict[str, str]] = []
    for place in shown:
        class_name, name = place.parts[-2:]
        number = f"{int(permute(len(mapping), _NUMBERS, stream(f'sandbox fmow {split}'), seed)):07d}"
        mapping.append({"input": f"{split}_gt/{class_name}/{name}", "output": f"{split}/{number}"})
        home = root / split / number
        home.mkdir(parents=True)
        for path in sorted(place.iterdir()):
            target = home / (number + path.name.removeprefix(name))
            if path.suffix == ".json":
                data = path.read_bytes()
                truth[f"{split}_gt/{class_name}/{name}/{path.name}"] = data
                target.write_bytes(_without_coordinates(data, without_class=True))
            else:
                path.replace(target)
        shutil.rmtree(place)
    truth[f"{split}_gt_mapping.json"] = json.dumps(mapping, indent=1).encode()
    return truth


def _without_coordinates(data: bytes, *, without_class: bool = False) -> bytes:
    """Metadata as the challenge gave it out."""
    hidden = {"raw_location"} | ({"category", "raw_category", "img_filename"} if without_class else set())

    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cleaned(part) for key, part in value.items() if key not in hidden}
        return [cleaned(part) for part in value] if isinstance(value, list) else value

    return json.dumps(cleaned(json.loads(data)), indent=1).encode()


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
