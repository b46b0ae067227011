"""MoCo-v2 views a second on one core, decoded 256 px input to 224 px: ours against torchvision and kornia, interleaved.

    python benchmarks/augment.py [--views 200] [--repeats 5]

Prints one JSON object. `folded` is what training does (OpenCV, colours as one matrix); `exact` the operations of the original
scripts one by one. torchvision runs on PIL images as those scripts do, and as v2 on 8-bit tensors; kornia, where it is
installed, on float tensors, with probabilities per image.
"""

from __future__ import annotations

import argparse
import importlib.util
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


def on_tensors() -> Callable[[Any], Any]:
    """The same by torchvision's v2 transforms, uint8 [3, H, W] in and out."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(224, scale=(0.2, 1.0), antialias=True),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(p=0.2),
            v2.RandomApply([v2.GaussianBlur(23, (0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
        ]
    )


def by_kornia() -> Callable[[Any], Any]:
    """The same by kornia, float32 [1, 3, H, W] in and out."""
    from kornia import augmentation as K

    return K.AugmentationSequential(
        K.RandomResizedCrop((224, 224), scale=(0.2, 1.0)),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((23, 23), (0.1, 2.0), p=0.5),
        K.RandomHorizontalFlip(),
    )


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--views", type=int, default=200)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    from PIL import Image

    images = [pattern(seed, 256, 256) for seed in range(32)]
    pictures = [Image.fromarray(image) for image in images]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
    floats = [tensor[None] / 255 for tensor in tensors]
    theirs, v2s = original(), on_tensors()
    kornias = by_kornia() if importlib.util.find_spec("kornia") else None
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

    def torchvision_v2() -> None:
        for i in batch:
            v2s(tensors[i % 32])

    def kornia() -> None:
        assert kornias is not None
        for i in batch:
            kornias(floats[i % 32])

    ways = [folded, torchvision, torchvision_v2, *([kornia] if kornias else []), exact]
    rates: dict[str, list[float]] = {}
    for _ in range(given.repeats):
        for run in ways:
            start = time.perf_counter()
            run()
            rates.setdefault(run.__name__, []).append(given.views / (time.perf_counter() - start))
    medians = {name: round(statistics.median(values)) for name, values in rates.items()}
    over = {
        name: round(statistics.median(a / b for a, b in zip(rates["folded"], values, strict=True)), 2)
        for name, values in rates.items()
        if name != "folded"
    }
    print(json.dumps({"views_per_s": medians, "folded_over": over}))


if __name__ == "__main__":
    main()
