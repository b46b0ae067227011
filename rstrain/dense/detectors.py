"""Detectors with one manner: classes count from 0, pixels are levels, predictions are sorted by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from rstrain.dense.atss import Atss
from rstrain.dense.body import Body
from rstrain.dense.dyhead import DyHead
from rstrain.dense.dynamic_rcnn import NMS as DYNAMIC_NMS
from rstrain.dense.dynamic_rcnn import make_dynamic
from rstrain.dense.fpn import grown_pyramid, pooled_pyramid
from rstrain.evals.dense_config import DetectConfig

LEVELS = 5
MASK_FROM = 0.5
"""Probability from which a pixel belongs to an object."""


class Truth(NamedTuple):
    """What an image has to be told of in training."""

    boxes: Tensor
    """float32 [N, 4] left, top, right, bottom, pixels of the image; N may be 0."""
    labels: Tensor
    """int64 [N], from 0."""
    masks: Tensor | None = None
    """uint8 [N, H, W] for mask-rcnn."""


class Found(NamedTuple):
    """What a detector says of an image, the surest first."""

    boxes: Tensor
    """float32 [N, 4], pixels of the image as it was given."""
    labels: Tensor
    """int64 [N], from 0."""
    scores: Tensor
    """float32 [N], 0 … 1."""
    masks: Tensor | None = None
    """bool [N, H, W] of mask-rcnn."""


class Detector(nn.Module):
    """A detector of torchvision's manner behind labels from 0.

    R-CNNs keep label 0 for the background: `shift` is 1 for them, and is added to what goes in and taken from what comes
    out, here and nowhere else.
    """

    def __init__(self, model: nn.Module, body: Body, *, shift: int) -> None:
        super().__init__()
        self.model = model
        self.shift = shift
        self._body = [body]  # a list: the body is a part of the model already

    @property
    def body(self) -> Body:
        """The backbone inside."""
        return self._body[0]

    def forward(self, images: Sequence[Tensor], truths: Sequence[Truth]) -> dict[str, Tensor]:
        """Losses of levels, float32 [C, H, W] of any sizes; the model must be in training mode."""
        targets = [self._target(truth) for truth in truths]
        losses: dict[str, Tensor] = self.model(list(images), targets)
        return losses

    def _target(self, truth: Truth) -> dict[str, Tensor]:
        out = {"boxes": truth.boxes, "labels": truth.labels + self.shift}
        return out if truth.masks is None else out | {"masks": truth.masks}

    @torch.no_grad()
    def find(self, images: Sequence[Tensor]) -> list[Found]:
        """Objects in levels, float32 [C, H, W]; the model must be in evaluation mode."""
        out = []
        for found in self.model(list(images)):
            masks = found["masks"][:, 0] >= MASK_FROM if "masks" in found else None
            out.append(Found(found["boxes"], found["labels"] - self.shift, found["scores"], masks))
        return out


def build_detector(
    config: DetectConfig, body: Body, classes: int, mean: Sequence[float], std: Sequence[float]
) -> Detector:
    """A detector on a body that is told of `classes` classes; `mean` and `std` of each band are in levels."""
    common: dict[str, Any] = {
        "min_size": config.min_sizes,
        "max_size": config.max_size,
        "image_mean": list(mean),
        "image_std": list(std),
    }
    if config.model == "dyhead":
        pyramid = nn.Sequential(grown_pyramid(body, from_body=False), DyHead(config.blocks))
        atss = Atss(
            pyramid,
            classes,
            smallest_px=2 * config.anchor_px,
            score=config.score,
            nms=config.nms,
            detections=config.detections,
            **common,
        )
        return Detector(atss, body, shift=0)
    if config.model == "retinanet":
        octave = [config.anchor_px * 2**level for level in range(LEVELS)]
        sizes = tuple(tuple(int(side * 2 ** (part / 3)) for part in range(3)) for side in octave)
        net = RetinaNet(
            grown_pyramid(body, from_body=True),
            classes,
            anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * LEVELS),
            score_thresh=config.score,
            nms_thresh=config.nms,
            detections_per_img=config.detections,
            **common,
        )
        return Detector(net, body, shift=0)
    sizes = tuple((config.anchor_px * 2**level,) for level in range(LEVELS))
    dynamic = config.model == "dynamic-rcnn"
    family = MaskRCNN if config.model == "mask-rcnn" else FasterRCNN
    rcnn = family(
        pooled_pyramid(body),
        classes + 1,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * LEVELS),
        rpn_post_nms_top_n_train=config.proposals,
        rpn_post_nms_top_n_test=config.proposals,
        rpn_nms_thresh=DYNAMIC_NMS if dynamic else 0.7,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 0),  # as many samples as a bin has pixels
        box_batch_size_per_image=config.rois,
        box_score_thresh=config.score,
        box_nms_thresh=config.nms,
        box_detections_per_img=config.detections,
        **common,
    )
    if dynamic:
        make_dynamic(rcnn)
    return Detector(rcnn, body, shift=1)
