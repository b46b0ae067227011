"""Trees of the planet as the archives in which they are published: one zip a bucket, written when it is first asked for."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path


def write_bigearthnet_archive(folder: Path, seed: int) -> None:
    """`bigearthnet.zip`: both sensors, lists of splits and of snow."""
    from rsdata.sandbox.bigearthnet_tree import write_bigearthnet_tree

    with tempfile.TemporaryDirectory() as tree:
        write_bigearthnet_tree(tree, seed=seed)
        zip_folder(Path(tree), folder / "bigearthnet.zip")


def write_oscd_archive(folder: Path, seed: int) -> None:
    """`oscd.zip`: images and labels."""
    from rsdata.sandbox.oscd_tree import write_oscd_tree

    with tempfile.TemporaryDirectory() as tree:
        write_oscd_tree(tree, seed=seed)
        zip_folder(Path(tree), folder / "oscd.zip")


def write_levir_archive(folder: Path, seed: int) -> None:
    """`levir-cd.zip`."""
    from rsdata.sandbox.oscd_tree import write_levir_tree

    with tempfile.TemporaryDirectory() as tree:
        write_levir_tree(tree, scenes=16, seed=seed)
        zip_folder(Path(tree), folder / "levir-cd.zip")


def write_seco_archive(folder: Path, seed: int) -> None:
    """`seco_100k.zip`, with the top folder that the published one has."""
    from rsdata.sandbox.seco_tree import TOP, write_seco_tree

    with tempfile.TemporaryDirectory() as tree:
        (Path(tree) / TOP).mkdir()
        write_seco_tree(Path(tree) / TOP, places=4, seed=seed)
        zip_folder(Path(tree), folder / "seco_100k.zip")


def zip_folder(folder: Path, path: Path) -> None:
    """All files of a folder as a zip, the same bytes for the same files."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                info = zipfile.ZipInfo(file.relative_to(folder).as_posix(), (2021, 4, 29, 0, 0, 0))
                archive.writestr(info, file.read_bytes(), zipfile.ZIP_DEFLATED)
