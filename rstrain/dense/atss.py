"""ATSS: one square anchor a cell, and which cells answer for an object told from their overlaps (Zhang et al. 2020, arXiv 1912.02424)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import (
    batched_nms,
    box_iou,
    clip_boxes_to_image,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from rstrain import distributed

NEAREST = 9
"""Candidates of an object on each level."""
CANDIDATES = 1000
"""Cells of a level that go on to the suppression."""
_LEVELS = 5
_LEAST = 0.01
"""Pixels that a centre must lie inside a box."""


def assign(anchors: Sequence[Tensor], boxes: Tensor) -> Tensor:
    """Object that each anchor answers for, or -1; [A] over all levels.

    Of every level the nearest centres are candidates; those whose IoU reaches mean + deviation over the candidates of the
    object and whose centre lies in the box are taken. Of several objects an anchor gets the one of most overlap.

    Args:
        anchors: [A_l, 4] of each level.
        boxes: [N, 4].
    """
    every = torch.cat(list(anchors))
    if not len(boxes):
        return torch.full((len(every),), -1, dtype=torch.int64, device=every.device)
    overlap = box_iou(every, boxes)
    centre = (every[:, :2] + every[:, 2:]) / 2
    distance = torch.cdist(centre, (boxes[:, :2] + boxes[:, 2:]) / 2)
    picked, at = [], 0
    for level in anchors:
        near = distance[at : at + len(level)].topk(min(NEAREST, len(level)), dim=0, largest=False).indices
        picked.append(near + at)
        at += len(level)
    candidate = torch.cat(picked)  # [K, N]
    own = overlap.gather(0, candidate)
    least = own.mean(dim=0) + (own.std(dim=0) if len(own) > 1 else 0.0)
    point = centre[candidate]  # [K, N, 2]
    inside = torch.cat((point - boxes[:, :2], boxes[:, 2:] - point), dim=-1).amin(dim=-1) > _LEAST
    best = torch.full_like(overlap, -1.0)
    best.scatter_(0, candidate, torch.where((own >= least) & inside, own, -1.0))
    value, number = best.max(dim=1)
    return torch.where(value >= 0, number, -1)


def centreness(anchors: Tensor, boxes: Tensor) -> Tensor:
    """How near the centre of each anchor is to that of its box, 0 … 1, [A] (Tian et al. 2019, equation 3)."""
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    before, after = centre - boxes[:, :2], boxes[:, 2:] - centre
    ratio = torch.minimum(before, after) / torch.maximum(before, after).clamp(min=1e-6)
    return ratio.clamp(min=0).prod(dim=1).sqrt()


class Atss(nn.Module):
    """A pyramid of five levels, one convolution for each of class, box and centreness; the manner of torchvision's detectors.

    Losses are those of mmdetection: focal (alpha 0.25, gamma 2) over the positives of the batch of all ranks, twice GIoU
    weighed by centreness, binary cross-entropy of centreness.
    """

    def __init__(
        self,
        pyramid: nn.Module,
        classes: int,
        *,
        smallest_px: int,
        score: float,
        nms: float,
        detections: int,
        min_size: Sequence[int],
        max_size: int,
        image_mean: list[float],
        image_std: list[float],
    ) -> None:
        super().__init__()
        self.backbone = pyramid
        self.classes, self.score, self.nms, self.detections = classes, score, nms, detections
        width = 256
        self.cls, self.box, self.centre = (nn.Conv2d(width, n, 3, padding=1) for n in (classes, 4, 1))
        for conv in (self.cls, self.box, self.centre):
            nn.init.normal_(conv.weight, std=0.01)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        assert self.cls.bias is not None
        nn.init.constant_(self.cls.bias, -math.log(99))  # else the first focal loss explodes
        self.scale = nn.Parameter(torch.ones(_LEVELS))
        self.anchors = AnchorGenerator(
            tuple((smallest_px * 2**level,) for level in range(_LEVELS)), ((1.0,),) * _LEVELS
        )
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.transform = GeneralizedRCNNTransform(tuple(min_size), max_size, image_mean, image_std)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Losses in training, else detections; as torchvision's detectors."""
        original = [image.shape[-2:] for image in images]
        batch, targets = self.transform(images, targets)
        levels = list(self.backbone(batch.tensors).values())
        anchors = self.anchors(batch, levels)
        sizes = [level.shape[-2] * level.shape[-1] for level in levels]
        cls = torch.cat([_flat(self.cls(x)) for x in levels], dim=1).float()
        box = torch.cat(
            [_flat(self.box(x)) * s for x, s in zip(levels, self.scale, strict=True)], dim=1
        ).float()
        centre = torch.cat([_flat(self.centre(x)) for x in levels], dim=1)[..., 0].float()
        if self.training:
            assert targets is not None
            return self._losses(cls, box, centre, anchors, sizes, targets)
        found = [
            self._found(cls[i], box[i], centre[i], anchors[i], sizes, batch.image_sizes[i])
            for i in range(len(images))
        ]
        return self.transform.postprocess(found, batch.image_sizes, original)

    def _losses(
        self,
        cls: Tensor,
        box: Tensor,
        centre: Tensor,
        anchors: list[Tensor],
        sizes: list[int],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        truth = torch.zeros_like(cls)
        boxes, wanted, near, sure = [], [], [], []
        for i, target in enumerate(targets):
            number = assign(torch.split(anchors[i], sizes), target["boxes"])
            hit = number >= 0
            truth[i, hit, target["labels"][number[hit]]] = 1.0
            own = target["boxes"][number[hit]]
            wanted.append(own)
            boxes.append(self.coder.decode_single(box[i, hit], anchors[i][hit]))
            near.append(centreness(anchors[i][hit], own))
            sure.append(centre[i, hit])
        weight = torch.cat(near)
        count = distributed.mean(torch.stack((weight.new_tensor(float(len(weight))), weight.sum())))
        positives, total = count.clamp(min=1.0).unbind()
        distance = generalized_box_iou_loss(torch.cat(boxes), torch.cat(wanted), reduction="none")
        idle = 0.0 * (
            box.sum() + centre.sum() + self.scale.sum()
        )  # a gradient of 0 where nothing is to be found
        return {
            "loss_classifier": sigmoid_focal_loss(cls, truth, alpha=0.25, gamma=2, reduction="sum")
            / positives,
            "loss_box_reg": 2 * (distance * weight).sum() / total + idle,
            "loss_centre": F.binary_cross_entropy_with_logits(torch.cat(sure), weight, reduction="sum")
            / positives,
        }

    def _found(
        self,
        cls: Tensor,
        box: Tensor,
        centre: Tensor,
        anchors: Tensor,
        sizes: list[int],
        image: tuple[int, int],
    ) -> dict[str, Tensor]:
        parts = []
        levels = tuple(torch.split(x, sizes) for x in (cls, box, centre, anchors))
        for own_cls, own_box, own_centre, own_anchors in zip(*levels, strict=True):
            score = own_cls.sigmoid().flatten()
            kept = torch.nonzero(score > self.score)[:, 0]
            best = score[kept].topk(min(CANDIDATES, len(kept))).indices
            cell, label = (
                kept[best].div(self.classes, rounding_mode="floor"),
                kept[best].remainder(self.classes),
            )
            boxes = self.coder.decode_single(own_box[cell], own_anchors[cell])
            sure = own_centre[cell].sigmoid()
            parts.append((clip_boxes_to_image(boxes, image), score[kept[best]] * sure, label))
        boxes, scores, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        kept = batched_nms(boxes, scores, labels, self.nms)[: self.detections]
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


def _flat(x: Tensor) -> Tensor:
    """[B, K, H, W] -> [B, H * W, K]."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
