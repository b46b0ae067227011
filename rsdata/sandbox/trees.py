"""Archives of the planet, as folders that the hosts of files serve; each is written when it is first asked for."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from rsdata.sandbox.archive_trees import (
    write_bigearthnet_archive,
    write_levir_archive,
    write_oscd_archive,
    write_seco_archive,
)
from rsdata.sandbox.dense_archives import ARCHIVES
from rsdata.sandbox.fmow_bucket import write_fmow_bucket

Writer = Callable[[Path, int], None]
"""Writes a tree into a folder that is there and empty, as a function of the seed of the planet."""


def _sn7(folder: Path, seed: int) -> None:
    from rsdata.sandbox.sn7_tree import write_sn7_archives

    write_sn7_archives(folder, seed)


TREES: dict[str, Writer] = {
    **ARCHIVES,
    "bigearthnet": write_bigearthnet_archive,
    "levir-cd": write_levir_archive,
    "oscd": write_oscd_archive,
    "seco": write_seco_archive,
    "spacenet-dataset/Hosted-Datasets/fmow/fmow-rgb": write_fmow_bucket,
    "spacenet-dataset/spacenet/SN7_buildings/tarballs": _sn7,
}
"""Bucket, or bucket and prefix, as in `spacenet-dataset/Hosted-Datasets/fmow` -> its writer.

A writer imports what it needs inside, so that the server starts at once.
"""


class Forest:
    """The trees of one planet, in a temporary folder that goes with the process."""

    def __init__(self, trees: Mapping[str, Writer], seed: int) -> None:
        self.trees, self.seed = trees, seed
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._written: set[str] = set()
        self._lock = threading.Lock()

    def bucket(self, name: str, prefix: str = "") -> Path | None:
        """The folder of a bucket, with every tree in it that lies below a prefix or holds it; None: no such bucket."""
        wanted = f"{name}/{prefix}"
        mine = [tree for tree in self.trees if tree.split("/")[0] == name]
        if not mine:
            return None
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="rsdata-trees-", ignore_cleanup_errors=True)
            for tree in mine:
                below = f"{tree}/"
                if tree not in self._written and (below.startswith(wanted) or wanted.startswith(below)):
                    self._write(tree)
            return Path(self._folder.name) / name

    def _write(self, tree: str) -> None:
        assert self._folder is not None
        folder = Path(self._folder.name) / tree
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.trees[tree](folder, self.seed)
        except BaseException:
            shutil.rmtree(folder)
            raise
        self._written.add(tree)
