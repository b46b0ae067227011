"""Body: any backbone of ours as maps at several scales, with its norms and layers frozen as a protocol says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rstrain.models.backbone import Backbone
from shards.errors import ConfigError

Norm = Literal["frozen", "eval", "train"]
Stem = Literal["conv", "relu"]
ALL_LAYERS = 5
_RESNET_LAYERS = (("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1"))


class Body(nn.Module):
    """Images [B, bands, H, W], normalised -> maps from fine to coarse, [B, channels[i], H/strides[i], W/strides[i]].

    ResNets give their four layers, hierarchical networks of timm their last four stages. A vision transformer gives
    the tokens after a quarter, a half, three quarters and all of its blocks, which learnt layers bring to four scales
    (Li et al. 2022, arXiv 2203.16527, section 3); these layers are trained whatever else is frozen.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]

    def __init__(
        self,
        backbone: Backbone,
        *,
        norm: Norm,
        trainable: int,
        stem: Stem | None = None,
        resolution: float = 1.0,
    ) -> None:
        """A view of `backbone`: its weights are used and changed in place.

        Args:
            backbone: whose `net` is used.
            norm: batch norms of the backbone. frozen: statistics and affine fixed; eval: statistics fixed, affine
                trained; train: as any layer.
            trainable: how many of layer4, layer3, layer2, layer1 and conv1 with bn1 are trained, from the end; what is
                not keeps its parameters and its buffers to the last bit. Other networks than ResNets: 0 or 5 (all).
            stem: put the first convolution's map before the four, as it is (`conv`) or after norm and ReLU; ResNets only.
            resolution: what a `gsd:` model is told of every image.

        Raises:
            ConfigError: a network that has no such layers.
        """
        super().__init__()
        self.net: Any = backbone.net
        self.arch = backbone.arch
        self.norm: Norm = norm
        self.side: int | None = None
        """Side of the only input that the network takes, pixels; None where any will do."""
        self.kind = _kind(backbone)
        self._stem, self._resolution = stem, resolution
        if stem is not None and self.kind != "resnet":
            raise ConfigError(f"{self.arch}: this head needs the first convolution of a torchvision ResNet")
        if self.kind == "resnet":
            self._resnet(backbone)
        elif self.kind == "vit":
            self._vit(backbone)
        else:
            self._stages()
        self._still = list(dict.fromkeys(self._freeze(trainable)))
        """Names, for a norm over all ranks may take the place of one over this one."""
        self.train(self.training)

    def _resnet(self, backbone: Backbone) -> None:
        first = self.net.layer1[0]
        width = first.conv1.in_channels
        expansion = first.expansion
        self.channels = tuple(64 * 2**i * expansion for i in range(4))
        base = 2 if backbone.stem == "small" else 4
        self.strides = tuple(base * 2**i for i in range(4))
        if self._stem is not None:
            self.channels, self.strides = (width, *self.channels), (2, *self.strides)

    def _stages(self) -> None:
        facts = self.net.feature_info
        facts = [facts[i] for i in range(len(facts))]
        if len(facts) < 4 or not hasattr(self.net, "forward_intermediates"):
            raise ConfigError(
                f"{self.arch}: does not give maps at four scales; use a ResNet, a ConvNeXt or a ViT"
            )
        self._taken = list(range(len(facts)))[-4:]
        self.channels = tuple(int(facts[i]["num_chs"]) for i in self._taken)
        self.strides = tuple(int(facts[i]["reduction"]) for i in self._taken)

    def _vit(self, backbone: Backbone) -> None:
        depth, width = len(self.net.blocks), backbone.features
        self._taken = [depth * (i + 1) // 4 - 1 for i in range(4)]
        patch = int(self.net.patch_embed.patch_size[0])
        if not backbone.arch.startswith("gsd:"):  # a table of positions fits one size
            self.side = int(self.net.patch_embed.img_size[0])

        def up(grow: int) -> nn.Module:
            layers: list[nn.Module] = []
            for i in range(grow):
                layers += [nn.GroupNorm(1, width), nn.GELU()] if i else []
                layers.append(nn.ConvTranspose2d(width, width, 2, stride=2))
            return nn.Sequential(*layers)

        self.scales = nn.ModuleList([up(2), up(1), nn.Identity(), nn.MaxPool2d(2)])
        self.channels = (width,) * 4
        self.strides = (patch // 4, patch // 2, patch, patch * 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class.

        Raises:
            ConfigError: images of another size than the network takes.
        """
        if self.side is not None and images.shape[-2:] != (self.side, self.side):
            raise ConfigError(
                f"{self.arch} takes {self.side} x {self.side} px, not {images.shape[-2]} x {images.shape[-1]}: its "
                "positions are a table; give that size, or use a ResNet"
            )
        if self.kind == "resnet":
            return self._layers(images)
        if self.arch.startswith("gsd:"):
            maps = self.net.maps(images, self._resolution, self._taken)
        else:
            maps = self.net.forward_intermediates(images, indices=self._taken, intermediates_only=True)
        if self.kind == "vit":
            return [scale(tokens) for scale, tokens in zip(self.scales, maps, strict=True)]
        return list(maps)

    def _layers(self, images: Tensor) -> list[Tensor]:
        net, out = self.net, []
        x = net.conv1(images)
        if self._stem == "conv":
            out.append(x)
        x = net.relu(net.bn1(x))
        if self._stem == "relu":
            out.append(x)
        x = net.maxpool(x)
        for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = layer(x)
            out.append(x)
        return out

    def _freeze(self, trainable: int) -> Iterator[str]:
        """Switch gradients off as asked, and answer the names in `net` of what has to stay in evaluation mode."""
        if self.kind != "resnet" and trainable not in (0, ALL_LAYERS):
            raise ConfigError(
                f"{self.arch} has no layers to freeze one by one: use --trainable 0 (none is trained) or {ALL_LAYERS} (all)"
            )
        fixed = [""] if trainable == 0 else [name for part in _RESNET_LAYERS[trainable:] for name in part]
        for name in fixed:
            self.net.get_submodule(name).requires_grad_(False)
            yield name
        if self.norm == "train":
            return
        for name, module in self.net.named_modules():
            if isinstance(module, _BatchNorm):
                if self.norm == "frozen":
                    module.requires_grad_(False)
                yield name

    def train(self, mode: bool = True) -> Self:
        """What is frozen stays in evaluation mode, however often the model is told to train."""
        super().train(mode)
        if mode:
            for name in self._still:
                self.net.get_submodule(name).eval()
        return self


def dilate(body: Body) -> None:
    """Layers 3 and 4 of a ResNet keep the resolution of layer 2 and look wider instead: stride 8, as torchvision's DeepLab.

    Weights are as they were. The first block of a layer keeps the dilation of the layer before (mmsegmentation's
    `contract_dilation`).

    Raises:
        ConfigError: not a torchvision ResNet.
    """
    if body.kind != "resnet":
        raise ConfigError(
            f"{body.arch}: this head needs a ResNet, whose last layers can be dilated; use unet or upernet"
        )
    before = 1
    for layer, dilation in ((body.net.layer3, 2), (body.net.layer4, 4)):
        for number, block in enumerate(layer):
            wide = block.conv1 if block.conv1.kernel_size == (3, 3) else block.conv2
            own = before if number == 0 else dilation
            wide.stride, wide.dilation, wide.padding = (1, 1), (own, own), (own, own)
            if block.downsample is not None:
                block.downsample[0].stride = (1, 1)
        before = dilation
    at = len(body.strides) - 2
    body.strides = (*body.strides[:at], body.strides[at - 1], body.strides[at - 1])


def _kind(backbone: Backbone) -> Literal["resnet", "vit", "stages"]:
    if not backbone.arch.startswith(("timm:", "gsd:")):
        return "resnet"
    net: Any = backbone.net
    return "vit" if hasattr(net, "blocks") and hasattr(net, "pos_embed") else "stages"
