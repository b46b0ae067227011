"""What an evaluation's test split shares with the data that a checkpoint learnt from: keys, bytes, places, looks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rstrain.data.evaluation import eval_loader
from rstrain.data.opening import opened
from rstrain.data.reading import reading_of
from rstrain.evals.common import CommonConfig
from rstrain.evals.separation import near
from rstrain.interop.backbone import BackboneFacts
from shards.index import Index

_SIDE = 72
"""Side of the thumbnail that is hashed: 8 rows of 9 cells of 9 x 8 pixels."""
_FLAT = 2.0
"""Levels between the cells of an image, as a deviation, below which it has no hash: all blank images look alike."""
_BITS = 4
"""Bits of 64 in which the hashes of look-alikes may differ."""
_PAIRS = 10
_CELLS = 1 << 24


def leakage(test: Index, facts: BackboneFacts, config: CommonConfig) -> dict[str, Any] | None:
    """Counts for a scores file, with the first examples of each kind; None where nobody asks.

    The pretraining set's `train` split is taken where it has one, as `rstrain pretrain` does, else all of it.

    Raises:
        UserError: there is no such set, or an image of it is damaged.
    """
    if (where := config.pretrained_on) is None:
        return None
    whole = opened(where, config.cache, config.cache_gb)
    split = "train" if "train" in whole.info.splits else None
    learnt = whole if split is None else whole.where(split=split)
    keys = sorted(_column(learnt, "key") & _column(test, "key"))
    same_set = whole.info.fingerprint == test.info.fingerprint
    images = _column(learnt, "sha256") & _column(test, "sha256")
    alike = _alike(learnt, test, config.workers)
    km = near(learnt, test)
    parts = [
        f"{len(keys):,} keys",
        f"{len(images):,} identical images",
        f"{alike['views']:,} look-alikes",
        *([f"{km['within_1_km']:,} views within 1 km"] if km else ["no coordinates to compare"]),
    ]
    return {
        "name": whole.info.name,
        "path": where,
        "fingerprint": whole.info.fingerprint,
        "checkpoint_names_it": facts.dataset_fingerprint == whole.info.fingerprint,
        "same_set": same_set,
        "split": split or "all",
        "views": len(learnt),
        "test_views": len(test),
        "shared_keys": len(keys),
        "shared_keys_first": keys[:_PAIRS],
        "identical_images": len(images),
        "near": km,
        "look_alikes": alike,
        "summary": ", ".join(parts),
    }


def _column(index: Index, name: str) -> set[str]:
    return {str(value) for value in index.table[name].to_pylist() if value}


def _alike(learnt: Index, test: Index, workers: int | None) -> dict[str, Any]:
    """Test views that look like a view of the pretraining set: difference hashes of at most `_BITS` other bits."""
    hashes = [hashes_of(i, workers) for i in (learnt, test)]
    (known, known_row), (asked, asked_row) = hashes
    views = 0
    pairs: list[dict[str, Any]] = []
    step = max(1, _CELLS // max(1, len(known)))
    for start in range(0, len(asked), step):
        part = asked[start : start + step]
        bits = np.bitwise_count(part[:, None] ^ known[None])
        if not bits.size:
            break
        best = bits.argmin(axis=1)
        found = np.flatnonzero(bits[np.arange(len(part)), best] <= _BITS)
        views += len(found)
        for at in found[: _PAIRS - len(pairs)].tolist():
            test_key = test.keys([int(asked_row[start + at])])[0]
            key = learnt.keys([int(known_row[best[at]])])[0]
            pairs.append({"test": test_key, "learnt": key, "bits": int(bits[at, best[at]])})
    return {
        "views": views,
        "bits": _BITS,
        "first": pairs,
        "too_flat": len(learnt) + len(test) - len(known) - len(asked),
    }


def hashes_of(index: Index, workers: int | None) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """64-bit difference hashes of the views that are not flat, and their rows.

    A thumbnail of 8 x 9 cells, grey of red, green and blue where the set has them, else of all bands; a bit says whether
    a cell is brighter than its right neighbour (the dHash of N. Krawetz, 2013). It survives a change of size, of compression, of brightness and of contrast.
    """
    index = index.read_as(reading_of(index.info, index.info.rgb or ()))
    out, kept = [], []
    rows = np.arange(len(index), dtype=np.int64)
    with torch.random.fork_rng(devices=[]):
        for pixels, row in eval_loader(index, rows, size=_SIDE, resize="squash", batch=256, workers=workers):
            grey = pixels.float().mean(dim=1, keepdim=True)
            cells = torch.nn.functional.avg_pool2d(grey, (9, 8))[:, 0]
            brighter = (cells[:, :, :-1] > cells[:, :, 1:]).flatten(1).numpy()
            uneven = cells.flatten(1).std(dim=1).numpy() > _FLAT
            words = np.packbits(brighter, axis=1).view(">u8")[:, 0].astype(np.uint64)
            out.append(words[uneven])
            kept.append(row.numpy()[uneven])
    return np.concatenate(out), np.concatenate(kept)
