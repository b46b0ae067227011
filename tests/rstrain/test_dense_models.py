"""Bodies, heads and detectors: what is frozen stays, what is counted is counted, and references written out by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rstrain.dense.atss import assign, centreness
from rstrain.dense.body import Body, dilate
from rstrain.dense.boxes import rasterise
from rstrain.dense.change import ChangeNet
from rstrain.dense.detectors import Detector, Truth, build_detector
from rstrain.dense.dyhead import DyHead
from rstrain.dense.dynamic_rcnn import EVERY, DynamicRoIHeads
from rstrain.dense.geometry import Turn
from rstrain.dense.predict import whole, windows
from rstrain.dense.psanet import flow, offsets
from rstrain.dense.segmenters import build_segmenter
from rstrain.evals.dense_config import DetectConfig, SegmentConfig
from rstrain.models.backbone import build_backbone
from scenes import squares
from shards.errors import ConfigError
from shards.targets import Box

torch.set_num_threads(1)
TINY: dict[str, Any] = {
    "data": "-",
    "min_sizes": (64,),
    "max_size": 64,
    "anchor_px": 16,
    "proposals": 40,
    "rois": 16,
}
MEAN, STD = (60.0,) * 3, (50.0,) * 3


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def detector(model: str, **changes: Any) -> Detector:
    config = DetectConfig(**(TINY | {"model": model} | changes))
    body = Body(build_backbone("resnet18", seed=0), norm="eval", trainable=5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_detector(config, body, 2, MEAN, STD)


def example(seed: int) -> tuple[Tensor, Truth]:
    image, boxes = squares(seed)
    corners = [(b.left, b.top, b.right, b.bottom) for b in boxes]
    labels = torch.tensor([b.label for b in boxes], dtype=torch.int64)
    masks = torch.from_numpy(rasterise(boxes, *image.shape[:2]))
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()
    return pixels, Truth(torch.tensor(corners).reshape(-1, 4), labels, masks)


@pytest.mark.parametrize(
    ("trainable", "norm", "moves"),
    [
        (0, "eval", set()),
        (0, "train", set()),
        (3, "eval", {"layer2", "layer3", "layer4"}),
        (5, "train", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_what_a_protocol_freezes_is_the_same_to_the_last_bit(
    trainable: int, norm: Any, moves: set[str]
) -> None:
    body = Body(build_backbone("resnet18", seed=3), norm=norm, trainable=trainable)
    tail = nn.Conv2d(512, 1, 1)
    model = nn.Sequential()
    model.body, model.tail = body, tail
    before = state(body.net)
    rate = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model.train()  # as every loop does, again and again
        tail(body(torch.randn(2, 3, 32, 32))[-1]).square().mean().backward()
        rate.step()
    moved = {name for name, value in state(body.net).items() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in moved} == moves
    statistics = {name for name in moved if "running" in name}
    assert bool(statistics) == (norm == "train" and trainable == 5), (
        "eval keeps the statistics of every layer"
    )
    affine = {name for name in moved if "bn" in name and name.endswith(("weight", "bias"))}
    assert bool(affine) == bool(moves)


def test_frozen_norms_keep_their_affine_too() -> None:
    body = Body(build_backbone("resnet18"), norm="frozen", trainable=5)
    wanted = {name for name, p in body.net.named_parameters() if p.requires_grad}
    assert wanted and not any("bn" in name or "downsample.1" in name for name in wanted)
    with pytest.raises(ConfigError, match="no layers to freeze one by one"):
        Body(build_backbone("timm:vit_tiny_patch16_224", size_px=32), norm="eval", trainable=3)


def test_bodies_of_every_kind_give_four_scales() -> None:
    for arch, options, strides in (
        ("resnet18", {"stem": "small"}, (2, 4, 8, 16)),
        ("timm:convnext_atto", {}, (4, 8, 16, 32)),
        ("timm:vit_tiny_patch16_224", {"size_px": 64}, (4, 8, 16, 32)),
        ("gsd:vit_tiny_patch16_224", {}, (4, 8, 16, 32)),
    ):
        body = Body(build_backbone(arch, 4, **options), norm="eval", trainable=5).eval()
        maps = body(torch.randn(1, 4, 64, 64))
        assert body.strides == strides, arch
        assert [tuple(m.shape) for m in maps] == [
            (1, c, 64 // s, 64 // s) for c, s in zip(body.channels, strides, strict=True)
        ], arch
    vit = Body(build_backbone("timm:vit_tiny_patch16_224", size_px=64), norm="eval", trainable=5)
    with pytest.raises(ConfigError, match="takes 64 x 64 px, not 96 x 96"):
        vit(torch.randn(1, 3, 96, 96))


def test_a_gsd_model_is_told_the_resolution() -> None:
    backbone = build_backbone("gsd:vit_tiny_patch16_224", seed=1).eval()
    net, images = backbone.net, torch.randn(2, 3, 64, 64)
    plain = net.forward_intermediates(images, indices=[2, 5, 8, 11], intermediates_only=True)
    for ours, timms in zip(net.maps(images, 1.0, [2, 5, 8, 11]), plain, strict=True):
        assert torch.equal(ours, timms)
    told = net.maps(images, 0.3, [11])[0]
    normed = net.norm(told.flatten(2).transpose(1, 2))
    assert torch.equal(normed, net.forward_features(images, torch.full((2,), 0.3))[:, 1:]), (
        "as in knn and linear"
    )
    bodies = [Body(backbone, norm="eval", trainable=0, resolution=res).eval() for res in (1.0, 0.3)]
    bodies[1].scales.load_state_dict(bodies[0].scales.state_dict())
    fine, coarse = (body(images)[0] for body in bodies)
    assert not torch.allclose(fine, coarse)
    with pytest.raises(ConfigError, match=r"images of 64 x 96 px: .* need a square"):
        bodies[0](torch.randn(1, 3, 64, 96))


def test_dilation_is_that_of_torchvision() -> None:
    import torchvision

    backbone = build_backbone("resnet50", seed=1)
    other = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, True, True])
    other.fc = nn.Identity()
    other.load_state_dict(backbone.net.state_dict())
    body = Body(backbone, norm="eval", trainable=5)
    dilate(body)
    assert body.strides == (4, 8, 8, 8)
    images = torch.randn(1, 3, 64, 64)
    maps, pooled = body.eval()(images), other.eval()(images)
    assert maps[-1].shape[-1] == 8
    torch.testing.assert_close(maps[-1].mean((2, 3)), pooled)
    with pytest.raises(ConfigError, match="needs a ResNet"):
        dilate(Body(build_backbone("timm:convnext_atto"), norm="eval", trainable=5))


def test_the_change_decoder_is_as_large_as_the_original() -> None:
    net = ChangeNet(build_backbone("resnet18"), norm="eval", trainable=0)
    assert sum(p.numel() for p in net.decoder.parameters()) == 3_208_769
    net.eval()
    images = torch.randn(2, 3, 96, 96)
    assert net(images, images.flip(0)).shape == (2, 96, 96)
    assert torch.equal(net(images[:1], images[1:]), net(images[1:], images[:1])), "neither date is the first"


def test_psanet_is_what_its_paper_says_pixel_by_pixel() -> None:
    side, mask = 4, 5
    index, inside = offsets(side, mask)
    torch.manual_seed(0)
    x, logits = torch.randn(2, 3, side, side), torch.randn(2, mask * mask, side, side)
    pair = torch.zeros(2, side, side, side, side)  # query y, x; target i, j
    cells = range(side)
    for y, x0, i, j in ((y, x0, i, j) for y in cells for x0 in cells for i in cells for j in cells):
        down, across = i - y + mask // 2, j - x0 + mask // 2
        if 0 <= down < mask and 0 <= across < mask:
            pair[:, y, x0, i, j] = logits[:, down * mask + across, y, x0]
    take = pair.flatten(3).softmax(dim=3).view_as(pair)
    collect = torch.einsum("byxij,bfij->bfyx", take, x)
    send = pair.flatten(1, 2).softmax(dim=1).view_as(pair)
    distribute = torch.einsum("byxij,bfyx->bfij", send, x)
    torch.testing.assert_close(flow(x, logits, index, inside, collect=True), collect)
    torch.testing.assert_close(flow(x, logits, index, inside, collect=False), distribute)


def test_windows_cover_every_pixel_and_agree_with_the_whole() -> None:
    image = torch.arange(3 * 50 * 37.0).reshape(1, 3, 50, 37)
    for size in (16, 37, 64):
        torch.testing.assert_close(windows(lambda x: x[0] * 2, [image], size), image * 2)
    torch.testing.assert_close(whole(lambda x: x[0] * 2, [image]), image * 2)


@pytest.mark.parametrize("model", ["unet", "upernet", "deeplab", "psanet"])
def test_segmenters_answer_in_the_size_of_the_image(model: str) -> None:
    config = SegmentConfig(data="-", model=model, size=32)
    net = build_segmenter(config, build_backbone("resnet18", 4), 5, norm="eval", side=32)
    net.train()
    logits = net(torch.randn(2, 4, 32, 32))
    assert [tuple(x.shape) for x in logits] == [(2, 5, 32, 32)] * (1 if model == "unet" else 2)
    torch.stack([x.square().mean() for x in logits]).sum().backward()
    without = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, "DDP waits for the gradient of everything that is trained"


def test_segmenters_on_a_transformer() -> None:
    config = SegmentConfig(data="-", model="upernet", size=32, trainable=0)
    net = build_segmenter(config, build_backbone("gsd:vit_tiny_patch16_224"), 3, norm="eval", side=32)
    net.train()(torch.randn(2, 3, 32, 32))[0].mean().backward()
    assert all(p.grad is None for p in net.body.net.parameters())
    assert net.body.scales[0][0].weight.grad is not None, "what brings the tokens to scales is learnt anyhow"
    with pytest.raises(ConfigError, match="needs a ResNet"):
        build_segmenter(
            SegmentConfig(data="-", model="psanet"),
            build_backbone("gsd:vit_tiny_patch16_224"),
            3,
            norm="eval",
            side=32,
        )


class _Echo(nn.Module):
    """Answers what it was taught."""

    def forward(self, images: list[Tensor], targets: Any = None) -> Any:
        if targets is not None:
            self.taught = targets
            return {}
        return [{**t, "scores": torch.ones(len(t["labels"]))} for t in self.taught]


@pytest.mark.parametrize(("shift", "inside"), [(1, [1, 3]), (0, [0, 2])])
def test_classes_count_from_zero_outside_and_as_the_model_wants_inside(shift: int, inside: list[int]) -> None:
    echo = _Echo()
    own = Detector(echo, Body(build_backbone("resnet18"), norm="eval", trainable=5), shift=shift)
    own([torch.zeros(3, 8, 8)], [Truth(torch.zeros(2, 4), torch.tensor([0, 2]))])
    assert echo.taught[0]["labels"].tolist() == inside
    assert own.find([torch.zeros(3, 8, 8)])[0].labels.tolist() == [0, 2]


def test_which_models_keep_a_class_for_the_background() -> None:
    assert [detector(m, blocks=0).shift for m in ("faster-rcnn", "retinanet", "dyhead")] == [1, 0, 0]


@pytest.mark.parametrize("model", ["retinanet", "mask-rcnn", "dyhead"])
def test_images_without_objects_are_legal_and_every_weight_gets_a_gradient(model: str) -> None:
    net = detector(model, blocks=0).train()
    (first, truth), (second, _) = example(5), example(2)
    none = Truth(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 64, 64, dtype=torch.uint8)
    )
    for truths in ([truth, none], [none, none]):
        net.zero_grad(set_to_none=True)
        losses = net([first, second], truths)
        total = torch.stack(list(losses.values())).sum()
        assert bool(torch.isfinite(total))
        total.backward()
        assert not [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
    net.eval()
    found = net.find([first])[0]
    assert found.boxes.shape == (len(found.labels), 4)


def test_dynamic_rcnn_moves_its_threshold_and_its_beta_and_keeps_them() -> None:
    net = detector("dynamic-rcnn").train()
    heads = net.model.roi_heads
    assert isinstance(heads, DynamicRoIHeads)
    assert (float(heads.threshold), float(heads.beta)) == (0.5, 1.0)
    with torch.no_grad():  # one step before both move
        heads.count.fill_(EVERY - 1)
        heads.iou_notes.fill_(0.62)
        heads.beta_notes.fill_(0.3)
    (first, truth), (second, other) = example(5), example(4)
    sum(net([first, second], [truth, other]).values()).backward()
    threshold, beta = float(heads.threshold), float(heads.beta)
    assert int(heads.count) == EVERY
    assert threshold == pytest.approx(float(heads.iou_notes.mean())) and 0.6 < threshold < 0.63
    assert beta == pytest.approx(0.3)
    net([first, second], [truth, other])
    assert heads.proposal_matcher.high_threshold == heads.proposal_matcher.low_threshold == threshold
    again = detector("dynamic-rcnn")
    again.load_state_dict(copy.deepcopy(net.state_dict()))
    assert (float(again.model.roi_heads.threshold), float(again.model.roi_heads.beta)) == (threshold, beta)


def test_atss_takes_the_cells_that_overlap_more_than_most_of_the_near() -> None:
    """A row of 8 px cells with anchors of 16 px, one level; an object over cells 2 and 3."""
    centre = torch.arange(12.0) * 8
    anchors = torch.stack((centre - 8, torch.full((12,), -8.0), centre + 8, torch.full((12,), 8.0)), dim=1)
    box = torch.tensor([[10.0, -8.0, 30.0, 8.0]])
    overlap = [max(0.0, min(c + 8, 30) - max(c - 8, 10)) * 16 for c in centre.tolist()]
    share = [a / (256 + 320 - a) for a in overlap]
    near = sorted(range(12), key=lambda i: abs(float(centre[i]) - 20))[:9]
    least = np.mean([share[i] for i in near]) + np.std([share[i] for i in near], ddof=1)
    wanted = [i for i in near if share[i] >= least and 10 < float(centre[i]) < 30]
    assert wanted and torch.nonzero(assign([anchors], box) == 0)[:, 0].tolist() == sorted(wanted)
    assert (assign([anchors], torch.zeros(0, 4)) == -1).all()
    both = assign([anchors], torch.cat((box, box + torch.tensor([0.5, 0, 0.5, 0]))))
    assert set(both.tolist()) <= {-1, 0, 1} and {0, 1} & set(both.tolist())
    # centre at a quarter of the width and half of the height: sqrt(1/3 * 1)
    near_edge = centreness(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, -5, 20, 15]]))
    torch.testing.assert_close(near_edge, torch.tensor([3**-0.5]))


def test_a_dyhead_block_starts_as_a_plain_relu_of_the_mean_of_its_levels() -> None:
    torch.manual_seed(0)
    block = DyHead(1, width=64).blocks[0]
    x = torch.randn(2, 64, 8, 8)
    torch.testing.assert_close(block.task(x), x.relu(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(block.weigh(x), torch.full((2, 1, 1, 1), 0.5), atol=0.01, rtol=0)


@pytest.mark.slow
def test_dyhead_blocks_pass_gradients_to_every_level() -> None:
    net = detector("dyhead", blocks=2).train()
    first, truth = example(5)
    losses = net([first], [truth])
    torch.stack(list(losses.values())).sum().backward()
    steer = [p.grad for n, p in net.named_parameters() if "steer" in n]
    assert steer and all(g is not None and bool(g.abs().sum() > 0) for g in steer)


def test_turns_move_boxes_with_the_pixels() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[3:9, 5:17] = 1
    box = np.array([[5, 3, 17, 9]], np.float32)
    for number in range(16):
        turn = Turn(bool(number & 1), bool(number & 2), number >> 2)
        turned = turn.image(mask)
        left, top, right, bottom = (int(x) for x in turn.boxes(box, 20, 30)[0])
        assert turned.sum() == mask.sum() == turned[top:bottom, left:right].sum()


def test_outlines_fill_the_pixels_whose_centre_they_hold() -> None:
    ring = ((2.0, 3.0), (6.0, 3.0), (6.0, 5.4), (2.0, 5.4))
    mask = rasterise([Box(0, 2, 3, 6, 5.4, rings=(ring,))], 8, 10)[0]
    assert mask.sum() == 4 * 2 and mask[3:5, 2:6].all()
