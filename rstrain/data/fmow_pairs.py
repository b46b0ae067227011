"""Which files can be the temporal positive of an fMoW image, as the authors' loader decides it.

For comparison with published numbers only. It goes by fixed offsets in file names and by what lies on disk, so it
finds no partner for two-digit box numbers and multispectral files, and cannot read official names at all. Training
pairs views through the index instead, where all views of a place are known.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from shards.errors import UserError

_TAIL = len("_rgb_crop_0.jpg")


def repo_partners(query: str, files: Iterable[str]) -> list[str]:
    """Candidates for the second view of `query`, in the order of `files`; when empty, the query is used twice.

    The last 15 characters of the name are kept, the number before them is left open, and what matches in the same
    folder, less the query, is a candidate (`data_loader/fmow_dataloader.py` of geography-aware-ssl, lines 105-127).

    Args:
        query: path of an image, separated by `/`.
        files: paths of all files on disk.

    Raises:
        UserError: the query does not match its own pattern; the original ends with a ValueError here.
    """
    path = PurePosixPath(query)
    head, tail = path.name[:-_TAIL], path.name[-_TAIL:]
    pattern = f"{head.rsplit('_', 1)[0]}_*{tail}"
    matches = re.compile(fnmatch.translate(pattern)).match
    found = [f for f in files if PurePosixPath(f).parent == path.parent and matches(PurePosixPath(f).name)]
    if query not in found:
        raise UserError(
            f"{query}: no temporal partner can be looked up in the way of the original code, which expects names "
            f"that end in _rgb_crop_N.jpg and a file that exists (its pattern is {pattern}). Use the index of a shard "
            f"set to pair views of a place"
        )
    return [f for f in found if f != query]
