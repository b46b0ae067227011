"""Backbones: images of any number of bands -> pooled features. ResNets of torchvision, anything of timm, ViTs of Scale-MAE."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from rstrain.models.init import seeded
from shards.errors import ConfigError

Stem = Literal["imagenet", "small"]
Pool = Literal["own", "mean"]
FirstConv = Literal["refuse", "random"]


class Backbone(nn.Module):
    """`net` without its classifier; `net.state_dict()` has the names that torchvision or timm use."""

    def __init__(
        self, net: nn.Module, *, features: int, arch: str, bands: int = 3, stem: Stem = "imagenet"
    ) -> None:
        super().__init__()
        self.net = net
        self.features = features
        """Length of the pooled feature."""
        self.arch = arch
        self.bands = bands
        self.stem = stem
        self.pool: Pool = "own"
        """`mean`: the feature is the mean of a ViT's patch tokens after the norm, whatever its own head takes."""

    def forward(self, images: Tensor, res: Tensor | None = None) -> Tensor:
        """[B, bands, H, W], normalised -> [B, features]; a `gsd:` model may be told the resolution of each, [B]."""
        told = (images,) if res is None else (images, res)
        if self.pool == "mean":
            net: Any = self.net
            tokens: Tensor = net.forward_features(*told)
            return tokens[:, net.num_prefix_tokens :].mean(1)
        pooled: Tensor = self.net(*told)
        return pooled

    def pool_by(self, pool: Pool) -> None:
        """Choose what the feature of an image is.

        Raises:
            ConfigError: `mean` of a model without patch tokens.
        """
        if pool == "mean" and not hasattr(self.net, "num_prefix_tokens"):
            raise ConfigError(
                f"pool=mean takes the mean of a ViT's patch tokens, and {self.arch} has none: leave pool at own"
            )
        self.pool = pool


def build_backbone(
    arch: str,
    bands: int = 3,
    pretrained_file: Path | None = None,
    *,
    stem: Stem = "imagenet",
    size_px: int | None = None,
    seed: int = 0,
    first_conv: FirstConv = "refuse",
) -> Backbone:
    """Build a backbone whose initial weights depend on `seed` alone.

    The first convolution is built for `bands` input bands and starts at random like every other layer: weights learnt
    on RGB are never tiled, averaged or cut to fit other bands.

    Args:
        arch: a torchvision ResNet (`resnet18`, `wide_resnet50_2`, ...), `timm:NAME`, or `gsd:NAME`: a ViT whose positions
            come from the resolution of each image (Scale-MAE).
        bands: channels of the input.
        pretrained_file: safetensors with torchvision's or timm's names, without a classifier.
        stem: `imagenet` is 7x7 stride 2 and a max-pool (total stride 32); `small` is 3x3 stride 2 and no pool (total
            stride 16), so that 64 px still end in 4x4 cells, at two to four times the cost. ResNets only.
        size_px: side of the square input, needed by models with a table of positions (ViT) when it is not their own.
        seed: of the initial weights.
        first_conv: what to do when `pretrained_file` was made for other bands: `refuse`, or leave the first
            convolution `random` and load the rest.

    Raises:
        ConfigError: unknown `arch`, a stem it does not have, or a file that does not fit.
    """
    if bands < 1:
        raise ConfigError(f"bands={bands}: a model needs at least one input band")
    with seeded(seed):
        if arch.startswith("timm:"):
            backbone = _from_timm(arch, bands, stem, size_px)
        elif arch.startswith("gsd:"):
            backbone = _from_gsd(arch, bands, stem, size_px)
        else:
            backbone = _resnet(arch, bands, stem)
    if pretrained_file is not None:
        _load(backbone, pretrained_file, first_conv)
    return backbone


def _resnet(arch: str, bands: int, stem: Stem) -> Backbone:
    import torchvision

    models = torchvision.models
    known = [
        n for n in models.list_models() if models.get_model_builder(n).__module__ == models.resnet.__name__
    ]
    if arch not in known:
        raise ConfigError(_unknown(arch, known, "timm:NAME for any model of timm"))
    net = models.get_model(arch, weights=None)
    if stem == "small":
        net.conv1 = nn.Conv2d(bands, 64, kernel_size=3, stride=2, padding=1, bias=False)
        net.maxpool = nn.Identity()
    elif bands != 3:
        net.conv1 = nn.Conv2d(bands, 64, kernel_size=7, stride=2, padding=3, bias=False)
    if net.conv1.in_channels != 3 or stem == "small":
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    features = int(net.fc.in_features)
    net.fc = nn.Identity()
    return Backbone(net, features=features, arch=arch, bands=bands, stem=stem)


def fixed_size(arch: str) -> bool:
    """Whether a model takes inputs of one size only, for which its table of positions was made."""
    if not arch.startswith("timm:"):
        return False
    import timm

    facts = timm.get_pretrained_cfg(arch.removeprefix("timm:"), allow_unregistered=True)
    return facts is not None and bool(facts.fixed_input_size)


def _from_timm(arch: str, bands: int, stem: Stem, size_px: int | None) -> Backbone:
    import timm

    name = arch.removeprefix("timm:")
    if not timm.is_model(name):
        near = [f"timm:{n}" for n in difflib.get_close_matches(name, timm.list_models(), n=3)]
        raise ConfigError(_unknown(arch, near, "a torchvision ResNet such as resnet50"))
    if stem != "imagenet":
        raise ConfigError(
            f"stem={stem} is for torchvision ResNets; {arch} has its own: leave stem at imagenet"
        )
    sized = {"img_size": size_px} if size_px is not None and fixed_size(arch) else {}
    try:
        net = timm.create_model(name, pretrained=False, num_classes=0, in_chans=bands, **sized)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{arch} cannot be built for {bands} bands and {size_px} px: {error}") from error
    features = int(getattr(net, "head_hidden_size", None) or net.num_features)
    return Backbone(net, features=features, arch=arch, bands=bands)


def _from_gsd(arch: str, bands: int, stem: Stem, size_px: int | None) -> Backbone:
    from rstrain.models.vit import SIZES, gsd_vit

    name = arch.removeprefix("gsd:")
    if name not in SIZES:
        raise ConfigError(
            _unknown(arch, [f"gsd:{n}" for n in SIZES], "a plain ViT such as timm:vit_base_patch16_224")
        )
    if stem != "imagenet":
        raise ConfigError(
            f"stem={stem} is for torchvision ResNets; {arch} has its own: leave stem at imagenet"
        )
    net = gsd_vit(name, bands, size_px)
    return Backbone(net, features=int(net.embed_dim), arch=arch, bands=bands)


def _unknown(arch: str, known: list[str], other: str) -> str:
    near = difflib.get_close_matches(arch.removeprefix("timm:"), known, n=3, cutoff=0.4) or known[:3]
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return f"unknown architecture {arch!r}: {hint}Otherwise give {other}"


def _load(backbone: Backbone, path: Path, first_conv: FirstConv) -> None:
    import safetensors
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ConfigError(
            f"{path}: cannot be read as safetensors ({error}); `rstrain convert` makes one from other checkpoints"
        ) from None
    own = backbone.net.state_dict()
    if first_conv == "random":
        _drop_foreign_first_conv(backbone, weights)
    missing, unexpected = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    missing = [key for key in missing if not (first_conv == "random" and key == _first_conv_key(backbone))]
    shapes = [
        f"{key} is {tuple(weights[key].shape)}, the model needs {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if own[key].shape != weights[key].shape
    ]
    faults = [
        *([f"{len(missing)} tensors are missing, the first is {missing[0]}"] if missing else []),
        *([f"{len(unexpected)} tensors are unknown, the first is {unexpected[0]}"] if unexpected else []),
        *shapes[:1],
    ]
    if faults:
        raise ConfigError(
            f"{path}: does not fit {backbone.arch} with {backbone.bands} bands and stem {backbone.stem}: "
            f"{'; '.join(faults)}. `rstrain convert` renames checkpoints of others; first_conv=random keeps "
            f"all but the first convolution when only the bands differ"
        )
    with torch.no_grad():
        backbone.net.load_state_dict({**own, **weights})


def _first_conv_key(backbone: Backbone) -> str:
    if backbone.arch.startswith("timm:"):
        name = cast("dict[str, str]", getattr(backbone.net, "default_cfg", {})).get("first_conv", "")
        return f"{name}.weight"
    if backbone.arch.startswith("gsd:"):
        return "patch_embed.proj.weight"
    return "conv1.weight"


def _drop_foreign_first_conv(backbone: Backbone, weights: dict[str, Tensor]) -> None:
    key = _first_conv_key(backbone)
    own = backbone.net.state_dict().get(key)
    if key in weights and own is not None and weights[key].shape[1] != own.shape[1]:
        del weights[key]
