"""How GeRSP's original loader pairs its two data sets; kept so that its recorded items can be met."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def repo_items(labelled: int, unlabelled: int) -> NDArray[np.int64]:
    """The fixed items of an epoch, [max(labelled, unlabelled), 2]: labelled and unlabelled image.

    The shorter set starts again at its beginning, so the same part of it is seen more often in every epoch; our runs
    give each set an order of its own instead.
    """
    at = np.arange(max(labelled, unlabelled))
    return np.stack([at % labelled, at % unlabelled], axis=1)
