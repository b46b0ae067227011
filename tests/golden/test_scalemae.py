"""Replay of golden/scalemae: positions, encoder, targets, crops and whole steps, recorded from the authors' code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from rstrain.losses.masked import masked_band_loss
from rstrain.methods import RunFacts, ScaleMAEConfig
from rstrain.methods.scalemae import (
    Reconstruction,
    ScaleMAE,
    at_source_size,
    crop_pair,
    simulated_res,
)
from rstrain.models.backbone import Backbone
from rstrain.models.gsd import gsd_positions
from rstrain.models.laplacian import band_targets, recomposed
from rstrain.models.mae_decoder import patchify
from rstrain.models.vit import GsdViT
from rstrain.optim.config import OptimConfig
from rstrain.optim.optimizers import build_optimizer

torch.set_num_threads(1)
Arrays = dict[str, NDArray[Any]]
UNUSED = {"pos_embed"}
"""A table that the original keeps and never reads; ours has none."""


def arrays(case: Path) -> Arrays:
    with np.load(f"{case}.npz", allow_pickle=False) as file:
        return dict(file)


def facts(case: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{case}.json").read_text())
    return found


def tensor(x: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def close(got: Any, expected: Any, atol: float, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(
        torch.as_tensor(got).detach().double(), torch.as_tensor(expected).double(), atol=atol, rtol=rtol
    )


def items(values: Arrays, prefix: str) -> list[str]:
    return sorted(key.removeprefix(prefix) for key in values if key.startswith(prefix))


@pytest.mark.family("scalemae/gsd_pos_embed")
def test_gsd_pos_embed(case: Path) -> None:
    values = arrays(case)
    for i in items(values, "hp_dim_"):
        dim, grid = int(values[f"hp_dim_{i}"]), int(values[f"hp_grid_{i}"])
        close(gsd_positions(tensor(values[f"in_res_{i}"]), grid, dim), values[f"out_pe_{i}"], 3e-5)
        if f"out_static_table_{i}" in values:
            close(gsd_positions(1.0, grid, dim)[0], values[f"out_static_table_{i}"], 3e-5)
    if "hp_big_dim" in values:
        big = gsd_positions(
            tensor(values["in_big_res"]), int(values["hp_big_grid"]), int(values["hp_big_dim"])
        )
        tokens, channels = tensor(values["in_big_tokens"]), tensor(values["in_big_channels"])
        close(big[:, tokens][:, :, channels], values["out_big_values"], 3e-5)
        close(big.double().sum(dim=(1, 2)), values["out_big_sum"], 0, rtol=1e-7)


def vit(config: dict[str, Any], state: dict[str, Tensor], **options: Any) -> GsdViT:
    sizes = {k: config[k] for k in ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")}
    net = GsdViT(**sizes, **options).eval()
    net.load_state_dict({name: state[name] for name in net.state_dict()})
    return net


@pytest.mark.family("scalemae/encoder")
def test_encoder(case: Path) -> None:
    values, known, state = arrays(case), facts(case), load_file(f"{case}.weights.safetensors")
    config, classes = known["config"], known["num_classes"]
    bare = vit(config, state, num_classes=0)
    assert state.keys() - bare.state_dict().keys() == UNUSED | {
        "head.weight",
        "head.bias",
        "fc_norm.weight",
        "fc_norm.bias",
    }
    resolutions = [tensor(res) for res in values["in_res"]]
    with torch.no_grad():
        for size in items(values, "in_imgs_"):
            for i, res in enumerate(resolutions):
                close(bare(tensor(values[f"in_imgs_{size}"]), res), values[f"out_cls_{size}_{i}"], 1e-5)
        images = tensor(values[f"in_imgs_{config['img_size']}"])
        for pool, name in (("token", "cls"), ("avg", "gap")):
            classifier = vit(config, state, num_classes=classes, global_pool=pool)
            for i, res in enumerate(resolutions):
                if f"out_logits_{name}_{i}" in values:
                    close(classifier(images, res), values[f"out_logits_{name}_{i}"], 1e-5)


@pytest.mark.family("scalemae/encoder_torchgeo")
def test_encoder_torchgeo(case: Path) -> None:
    values = arrays(case)
    other = case.with_name(case.name.replace("encoder_torchgeo.", "encoder."))
    known, state = facts(other), load_file(f"{other}.weights.safetensors")
    net = vit(known["config"], state, num_classes=known["num_classes"])
    images = tensor(arrays(other)[f"in_imgs_{known['config']['img_size']}"])
    with torch.no_grad():
        for i, res in enumerate(values["in_res"].tolist()):
            tokens = net.forward_features(images, res)
            close(tokens, values[f"out_tokens_{i}"], 1e-5)
            if f"out_logits_{i}" in values:
                close(net.forward_head(tokens), values[f"out_logits_{i}"], 1e-5)


@pytest.mark.family("scalemae/band_targets")
def test_band_targets(case: Path) -> None:
    values = arrays(case)
    images, mask = tensor(values["in_targets"]), tensor(values["in_mask"])
    high, low = tensor(values["in_pred_high"]), tensor(values["in_pred_low"])
    side = round(mask.shape[1] ** 0.5)
    weight = float(values["hp_l1_weight"])
    for i, (first, second) in enumerate(values["hp_bands"].tolist()):
        fine, coarse = band_targets(images, side, (first, second))
        close(fine, values[f"out_target_high_{i}"], 2e-5)
        close(coarse, values[f"out_target_low_{i}"], 2e-5)
        for j, l1 in enumerate((False, True)):
            expected = values["out_losses"][i, j]
            close(masked_band_loss(high, fine, mask, l1=l1, weight=weight), expected[0], 2e-6)
            close(masked_band_loss(low, coarse, mask), expected[1], 2e-6)


@pytest.mark.family("scalemae/band_losses_448")
def test_band_losses_448(case: Path) -> None:
    n, c, y, x = np.meshgrid(*(np.arange(k) for k in (2, 3, 448, 448)), indexing="ij", sparse=True)
    images = tensor(np.sin(0.1 * x + 0.07 * y + c + n).astype(np.float32))
    mask = (torch.arange(14 * 14) % 4 != 0).float().expand(2, -1)
    for entry in facts(case)["results"]:
        fine, coarse = band_targets(images, 14, tuple(entry["band"]))
        losses = {
            "high_l2": masked_band_loss(torch.zeros_like(fine), fine, mask),
            "high_l1": masked_band_loss(torch.zeros_like(fine), fine, mask, l1=True),
            "low_l2": masked_band_loss(torch.zeros_like(coarse), coarse, mask),
        }
        for name, loss in losses.items():
            close(loss, entry[name], 1e-6)


@pytest.mark.family("scalemae/crop_pair")
def test_crop_pair(case: Path) -> None:
    values = arrays(case)
    size, side = int(values["hp_target"]), int(values["hp_source"])
    images = tensor(values["in_images_u8"]).float() / 255
    images = (images - float(values["hp_mean"])) / float(values["hp_std"])
    boxes = tensor(values["in_crop_top_left_h_w"])
    target, source = crop_pair(images, boxes, size, side)
    close(target, values["out_target"], 3e-5)
    close(source, values["out_source"], 3e-5)
    res = simulated_res(boxes[:, 3], size, float(values["hp_base_resolution"]), short=True)
    close(res, values["out_target_res"], 1e-6)
    close(res * (size / side), values["out_source_res"], 1e-6)


def our_name(name: str) -> str:
    encoder = ("cls_token", "patch_embed.", "blocks.", "norm.")
    return f"backbone.net.{name}" if name.startswith(encoder) else f"decoder.{name}"


def scalemae(config: dict[str, Any], state: dict[str, Tensor], ratio: float) -> ScaleMAE:
    """Ours with the sizes and weights of a recorded model."""
    sizes = ("img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads", "mlp_ratio")
    net = GsdViT(**{k: config[k] for k in sizes if k in config}, num_classes=0)
    l1 = {"high_loss": "l1", "l1_weight": config["l1_loss_weight"]} if config["use_l1_loss"] else {}
    ours = ScaleMAEConfig(
        mask_ratio=ratio,
        decoder_dim=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
        absolute_scale=config["absolute_scale"],
        band_cells=tuple(config["band_config"]),
        head_dim=config["fcn_dim"],
        head_layers=config["fcn_layers"],
        shared_head=not config["independent_fcn_head"],
        progressive=config["progressive"],
        **l1,
    )
    bands = config.get("in_chans", 3)
    backbone = Backbone(net, features=config["embed_dim"], arch="gsd:tiny", bands=bands)
    method = ScaleMAE(ours, backbone, RunFacts())
    method.load_state_dict({our_name(name): value for name, value in state.items() if name not in UNUSED})
    return method


@pytest.mark.family("scalemae/tiny")
def test_tiny(case: Path) -> None:
    values, known = arrays(case), facts(case)
    config, state = known["config"], load_file(f"{case}.weights.safetensors")
    method = scalemae(config, state, float(values["hp_mask_ratio"]))
    images, target = tensor(values["in_imgs"]), tensor(values["in_targets"])
    res, noise = tensor(values["in_input_res"]), tensor(values["in_noise"])
    if "hp_source_size" in values:
        images, target, res = at_source_size(
            images, target, res, int(values["hp_source_size"]), from_input=True
        )
        close(images, values["out_resized_imgs"], 5e-6)

    def forward() -> tuple[Reconstruction, Tensor, Tensor]:
        out = method.reconstruct(images, res, noise)
        return out, *method.band_losses(out, target)

    out, high, low = forward()
    close(out.latent, values["out_latent"], 1e-5)
    close(out.masking.mask, values["out_mask"], 0)
    assert torch.equal(out.masking.restore, tensor(values["out_ids_restore"]))
    close(out.high, values["out_pred_high"], 5e-6)
    close(out.low, values["out_pred_low"], 5e-6)
    sides = method.config.band_sides
    close(patchify(recomposed(out.high, out.low, sides[0]), 16), values["out_pred_all_patches"], 5e-6)
    grid = round(noise.shape[1] ** 0.5)
    decoder_res = torch.ones_like(res) if method.config.absolute_scale else res
    positions = gsd_positions(decoder_res, grid, method.config.decoder_dim)
    close(positions, values["out_pos_embed_decoder_dim"], 3e-5)
    fine, coarse = band_targets(target, grid, sides)
    close(coarse, values["out_target_low"], 5e-6)
    if "out_target_high" in values:
        close(fine, values["out_target_high"], 5e-6)
    close(high, values["out_loss_high"], 2e-6)
    close(low, values["out_loss_low"], 2e-6)
    close(high + low, values["out_loss"], 2e-6)

    (high + low).backward()
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    assert {our_name(name) for name in known["grad_norm_and_sum"]} == trained.keys()
    assert not {our_name(name) for name in known["parameters_without_gradient"]} & trained.keys()
    for name, (norm, total) in known["grad_norm_and_sum"].items():
        gradient = trained[our_name(name)].grad
        assert gradient is not None, name
        close(gradient.double().norm(), norm, 1e-9, rtol=1e-4)
        close(gradient.double().sum(), total, 1e-4 * norm * gradient.numel() ** 0.5 + 1e-9)

    if "out_loss_steps" in values:
        replay_steps(case, method, values, forward)


def replay_steps(case: Path, method: ScaleMAE, values: Arrays, forward: Any) -> None:
    beta1, beta2 = values["hp_betas"].tolist()
    optim = OptimConfig(
        optimizer="adamw",
        lr=float(values["hp_lr"]),
        momentum=beta1,
        beta2=beta2,
        weight_decay=float(values["hp_weight_decay"]),
        schedule="constant",
    )
    optimizer = build_optimizer(optim, method)
    for expected in values["out_loss_steps"]:
        _, high, low = forward()
        close(high + low, expected, 2e-5)
        optimizer.zero_grad()
        (high + low).backward()
        optimizer.step()
    state = method.state_dict()
    for name, value in load_file(f"{case}.after.safetensors").items():
        close(state[our_name(name)], value, 2e-5)
