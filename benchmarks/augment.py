"""MoCo-v2 views a second on one core, decoded 256 px input to 224 px: folded (OpenCV) against torchvision on PIL.

python benchmarks/augment.py [--views 200] [--repeats 5]: prints one JSON object. The runs are interleaved.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import pattern
from rstrain.data.augment import draw
from rstrain.data.config import AugmentConfig
from rstrain.data.loader import exact_view
from rstrain.data.photometric import apply_worker
from rstrain.data.pixels import crop

CONFIG = AugmentConfig()


def original() -> Callable[[Any], Any]:
    """The two-crop transform of MoCo's scripts."""
    import random

    from PIL import ImageFilter
    from torchvision import transforms as T

    def blur(image: Any) -> Any:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))

    return T.Compose(
        [
            T.RandomResizedCrop(224, scale=(0.2, 1.0)),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.RandomApply([T.Lambda(blur)], p=0.5),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
        ]
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--views", type=int, default=200)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    from PIL import Image

    images = [pattern(seed, 256, 256) for seed in range(32)]
    pictures = [Image.fromarray(image) for image in images]
    theirs = original()
    batch = np.arange(given.views)

    def folded() -> None:
        params = draw(CONFIG, 0, 0, batch, 0, height=256, width=256)
        numbers, cuts = params.folded(), params.cuts()
        for i in batch:
            apply_worker(crop(images[i % 32], cuts[i], CONFIG.size), numbers[i])

    def exact() -> None:
        params = draw(CONFIG, 0, 0, batch, 0, height=256, width=256)
        for i in batch:
            exact_view(images[i % 32], params[i], CONFIG)

    def torchvision() -> None:
        for i in batch:
            theirs(pictures[i % 32])

    rates: dict[str, list[float]] = {}
    for _ in range(given.repeats):
        for run in (folded, torchvision, exact):
            start = time.perf_counter()
            run()
            rates.setdefault(run.__name__, []).append(given.views / (time.perf_counter() - start))
    medians = {name: round(statistics.median(values)) for name, values in rates.items()}
    ratio = round(medians["folded"] / medians["torchvision"], 2)
    print(json.dumps({"views_per_s": medians, "folded_over_torchvision": ratio}))


if __name__ == "__main__":
    main()
