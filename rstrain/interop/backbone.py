"""backbone.safetensors: the weights of an encoder, and in the header all that is needed to use them.

Tensors have the names of torchvision or timm, without a classifier. The header's metadata has one key, `rstrain`, which
holds `BackboneFacts` as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from rstrain.data.config import IMAGENET_MEAN, IMAGENET_STD
from shards.config import Config
from shards.errors import ConfigError, UserError
from shards.store import Store

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rstrain.models.backbone import Backbone

FILE = "backbone.safetensors"
RANDOM = "random"


class BackboneFacts(Config):
    """What a reader of the weights has to know; the JSON in the file's header."""

    arch: str = Field(description="as `build_backbone` takes it: `resnet50`, `timm:vit_small_patch16_224`")
    bands: int = Field(3, gt=0, description="channels of the input")
    band_names: tuple[str, ...] = Field((), description="names of the bands, in order; empty if not known")
    low: tuple[float, ...] = Field(
        (), description="number of each band that is level 0; empty: 8-bit pixels are levels as they are"
    )
    high: tuple[float, ...] = Field((), description="number of each band that is level 255")
    whole: bool = Field(False, description="levels are cut off at 0 and 255 and rounded down")
    mean: tuple[float, ...] = Field(IMAGENET_MEAN, description="subtracted from each band, in levels 0 … 255")
    std: tuple[float, ...] = Field(IMAGENET_STD, description="divided by, in levels")
    size: int = Field(224, gt=0, description="side of the square input it was trained on, pixels")
    stem: Literal["imagenet", "small"] = Field("imagenet", description="first layers of a ResNet")
    gsd_m: float | None = Field(
        None,
        description="metres a pixel of the images it was trained on, their median; left out where not known",
    )
    features: int = Field(0, ge=0, description="length of the feature; filled in by `save_backbone`")
    method: str = Field(RANDOM, description="how it was trained")
    dataset_fingerprint: str = Field("", description="data it was trained on")
    dataset_name: str = ""
    licence: str = Field("", description="of the data it was trained on")
    attribution: str = Field("", description="what the licence of the data asks to be said")
    checkpoint_digest: str = Field("", description="sha256 of the training checkpoint it was taken from")


class CheckpointError(UserError):
    """A file of weights that is missing, damaged, or not the one expected."""


def save_backbone(
    path: Path, backbone: Backbone, facts: BackboneFacts, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write the weights and the header; the file is there whole or not at all.

    `weights` stand for those of `backbone.net` where they lie in shares on several ranks.
    """
    Store(path.parent).write(path.name, backbone_bytes(backbone, facts, weights))


def backbone_bytes(
    backbone: Backbone, facts: BackboneFacts, weights: Mapping[str, Tensor] | None = None
) -> bytes:
    """What `save_backbone` writes."""
    import safetensors.torch

    facts = facts.model_copy(update={"features": backbone.features})
    state = backbone.net.state_dict() if weights is None else weights
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in state.items()}
    data: bytes = safetensors.torch.save(tensors, metadata=header(facts))
    return data


def header(facts: BackboneFacts) -> dict[str, str]:
    """The facts as metadata of a file."""
    return {"rstrain": json.dumps(facts.to_dict(), sort_keys=True)}


def backbone_file(source: str | Path) -> Path:
    """The file that `source` means: itself, or `backbone.safetensors` of a run folder.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / FILE).is_file():
            raise CheckpointError(
                f"{path}: has no {FILE}; is it a run folder whose training has begun to save?"
            )
        return path / FILE
    if not path.is_file():
        raise CheckpointError(
            f"{path}: there is no such file or run folder; give a run folder, a {FILE}, or the word `{RANDOM}`"
        )
    return path


def read_facts(path: Path) -> BackboneFacts:
    """The header alone.

    Raises:
        CheckpointError: not a safetensors file, cut short, or without our header.
    """
    import safetensors

    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            header = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: is not a whole safetensors file ({error}); copy it again, or make one of another "
            "program's checkpoint with `rstrain convert`"
        ) from None
    if "rstrain" not in header:
        raise CheckpointError(
            f"{path}: does not say which model it is (no `rstrain` in its header); make a file that does with "
            "`rstrain convert`"
        )
    try:
        return BackboneFacts.build(str(path), **json.loads(header["rstrain"]))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: its `rstrain` header is damaged ({error})") from None


def load_backbone(
    source: str | Path,
    *,
    arch: str | None = None,
    bands: int = 3,
    size: int | None = None,
    stem: Literal["imagenet", "small"] = "imagenet",
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> tuple[Backbone, BackboneFacts]:
    """A backbone with its facts, in evaluation mode.

    Args:
        source: a file, a run folder, or `random` for untrained weights drawn from `seed`.
        arch: required for `random`; for a file, a check against its header.
        bands: of a random backbone; its mean and std are ImageNet's for 3 bands, 0 and 255 for others, until the
            caller puts those of the data in their place.
        size: side of the input where it is not the file's own, pixels; 224 for a random backbone.
        stem: of a random backbone.
        seed: of a random backbone.
        device: where it goes.

    Raises:
        CheckpointError: no such file, not a whole safetensors file, no header.
        ConfigError: another architecture than `arch`, or weights that do not fit.
    """
    from rstrain.models.backbone import build_backbone, fixed_size

    if str(source) == RANDOM:
        if arch is None:
            raise ConfigError(f"checkpoint={RANDOM} needs an architecture: give --arch, for example resnet50")
        facts = BackboneFacts(arch=arch, bands=bands, size=size or 224, stem=stem, **_plain_scale(bands))
        backbone = build_backbone(arch, bands, stem=stem, size_px=size, seed=seed)
        return backbone.to(device).eval(), facts.model_copy(update={"features": backbone.features})
    path = backbone_file(source)
    facts = read_facts(path)
    if arch is not None and arch != facts.arch:
        raise ConfigError(
            f"{path}: holds {facts.arch}, not {arch}; leave --arch out, or give another checkpoint"
        )
    if size not in (None, facts.size) and fixed_size(facts.arch):
        raise ConfigError(
            f"{path}: {facts.arch} was trained at {facts.size} px; size={size} would need its positions "
            f"interpolated, which is not done: use size={facts.size}"
        )
    backbone = build_backbone(facts.arch, facts.bands, path, stem=facts.stem, size_px=facts.size)
    return backbone.to(device).eval(), facts


def weights_digest(backbone: Backbone) -> str:
    """sha256 over names, shapes and values of all tensors: the identity of a checkpoint, whatever file it came from."""
    out = hashlib.sha256()
    for name, tensor in sorted(backbone.net.state_dict().items()):
        value = tensor.detach().cpu().contiguous().numpy()
        out.update(f"{name}:{value.dtype}:{value.shape}\n".encode())
        out.update(value.tobytes())
    return out.hexdigest()


def _plain_scale(bands: int) -> dict[str, Any]:
    return {} if bands == 3 else {"mean": (0.0,) * bands, "std": (255.0,) * bands}
