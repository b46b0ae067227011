"""Which model a set of weights belongs to, told from names and shapes alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

_RESNETS = {  # bottleneck?, blocks of each layer, [out, in] of layer1.0.conv2
    (False, (2, 2, 2, 2), (64, 64)): "resnet18",
    (False, (3, 4, 6, 3), (64, 64)): "resnet34",
    (True, (3, 4, 6, 3), (64, 64)): "resnet50",
    (True, (3, 4, 23, 3), (64, 64)): "resnet101",
    (True, (3, 8, 36, 3), (64, 64)): "resnet152",
    (True, (3, 4, 6, 3), (128, 4)): "resnext50_32x4d",
    (True, (3, 4, 23, 3), (256, 8)): "resnext101_32x8d",
    (True, (3, 4, 6, 3), (128, 128)): "wide_resnet50_2",
    (True, (3, 4, 23, 3), (128, 128)): "wide_resnet101_2",
}
_VITS = {  # width, depth, patch
    (192, 12, 16): "vit_tiny_patch16_224",
    (384, 12, 16): "vit_small_patch16_224",
    (768, 12, 16): "vit_base_patch16_224",
    (1024, 24, 16): "vit_large_patch16_224",
    (1280, 32, 14): "vit_huge_patch14_224",
    (384, 12, 32): "vit_small_patch32_224",
    (768, 12, 32): "vit_base_patch32_224",
}


def resnet_name(shapes: Shapes) -> str | None:
    """A ResNet of torchvision; None if it is none."""
    found = [m for name in shapes if (m := re.match(r"layer([1-4])\.(\d+)\.", name))]
    blocks = tuple(max((int(m[2]) + 1 for m in found if int(m[1]) == k), default=0) for k in range(1, 5))
    middle = shapes.get("layer1.0.conv2.weight", ())
    # tuples of any length are looked up; only those of the table's length can be in it
    return _RESNETS.get(("layer1.0.conv3.weight" in shapes, blocks, middle[:2]))  # type: ignore[arg-type]


def vit_name(shapes: Shapes) -> str | None:
    """A plain vision transformer of timm; None if it is none."""
    depth = 1 + max((int(m[1]) for name in shapes if (m := re.match(r"blocks\.(\d+)\.", name))), default=-1)
    patch = shapes.get("patch_embed.proj.weight", ())
    return _VITS.get((patch[0], depth, patch[-1])) if len(patch) == 4 else None


def vit_extra(shapes: Shapes) -> int:
    """Rows of the table of positions that belong to no patch."""
    rows = shapes["pos_embed"][1]
    if math.isqrt(rows) ** 2 == rows:
        return 0
    return int("cls_token" in shapes) + (shapes["reg_token"][1] if "reg_token" in shapes else 0)


def vit_size(shapes: Shapes) -> int | None:
    """Side of the input that a table of positions was made for, pixels; None without a table of a square grid."""
    if "pos_embed" not in shapes or "patch_embed.proj.weight" not in shapes:
        return None
    patches = shapes["pos_embed"][1] - vit_extra(shapes)
    side = math.isqrt(max(patches, 0))
    return side * shapes["patch_embed.proj.weight"][-1] if side * side == patches else None
