"""Samples a second from shards to batches: ours against webdataset, PIL and torchvision in float32, interleaved.

python benchmarks/loader.py [--samples 2000] [--repeats 3]: prints one JSON object. Each sample is one random resized
crop of a 256 px JPEG to 224 px and a flip, batch 64, on the same generated tars.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import build_set, pattern
from rstrain.data.config import IMAGENET_MEAN, IMAGENET_STD, AugmentConfig, DataConfig
from rstrain.data.loader import loader
from shards.index import Index

BATCH = 64
PLAIN = AugmentConfig(jitter=0, grayscale=0, blur=0)


def ours(index: Index, workers: int) -> Iterable[Any]:
    """8-bit batches, as a run on a GPU takes them over."""
    stop = len(index) // BATCH
    return loader(DataConfig(views=1), PLAIN, index, batch=BATCH, seed=0, stop=stop, workers=workers)


def ours_normalised(index: Index, workers: int) -> Iterable[Any]:
    """And normalised float32, as a run on a CPU needs them."""
    return (batch.views(IMAGENET_MEAN, IMAGENET_STD) for batch in ours(index, workers))


def tutorial(index: Index, workers: int) -> Iterable[Any]:
    """What the tutorials of webdataset show."""
    import webdataset as wds
    from torchvision import transforms as T

    mean, std = ([v / 255 for v in values] for values in (IMAGENET_MEAN, IMAGENET_STD))
    view = T.Compose(
        [
            T.RandomResizedCrop(224, scale=(0.2, 1.0)),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(mean, std),
        ]
    )
    urls = [index.store.path(shard.name) for shard in index.info.shards]
    data = wds.WebDataset(urls, shardshuffle=len(urls)).shuffle(500).decode("pil").to_tuple("jpg")
    data = data.map_tuple(view).batched(BATCH, partial=False)
    return wds.WebLoader(data, batch_size=None, num_workers=workers)


def rate(make: Callable[[Index, int], Iterable[Any]], index: Index, workers: int) -> float:
    """Samples a second after the first batch has come."""
    batches = iter(make(index, workers))
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return count * BATCH / (time.perf_counter() - start)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--samples", type=int, default=2000)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        images = [pattern(seed, 256, 256) for seed in range(given.samples)]
        index = build_set(folder, images, ending="jpg", quality=90, samples_per_shard=250)
        result: dict[str, Any] = {"jpeg_bytes": int(index.column("length").mean())}
        for workers in (1, 2):
            rates: dict[str, list[float]] = {}
            for _ in range(given.repeats):
                for make in (ours, tutorial, ours_normalised):
                    rates.setdefault(make.__name__, []).append(rate(make, index, workers))
            medians = {name: round(statistics.median(values)) for name, values in rates.items()}
            ratio = round(medians["ours"] / medians["tutorial"], 2)
            result[f"workers_{workers}"] = {"samples_per_s": medians, "ours_over_tutorial": ratio}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
