"""Sets of boxes and masks of the planet as archives: `dior/dior.zip`, `loveda/loveda.zip` and so on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

NAMES = ("dior", "dota", "xview", "crowdai", "loveda", "spacenet-buildings")
"""Buckets, named as the presets of `detection` and `segmentation`."""


def write_dense_archive(name: str, folder: Path, seed: int) -> None:
    """`NAME.zip` of one of these sets."""
    from rsdata.sandbox import detection_tree as boxes
    from rsdata.sandbox import segmentation_tree as masks
    from rsdata.sandbox.archive_trees import zip_folder

    writers: dict[str, Callable[..., object]] = {
        "dior": boxes.write_dior_tree,
        "dota": boxes.write_dota_tree,
        "xview": boxes.write_xview_tree,
        "crowdai": boxes.write_crowdai_tree,
        "loveda": masks.write_loveda_tree,
        "spacenet-buildings": masks.write_spacenet_tree,
    }
    with tempfile.TemporaryDirectory() as tree:
        writers[name](Path(tree), seed=seed)
        zip_folder(Path(tree), folder / f"{name}.zip")


ARCHIVES = {name: partial(write_dense_archive, name) for name in NAMES}
"""Rows of `TREES`."""
