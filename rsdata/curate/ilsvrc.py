"""The devkit of ILSVRC 2012: which class each image of the flat val has.

Its numbers, 1 to 1,000, are in an order of their own, not in that of the wnids: only meta.mat tells which is which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shards.errors import ConfigError

_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


@dataclass(frozen=True)
class Devkit:
    """What it says."""

    truth: tuple[str, ...]
    """wnid of each image of val, in the order of their numbers."""
    names: Mapping[str, str]
    """wnid -> the first of its synonyms."""


def read_devkit(folder: Path) -> Devkit:
    """Read data/meta.mat and the ground truth.

    Raises:
        ConfigError: a file is missing, or not what it should be.
    """
    data = folder / "data" if (folder / "data").is_dir() else folder
    numbers, names = _read_meta(data / "meta.mat")
    try:
        lines = (data / _TRUTH).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{data / _TRUTH}: cannot be read ({error}); give the folder of the devkit"
        ) from None
    try:
        truth = tuple(numbers[int(line)] for line in lines)
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"{data / _TRUTH}: {error} is no number of a class in meta.mat; the two are of different devkits"
        ) from None
    return Devkit(truth, names)


def _read_meta(path: Path) -> tuple[dict[int, str], dict[str, str]]:
    """Number -> wnid, and wnid -> name, of the classes that images have (those without children)."""
    from scipy.io import loadmat

    numbers, names = {}, {}
    try:
        rows = loadmat(path, squeeze_me=True, variable_names=["synsets"])["synsets"]
        for row in rows.reshape(-1):
            wnid = str(row["WNID"])
            numbers[int(row["ILSVRC2012_ID"])] = wnid
            names[wnid] = str(row["words"]).split(",")[0].strip()
    except FileNotFoundError:
        raise ConfigError(f"{path}: is not there; give --devkit the folder ILSVRC2012_devkit_t12") from None
    except Exception as error:  # the reader of MATLAB's format raises whatever a damaged file makes of it
        raise ConfigError(f"{path}: is not meta.mat of ILSVRC 2012 ({error})") from None
    return numbers, names
