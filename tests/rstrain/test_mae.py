from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from rstrain.config import config_for
from rstrain.losses.masked import masked_band_loss, masked_patch_loss, normalised_cells, normalised_patches
from rstrain.methods import MAEConfig, RunFacts, ScaleMAEConfig
from rstrain.methods.base import Batch, Method
from rstrain.methods.mae import MAE
from rstrain.methods.scalemae import ScaleMAE, at_source_size, simulated_res
from rstrain.models.backbone import Backbone, build_backbone
from rstrain.models.gsd import gsd_positions
from rstrain.models.init import seeded
from rstrain.models.laplacian import BandDecoder, band_targets
from rstrain.models.mae_decoder import patchify
from rstrain.models.vit import GsdViT, gsd_vit, mask_noise, random_masking
from shards.errors import ConfigError

torch.set_num_threads(1)
KINDS = ["mae", "scalemae"]
SMALL = {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2}


def small(kind: str, channels: int = 2, **options: Any) -> Method:
    """Two blocks of 32 channels on 64 px."""
    facts = RunFacts(seed=options.pop("seed", 3))
    sizes = {"img_size": 64, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
    make, config = (VisionTransformer, MAEConfig) if kind == "mae" else (GsdViT, ScaleMAEConfig)
    own = {} if kind == "mae" else {"head_dim": 16, "head_layers": 1}
    with seeded(facts.seed):
        net = make(in_chans=channels, **sizes)
    backbone = Backbone(net, features=32, arch="small", bands=channels)
    return config.build(**(SMALL | own | options)).create(backbone, facts)


def batch_of(count: int = 4, size: int = 64, bands: int = 2, step: int = 0, **columns: Any) -> Batch:
    generator = torch.Generator().manual_seed(step)
    coarse = torch.randn(count, bands, 5, 5, generator=generator)
    view = F.interpolate(coarse, size=(size, size), mode="bilinear")
    columns = {"zoom": torch.linspace(0.5, 1.0, count)[None]} | columns
    return Batch((view,), torch.arange(count) * 7, step, **columns)


def part_of(batch: Batch, part: slice) -> Batch:
    assert batch.zoom is not None
    return Batch((batch.views[0][part],), batch.rows[part], batch.step, zoom=batch.zoom[:, part])


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_learn_and_weights_depend_on_the_seed_alone(kind: str) -> None:
    method, again, other = small(kind), small(kind), small(kind, seed=4)
    for (name, a), b in zip(method.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(*(dict(m.named_parameters())["decoder.mask_token"] for m in (method, other)))
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(30):
        out = method(batch_of())
        optimizer.zero_grad()
        out.loss.backward()
        assert all(p.grad is not None for p in method.parameters() if p.requires_grad), "DDP waits for each"
        optimizer.step()
        losses.append(out.loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert out.logs["embedding_std"] > 0 and not any(v.requires_grad for v in out.logs.values())
    with torch.no_grad():
        assert method.encoder(batch_of().views[0]).shape == (4, 32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpoint", [False, True])
def test_micro_batches_add_up_with_the_same_masks(kind: str, checkpoint: bool) -> None:
    whole, parts = small(kind), small(kind, checkpoint_blocks=checkpoint)
    batch = batch_of()
    whole(batch).loss.backward()
    for part in (slice(0, 2), slice(2, 4)):
        (parts(part_of(batch, part)).loss / 2).backward()
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(b.grad, a.grad, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_float32_under_autocast(kind: str) -> None:
    method = small(kind)
    expected = method(batch_of()).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = method(batch_of())
    assert {v.dtype for v in (out.loss, *out.logs.values())} == {torch.float32}
    assert out.loss.item() == pytest.approx(expected.item(), rel=0.02)


def test_masks_are_a_function_of_seed_step_and_row() -> None:
    rows = torch.tensor([5, 9, 5])
    noise = mask_noise(1, 2, rows, 196)
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert torch.equal(mask_noise(1, 2, rows[1:], 196), noise[1:])
    assert not torch.equal(mask_noise(1, 3, rows, 196), noise)
    masking = random_masking(noise, 0.75)
    assert masking.kept.shape == (3, 49) and masking.mask.sum(dim=1).tolist() == [147] * 3
    seen = torch.zeros(3, 196).scatter(1, masking.kept, 1.0)
    assert torch.equal(seen, 1 - masking.mask)
    shuffled = torch.cat((masking.kept, torch.full((3, 147), -1)), dim=1).gather(1, masking.restore)
    assert torch.equal(shuffled[seen.bool()], torch.arange(196).expand(3, -1)[seen.bool()])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_does_not_enter_the_loss_and_what_is_hidden_not_the_latent(kind: str) -> None:
    prediction, target = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    mask = torch.tensor([[1.0, 0, 0, 0]])
    target[..., :16, :16] = 2.0
    if kind == "scalemae":
        assert masked_band_loss(prediction, target, mask).item() == pytest.approx(3 * 4.0)
        assert masked_band_loss(prediction, target, mask, l1=True, weight=0.5).item() == pytest.approx(3.0)
        return
    patches = patchify(target, 16)
    assert masked_patch_loss(torch.zeros_like(patches), patches, mask).item() == pytest.approx(4.0)
    random = torch.randn(2, 4, 48)
    normal = normalised_patches(random)
    torch.testing.assert_close(normal.mean(-1), torch.zeros(2, 4), atol=1e-6, rtol=0)
    torch.testing.assert_close(normal.std(-1), torch.ones(2, 4), atol=1e-4, rtol=0)


def test_patches_are_row_column_channel() -> None:
    image = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    assert patchify(image, 2)[0, 1].tolist() == [2, 18, 3, 19, 6, 22, 7, 23]


@pytest.mark.parametrize(
    ("dim", "res", "token", "values"),
    [
        (1024, 1.0, 2, {0: 0.8414710, 1: 0.8218562, 256: 0.5403023, 512: 0.0, 768: 1.0}),
        (1024, 2.5, 2, {0: 0.5984721, 1: 0.6668237, 256: -0.8011436}),
        (1024, 1.0, 196, {100: 0.3485227, 700: 0.0150116}),
    ],
)
def test_positions_of_the_authors(dim: int, res: float, token: int, values: dict[int, float]) -> None:
    table = gsd_positions(res, 14, dim)[0]
    assert not table[0].any(), "the class token stands nowhere"
    for channel, value in values.items():
        assert table[token, channel].item() == pytest.approx(value, abs=1e-5)


def test_the_encoder_takes_any_size_and_each_image_its_own_resolution() -> None:
    net = gsd_vit("vit_tiny_patch16_224", 3).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        both = net(images, torch.tensor([1.0, 2.5]))
        torch.testing.assert_close(both[1:], net(images[1:], 2.5), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(both[:1], net(images[:1]), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(both[1:], net(images[1:]), atol=1e-3)
        assert net(torch.randn(1, 3, 96, 96)).shape == (1, 192)
        with pytest.raises(ConfigError, match=r"72 x 72 px.*whole patches of 16 px"):
            net(torch.randn(1, 3, 72, 72))
    with pytest.raises(
        ConfigError, match="unknown architecture 'gsd:vit_tiny_patch8_224': did you mean gsd:vit_"
    ):
        build_backbone("gsd:vit_tiny_patch8_224")
    with pytest.raises(ConfigError, match="stem=small"):
        build_backbone("gsd:vit_tiny_patch16_224", stem="small")


def test_the_large_model_has_the_published_size() -> None:
    with torch.device("meta"):
        encoder = gsd_vit("vit_large_patch16_224", 3)
        decoder = BandDecoder(1024, patches=196)
    count = {
        "encoder": sum(p.numel() for p in encoder.parameters())
        + 197 * 1024,  # with the table that we leave out
        "decoder": sum(t.numel() for t in decoder.state_dict().values()),
    }
    assert count["encoder"] == 303_301_632
    assert sum(count.values()) == 322_930_438
    assert len(encoder.state_dict()) + 1 + len(decoder.state_dict()) == 393
    for options, total in (
        ({"shared_head": True}, 319_732_611),
        ({"progressive": True}, 321_881_350),
        ({"hidden": 256, "layers": 3}, 318_476_934),
    ):
        with torch.device("meta"):
            decoder = BandDecoder(1024, patches=196, **options)  # type: ignore[arg-type]
        assert count["encoder"] + sum(t.numel() for t in decoder.state_dict().values()) == total


def test_presets_have_the_targets_and_losses_of_code_and_paper() -> None:
    n, c, y, x = np.meshgrid(*(np.arange(k) for k in (2, 3, 448, 448)), indexing="ij", sparse=True)
    images = torch.from_numpy(np.sin(0.1 * x + 0.07 * y + c + n).astype(np.float32))
    mask = (torch.arange(196) % 4 != 0).float().expand(2, -1)
    for preset, expected in (("repo", (1.500322, 1.494420)), ("paper", (0.2208789, 0.0717599))):
        config = ScaleMAEConfig(preset=preset)
        fine, coarse = band_targets(images, 14, config.band_sides, paper=preset == "paper")
        high = masked_band_loss(torch.zeros_like(fine), fine, mask, l1=config.l1)
        low = masked_band_loss(torch.zeros_like(coarse), coarse, mask)
        assert (high.item(), low.item()) == pytest.approx(expected, abs=2e-6)
    flat = torch.full((1, 3, 448, 448), 0.5)
    fine, coarse = band_targets(flat, 14, (7, 56))
    assert not fine.any()
    assert masked_band_loss(torch.zeros_like(coarse), coarse, mask[:1]).item() == pytest.approx(0.75)


@pytest.mark.parametrize("preset", ["repo", "paper"])
def test_normalised_bands_know_neither_brightness_nor_contrast(preset: str) -> None:
    target = torch.randn(2, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        patchify(normalised_cells(target, 4), 16), normalised_patches(patchify(target, 16)), atol=1e-5, rtol=0
    )
    other = 3 * target + torch.tensor([1.0, -2.0]).reshape(2, 1, 1, 1)
    for normal in (True, False):
        method = small("scalemae", preset=preset, norm_pix=normal)
        assert isinstance(method, ScaleMAE)
        images, views, res = method.pair(batch_of(2, 128))
        assert images.shape[-1] == 64
        out = method.reconstruct(images, res, torch.rand(2, 16, generator=torch.Generator().manual_seed(1)))
        views = F.interpolate(target, size=views.shape[-1], mode="nearest")
        losses = torch.stack(method.band_losses(out, views))
        others = torch.stack(method.band_losses(out, F.interpolate(other, size=128, mode="nearest")))
        assert torch.allclose(losses, others, rtol=1e-3) == normal


def resolutions(**options: Any) -> Tensor:
    method = small("scalemae", **options)
    assert isinstance(method, ScaleMAE)
    batch = batch_of(gsd=torch.tensor([[0.3, 0.5, 1.0, 2.0]]))
    return method.pair(batch)[2]


def test_resolution_of_the_input_is_that_of_the_view_times_two() -> None:
    zoom = torch.linspace(0.5, 1.0, 4)
    torch.testing.assert_close(resolutions(preset="paper"), zoom * 2.5 * 2)
    torch.testing.assert_close(resolutions(), (zoom * 64 - 1) / 64 * 2.5 * 2)
    torch.testing.assert_close(resolutions(gsd="true"), torch.tensor([0.6, 1.0, 2.0, 4.0]))
    assert simulated_res(torch.tensor([448.0]), 448, 2.5, short=True).item() == pytest.approx(2.494420)
    assert ScaleMAEConfig(gsd="true").needs_gsd and not ScaleMAEConfig().needs_gsd


def test_a_smaller_input_keeps_the_detail_of_the_target() -> None:
    images, target, res = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 128, 128), torch.tensor([2.0])
    kept = at_source_size(images, target, res, 64)
    assert kept[0] is images and kept[1] is target
    small_images, ours, scaled = at_source_size(images, target, res, 32)
    theirs = at_source_size(images, target, res, 32, from_input=True)[1]
    assert small_images.shape[-1] == 32 and ours.shape == theirs.shape == (1, 3, 64, 64)
    assert scaled.item() == 1.0
    fine = [band_targets(t, 2, (7, 56))[0][..., ::2, ::2] for t in (ours, theirs)]
    assert torch.equal(theirs[..., ::2, ::2], theirs[..., 1::2, 1::2]), (
        "theirs is the input, each pixel four times"
    )
    assert fine[0].std() > 0


def test_sizes_of_the_input_are_drawn_by_step() -> None:
    method = small("scalemae", source_sizes=(16, 32), mask_ratio=0.5)
    sizes = [method._source_size(step, 32) for step in range(40)]  # type: ignore[operator]
    assert set(sizes) == {16, 32}
    assert sizes == [method._source_size(step, 32) for step in range(40)]  # type: ignore[operator]
    big = small("scalemae", source_sizes=(64,))
    with pytest.raises(ConfigError, match="64 is more than the 32 px of the encoder's input"):
        big(batch_of())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mae", {"decoder_heads": 3}, "decoder_dim=32 does not divide by decoder_heads=3"),
        ("mae", {"mask_ratio": 1.0}, "mask_ratio"),
        ("scalemae", {"source_sizes": (40,)}, "40 is no multiple of 16"),
        ("scalemae", {"l1_weight": 0.5}, "l1_weight=0.5 has no meaning with high_loss=l2"),
        ("scalemae", {"band_cells": (0, 7)}, "each is a number of cells"),
    ],
)
def test_options_at_odds_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small(kind, **options)


def test_models_that_do_not_fit_are_refused() -> None:
    for config, arch, size, message in (
        (MAEConfig(), "resnet18", 64, "mae hides patches of a ViT, and resnet18 is none"),
        (MAEConfig(), "gsd:vit_tiny_patch16_224", 64, "gsd:vit_tiny_patch16_224 is none"),
        (
            MAEConfig(),
            "timm:vit_tiny_patch16_224",
            72,
            "size=72 is not made of whole patches of 16 px: use --size 64",
        ),
        (ScaleMAEConfig(), "timm:vit_tiny_patch16_224", 64, "use --arch gsd:vit_base_patch16_224"),
    ):
        with pytest.raises(ConfigError, match=message):
            config.create(build_backbone(arch, size_px=size), RunFacts())
    eights = GsdViT(img_size=64, patch_size=8, embed_dim=32, depth=1, num_heads=2, num_classes=0)
    with pytest.raises(ConfigError, match="patches of 8 px; scalemae's branches need 16"):
        ScaleMAEConfig().create(Backbone(eights, features=32, arch="gsd:eights"), RunFacts())


def test_views_that_do_not_fit_are_refused() -> None:
    method = small("scalemae")
    with pytest.raises(ConfigError, match=r"size=80: .*multiple of 32 px.*use --size 64"):
        method(batch_of(size=80))
    with pytest.raises(ConfigError, match="leaves 0 to see"):
        method(batch_of(size=32))
    with pytest.raises(ConfigError, match="the batch has none: use --gsd simulated"):
        small("scalemae", gsd="true")(batch_of())
    for kind in KINDS:
        batch = batch_of()
        batch.views = batch.views * 2
        with pytest.raises(ConfigError, match="one view of a sample; the batch has 2"):
            small(kind)(batch)


def test_mae_leaves_a_plain_vit_with_positions_that_are_not_learnt() -> None:
    method = small("mae", channels=3)
    assert isinstance(method, MAE)
    net: Any = method.backbone.net
    assert not net.pos_embed.requires_grad
    torch.testing.assert_close(net.pos_embed, gsd_positions(1.0, 4, 32))
    assert net.state_dict().keys() >= {"pos_embed", "cls_token", "norm.weight", "blocks.1.mlp.fc2.bias"}


@pytest.mark.parametrize("kind", KINDS)
def test_published_runs(kind: str) -> None:
    config = config_for(kind)(data="somewhere")
    assert config.optim.optimizer == "adamw" and config.optim.beta2 == 0.95
    assert config.epochs == 800 and config.method.pairing == "single"
    assert config.augment.jitter == config.augment.blur == config.augment.grayscale == 0
    if kind == "scalemae":
        assert (config.augment.size, config.augment.window, config.arch) == (
            448,
            448,
            "gsd:vit_large_patch16_224",
        )
        ours = config.optim.model_copy(update={"scale_lr": "none"})
        points = {10: 7.5e-5, 20: 1.5e-4, 100: 1.46140e-4, 410: 7.5e-5, 800: 0.0}
        for epoch, rate in points.items():
            assert ours.lr_at(epoch, 800) == pytest.approx(rate, rel=1e-5, abs=1e-12)
