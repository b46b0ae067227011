"""What the city study's notebooks did to SpaceNet 7, for those who must have its very rows (sheet `sn7-vicreg`, 1.3-1.7).

None of it is a default: rows are lost on reading, one channel is never looked at, and the splits mix the patches of an image.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_BLACK = 256 * 256 / 2
_PATCHES = 16


def published_coordinate(buildings: Sequence[dict[str, Any]]) -> list[float]:
    """First vertex of the first building of the third label file, as it stands there: lon, lat and perhaps a height.

    Raises:
        ValueError: fewer than three files, no building, or one without geometry; the notebook stops there.
    """
    try:
        found: list[float] = buildings[2]["features"][0]["geometry"]["coordinates"][0][0]
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"the third label file has no first vertex ({type(error).__name__})") from None
    return found


def published_query(coordinate: Sequence[Any]) -> str:
    """What the geocoder was asked: `lat,lon`."""
    return f"{coordinate[1]},{coordinate[0]}"


def published_label(address: dict[str, str]) -> list[str]:
    """City, state and country of Nominatim's address; a town or a village is no city there."""
    return [address.get(key, "") for key in ("city", "state", "country")]


def published_table(rows: Sequence[Sequence[str]]) -> tuple[list[list[str]], list[str]]:
    """Rows (image, city, state, country) with the country's position among the sorted names; and those names."""
    names = sorted({row[3] for row in rows})
    return [[*row[:3], str(names.index(row[3]))] for row in rows], names


def published_rows(text: str) -> list[list[str]]:
    """A list as pandas reads it with `header=1`: two lines are lost, and an empty cell becomes the text `nan`."""
    import pandas as pd

    frame = pd.read_csv(io.StringIO(text), header=1)
    return [[str(cell) for cell in row] for row in frame.to_numpy(dtype=object).tolist()]


def shuffle_split(count: int, seed: int = 42) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Train and test positions of a quarter held out: `StratifiedShuffleSplit` where all are of one stratum."""
    from sklearn.model_selection import StratifiedShuffleSplit

    split = StratifiedShuffleSplit(n_splits=1, test_size=0.25, random_state=seed)
    train, test = next(split.split(np.zeros(count), np.zeros(count)))
    return train, test


def repeated(rows: Sequence[Sequence[str]]) -> list[str]:
    """Each row 16 times, `<patch>!<image>,…`: one for each patch."""
    return [f"{patch}!{','.join(row)}" for row in rows for patch in range(_PATCHES)]


def mixed(train: str, val: str, seed: int = 42) -> tuple[list[str], list[str]]:
    """The patch-level lists: both image-level lists as they are read, repeated, pooled and split again."""
    pool = repeated(published_rows(train)) + repeated(published_rows(val))
    kept, held_out = shuffle_split(len(pool), seed)
    return [pool[i] for i in kept], [pool[i] for i in held_out]


def mixed42(images: str, seed: int = 42) -> tuple[list[str], list[str]]:
    """The same from the first list (`ids_and_labels_encoded.csv`): its image-level halves are written without a header.

    1,423 images become 1,066 and 356, read back as 1,064 and 354, and 17,016 and 5,672 patches.
    """
    rows = published_rows(images)
    train, val = ("\n".join(",".join(rows[i]) for i in half) for half in shuffle_split(len(rows), seed))
    return mixed(train, val, seed)


def published_black(patch: NDArray[np.uint8]) -> bool:
    """Whether the test filter drops a patch [256, 256, 3]: half of it is black in red and green; blue is not looked at."""
    return bool(np.count_nonzero((patch[..., :2] == 0).all(axis=-1)) >= _LEAST_BLACK)


def published_candidates(query: str, rows: Sequence[str]) -> list[str]:
    """Rows that the temporal partner is drawn from: the same patch, an area whose name holds this one; itself too."""
    patch, name = query.split("!", 1)
    found = re.search(r"mosaic_(.*?)\.tif", name)
    if found is None:
        raise ValueError(f"{name!r} is not named …_mosaic_<area>.tif")
    area = re.compile(found[1])
    return [row for row in rows if row.startswith(f"{patch}!") and area.search(row)]
