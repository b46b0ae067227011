"""Samples a second from shards to batches: ours against what a user would pick instead, interleaved.

    python benchmarks/loader.py [--samples 2000] [--rounds 3] [--workers 1 2]

Prints one JSON object. Each sample is one random resized crop of a 256 px JPEG to 224 px and a flip, batch 64, on the same
generated pictures. What is not installed is left out and named (benchmarks/README.md). `parts` are the unavoidable parts,
one after the other in one process: decoding the least that a crop needs, and the resize.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import build_set, pattern
from rstrain.data.config import IMAGENET_MEAN, IMAGENET_STD, AugmentConfig, DataConfig
from rstrain.data.loader import StepData, loader
from shards.index import Index

BATCH = 64
PLAIN = AugmentConfig(jitter=0, grayscale=0, blur=0)
MEAN, STD = ([v / 255 for v in values] for values in (IMAGENET_MEAN, IMAGENET_STD))


def ours(index: Index, workers: int) -> Iterable[Any]:
    """8-bit batches, as a run on a GPU takes them over."""
    stop = len(index) // BATCH
    return loader(DataConfig(views=1), PLAIN, index, batch=BATCH, seed=0, stop=stop, workers=workers)


def ours_normalised(index: Index, workers: int) -> Iterable[Any]:
    """And normalised float32, as a run on a CPU needs them."""
    return (batch.views(IMAGENET_MEAN, IMAGENET_STD) for batch in ours(index, workers))


def parts(index: Index, workers: int) -> Iterable[Any]:
    """What no loader can leave out, in this process: bytes, decoding, crop and resize."""
    data = StepData(DataConfig(views=1), PLAIN, index, batch=BATCH, seed=0)
    return (data[step] for step in range(len(index) // BATCH))


def pil_view() -> Callable[[Any], Any]:
    """As the tutorials have it."""
    from torchvision import transforms as T

    crop = T.RandomResizedCrop(224, scale=(0.2, 1.0))
    return T.Compose([crop, T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])


class TensorView:
    """JPEG bytes to a normalised view by torchvision's decoder and transforms."""

    def __init__(self) -> None:
        from torchvision.transforms import v2

        crop = v2.RandomResizedCrop(224, scale=(0.2, 1.0), antialias=True)
        flip, scale = v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)
        self._view = v2.Compose([crop, flip, scale, v2.Normalize(MEAN, STD)])

    def __call__(self, data: bytes) -> Any:
        """Normalised float32 [3, 224, 224]."""
        import warnings

        from torchvision.io import ImageReadMode, decode_jpeg

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a buffer that cannot be written
            raw = torch.frombuffer(data, dtype=torch.uint8)
        return self._view(decode_jpeg(raw, mode=ImageReadMode.RGB))


def _urls(index: Index) -> list[str]:
    return [index.store.path(shard.name) for shard in index.info.shards]


def webdataset_pil(index: Index, workers: int) -> Iterable[Any]:
    """What the tutorials of webdataset show."""
    import webdataset as wds

    data = wds.WebDataset(_urls(index), shardshuffle=len(_urls(index))).shuffle(500).decode("pil")
    data = data.to_tuple("jpg").map_tuple(pil_view()).batched(BATCH, partial=False)
    return wds.WebLoader(data, batch_size=None, num_workers=workers)


def webdataset_torchvision(index: Index, workers: int) -> Iterable[Any]:
    import webdataset as wds

    data = wds.WebDataset(_urls(index), shardshuffle=len(_urls(index))).shuffle(500)
    data = data.to_tuple("jpg").map_tuple(TensorView()).batched(BATCH, partial=False)
    return wds.WebLoader(data, batch_size=None, num_workers=workers)


class _Wids(Dataset[Any]):
    def __init__(self, folder: str) -> None:
        import wids

        self._data = wids.ShardListDataset(f"{folder}/wids.json", base=folder, transformations=[])
        self._view = TensorView()

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, number: int) -> Any:
        return self._view(self._data[number][".jpg"].read())


def wids_torchvision(index: Index, workers: int) -> Iterable[Any]:
    data = _Wids(index.store.url)
    return DataLoader(data, BATCH, shuffle=True, num_workers=workers, drop_last=True)


class _Files(Dataset[Any]):
    def __init__(self, index: Index) -> None:
        folder = Path(f"{index.store.url}-files")
        if not folder.exists():
            folder.mkdir()
            for row in range(len(index)):
                (folder / f"{row:06d}.jpg").write_bytes(index.read(row))
        self._files = sorted(folder.iterdir())
        self._view = pil_view()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Any:
        from PIL import Image

        return self._view(Image.open(self._files[number]).convert("RGB"))


def loose_files(index: Index, workers: int) -> Iterable[Any]:
    """A file an image, as ImageFolder reads them."""
    return DataLoader(_Files(index), BATCH, shuffle=True, num_workers=workers, drop_last=True)


def litdata_torchvision(index: Index, workers: int) -> Iterable[Any]:
    import litdata

    view = TensorView()

    class Streaming(litdata.StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> Any:
            return view(super().__getitem__(at)["jpg"])

    folder = f"{index.store.url}-litdata"
    if not Path(folder).exists():
        inputs = list(range(len(index)))
        litdata.optimize(
            fn=lambda row: {"jpg": index.read(row)},
            inputs=inputs,
            output_dir=folder,
            num_workers=1,
            chunk_bytes="64MB",
            start_method="fork",
        )
    data = Streaming(folder, shuffle=True)
    return litdata.StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, drop_last=True)


def dali(index: Index, workers: int) -> Iterator[Any]:
    """On the CPU, 8 bits; its threads are the workers."""
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    @pipeline_def(batch_size=BATCH, num_threads=workers, device_id=None)  # type: ignore[misc]
    def pipe() -> Any:
        raw = fn.readers.webdataset(
            paths=_urls(index), ext=["jpg"], random_shuffle=True, initial_fill=500, name="reader"
        )
        raw = raw[0] if isinstance(raw, list | tuple) else raw
        view = fn.decoders.image_random_crop(raw, random_area=[0.2, 1.0], output_type=types.RGB)
        view = fn.resize(view, size=[224, 224])
        return fn.flip(view, horizontal=fn.random.coin_flip())

    made = pipe()
    made.build()
    return iter(DALIGenericIterator([made], ["pixels"], size=len(index) // BATCH * BATCH))


WAYS: dict[str, tuple[Callable[[Index, int], Iterable[Any]], str]] = {
    "ours": (ours, "torch"),
    "webdataset, PIL": (webdataset_pil, "webdataset"),
    "webdataset, torchvision": (webdataset_torchvision, "webdataset"),
    "loose files, PIL": (loose_files, "torchvision"),
    "wids, torchvision": (wids_torchvision, "wids"),
    "litdata, torchvision": (litdata_torchvision, "litdata"),
    "DALI on the CPU": (dali, "nvidia.dali"),
    "ours, normalised float32": (ours_normalised, "torch"),
    "parts": (parts, "torch"),
}
"""And the package that each needs."""


def installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def rate(make: Callable[[Index, int], Iterable[Any]], index: Index, workers: int) -> float:
    """Samples a second after the first batch has come."""
    random.seed(0)
    batches = iter(make(index, workers))
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return count * BATCH / (time.perf_counter() - start)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--samples", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = options.parse_args()
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print while they work is not the result
    failed = {name: "is not installed" for name, (_, package) in WAYS.items() if not installed(package)}
    with tempfile.TemporaryDirectory() as folder:
        images = (pattern(seed % 500, 256, 256) for seed in range(given.samples))
        index = build_set(f"{folder}/set", list(images), ending="jpg", quality=90, samples_per_shard=250)
        result: dict[str, Any] = {"jpeg_bytes": int(index.column("length").mean()), "workers": {}}
        for workers in given.workers:
            rates: dict[str, list[float]] = {}
            for _ in range(given.rounds):
                for name, (make, _) in WAYS.items():
                    if name in failed:
                        continue
                    try:
                        rates.setdefault(name, []).append(rate(make, index, workers))
                    except Exception as error:  # of another program: said, and the others go on
                        failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            rates = {name: values for name, values in rates.items() if name not in failed}
            result["workers"][workers] = {
                "samples_per_s": {n: round(statistics.median(v)) for n, v in rates.items()},
                "ours_over": {n: round(paired(rates["ours"], v), 2) for n, v in rates.items() if n != "ours"},
            }
    result["left_out"] = failed
    print(json.dumps(result), file=out, flush=True)
    os._exit(0)  # litdata's threads outlive the last batch


def paired(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios of each round, so that a slow minute hits both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
