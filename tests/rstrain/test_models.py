from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from rstrain.models.backbone import build_backbone
from rstrain.models.heads import GeoHead, projection_head
from rstrain.models.init import seeded
from rstrain.models.split_norm import has_batch_norm, split_batch_norms
from shards.errors import ConfigError

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("arch", "bands", "options", "features"),
    [
        ("resnet18", 3, {}, 512),
        ("resnet18", 13, {"stem": "small"}, 512),
        ("resnet50", 2, {}, 2048),
        ("timm:vit_tiny_patch16_224", 5, {"size_px": 64}, 192),
        ("timm:resnet10t", 1, {"size_px": 64}, 512),
        ("timm:mobilenetv3_small_050", 3, {}, 1024),
    ],
)
def test_any_bands_give_pooled_features(arch: str, bands: int, options, features: int) -> None:
    backbone = build_backbone(arch, bands, **options).eval()
    images = torch.randn(2, bands, 64, 64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        out = backbone.to(memory_format=torch.channels_last)(images)
    assert backbone.features == features
    assert out.shape == (2, features)


def test_small_stem_keeps_four_times_the_cells() -> None:
    images = torch.zeros(1, 3, 64, 64)
    for stem, cells in (("imagenet", 2), ("small", 4)):
        net = build_backbone("resnet18", stem=stem).net
        seen: list[torch.Size] = []
        net.layer4.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out.shape))
        net(images.expand(2, -1, -1, -1))
        assert seen[0][2:] == (cells, cells)


def test_names_are_those_of_torchvision() -> None:
    import torchvision

    theirs = torchvision.models.resnet18(weights=None).state_dict().keys()
    ours = build_backbone("resnet18").net.state_dict().keys()
    assert theirs - ours == {"fc.weight", "fc.bias"} and not ours - theirs


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build_backbone("resnet18", 4, seed=7)
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), drawn), "the generator outside did not move"
    torch.rand(100)
    again = build_backbone("resnet18", 4, seed=7)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    other = build_backbone("resnet18", 4, seed=8)
    assert not torch.equal(first.net.conv1.weight, other.net.conv1.weight)


@pytest.mark.parametrize(
    ("arch", "options", "message"),
    [
        ("resnet19", {}, r"unknown architecture 'resnet19': did you mean .*resnet1"),
        ("timm:vit_smal_patch16_224", {}, "did you mean timm:vit_small_patch16_224"),
        ("timm:resnet18", {"stem": "small"}, "stem=small is for torchvision ResNets"),
        ("resnet18", {"bands": 0}, "bands=0"),
        ("vit_b_16", {}, "unknown architecture 'vit_b_16'"),
    ],
)
def test_wrong_models_are_refused(arch: str, options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_backbone(arch, **options)


def test_a_pretrained_file_must_fit(tmp_path: Path) -> None:
    source = build_backbone("resnet18", 3, seed=1)
    good = tmp_path / "rgb.safetensors"
    save_file(source.net.state_dict(), good)
    loaded = build_backbone("resnet18", 3, good, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), loaded.parameters(), strict=True))

    with pytest.raises(
        ConfigError, match=r"conv1.weight is \(64, 3, 7, 7\), the model needs \(64, 12, 7, 7\)"
    ):
        build_backbone("resnet18", 12, good)
    fresh = build_backbone("resnet18", 12, seed=2)
    mixed = build_backbone("resnet18", 12, good, seed=2, first_conv="random")
    assert torch.equal(mixed.net.conv1.weight, fresh.net.conv1.weight), "RGB weights are not tiled"
    assert torch.equal(mixed.net.layer1[0].conv1.weight, source.net.layer1[0].conv1.weight)

    with pytest.raises(ConfigError, match=r"tensors are missing, the first is layer1"):
        build_backbone("resnet50", 3, good)
    bad = tmp_path / "cut.safetensors"
    bad.write_bytes(good.read_bytes()[:1000])
    for path in (bad, tmp_path / "absent.safetensors"):
        with pytest.raises(ConfigError, match="cannot be read as safetensors"):
            build_backbone("resnet18", 3, path)


def test_heads() -> None:
    assert [tuple(p.shape) for p in projection_head(8, 4).parameters()] == [(8, 8), (8,), (4, 8), (4,)]
    assert [tuple(p.shape) for p in projection_head(8, 4, mlp=False).parameters()] == [(4, 8), (4,)]
    z = torch.randn(3, 4)
    repo, paper = GeoHead(4, 5), GeoHead(4, 5, relu=False)
    assert torch.equal(repo(z), repo.linear(z.clamp(min=0)))
    assert torch.equal(paper(z), paper.linear(z))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_split_norm_is_a_norm_on_each_part(memory_format: torch.memory_format) -> None:
    with seeded(0):
        x = torch.randn(6, 4, 5, 5).to(memory_format=memory_format)
        split = nn.Sequential(nn.BatchNorm2d(4))
        nn.init.uniform_(split[0].weight)
    plain = [nn.BatchNorm2d(4) for _ in range(3)]
    for norm in plain:
        norm.load_state_dict(split[0].state_dict())
    split_batch_norms(split, 3)
    expected = torch.cat([norm(part) for norm, part in zip(plain, x.chunk(3), strict=True)])
    assert torch.equal(split(x), expected)
    torch.testing.assert_close(split[0].running_var, torch.stack([n.running_var for n in plain]).mean(0))
    assert int(split[0].num_batches_tracked) == 1
    split.eval()
    assert torch.equal(
        split(x),
        F.batch_norm(x, split[0].running_mean, split[0].running_var, split[0].weight, split[0].bias),
    )


def test_split_norm_refuses_what_it_cannot_split() -> None:
    net = build_backbone("timm:resnext26ts").net  # norm and activation in one class
    assert has_batch_norm(net)
    with pytest.raises(ConfigError, match="BatchNormAct2d"):
        split_batch_norms(net, 2)
    assert not has_batch_norm(build_backbone("timm:vit_tiny_patch16_224").net)


def test_a_feature_may_be_the_mean_of_the_patch_tokens() -> None:
    images = torch.randn(2, 3, 32, 32)
    for arch in ("timm:test_vit", "gsd:vit_tiny_patch16_224"):
        backbone = build_backbone(arch, size_px=32).eval()
        own = backbone(images)
        backbone.pool_by("mean")
        tokens = backbone.net.forward_features(images)  # type: ignore[operator]
        torch.testing.assert_close(backbone(images), tokens[:, 1:].mean(1))
        assert backbone(images).shape == own.shape and not torch.allclose(backbone(images), own)
    with pytest.raises(ConfigError, match="resnet18 has none: leave pool at own"):
        build_backbone("resnet18").pool_by("mean")
