"""Image folders made by code, and what a build left, to compare."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from rsdata.sources.imagefolder import ImageFolder
from shards.codec import encode_jpeg, encode_png
from shards.random import generator


def pixels(*address: int, height: int = 24, width: int = 32) -> np.ndarray:
    """A smooth seeded picture, uint8 [H, W, 3]."""
    coarse = generator(*address).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def write_folder(root: Path, counts: dict[str, int], *, side: int = 24, ending: str = "jpg") -> Path:
    """`counts` images for each class folder."""
    encode = encode_jpeg if ending == "jpg" else encode_png
    for c, (name, count) in enumerate(sorted(counts.items())):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            data = encode(pixels(c, i, height=side, width=side))
            (root / name / f"{name.rsplit('/', 1)[-1]}_{i}.{ending}").write_bytes(data)
    return root


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """An image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def digests(out: Path) -> dict[str, str]:
    """What must be equal between two builds: every file of the set; of the failures, all but their time."""
    found = {}
    for path in sorted(out.iterdir()):
        if path.name == "failures.parquet":
            rows = pq.read_table(path).drop_columns(["last_time"]).to_pylist()
            found[path.name] = hashlib.sha256(repr(rows).encode()).hexdigest()
        elif path.is_file():
            found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def folder(root: Path, **options: Any) -> ImageFolder:
    """The source."""
    return ImageFolder.build(root=root, **options)


def rsdata(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """The program as a user runs it."""
    command = [sys.executable, "-m", "rsdata", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
