"""Dynamic R-CNN: what counts as a hit, and the form of the box loss, follow the proposals (Zhang et al. 2020, arXiv 2004.06002)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import box_iou

from rstrain import distributed

NMS = 0.85
"""Overlap from which proposals are taken for one; mmdetection's configs of the method."""
IOU_TOP = 75
BETA_TOP = 10
EVERY = 100
"""Steps between two moves of threshold and beta."""
LEAST_IOU = 0.4
MOST_BETA = 1.0


class DynamicRoIHeads(RoIHeads):  # type: ignore[misc]  # torchvision has no types
    """The box head of Faster R-CNN whose threshold and beta move while it trains.

    Each step notes the mean over images of the 75th largest IoU of a proposal, and the (10 x images)-th smallest mean
    offset |dx|, |dy| of the positives. Every 100 steps the threshold becomes the mean of the former (at least 0.4), and
    beta the median of the latter (at most 1). They start at 0.5 and 1. All of it lies in buffers, so a resumed run
    goes on as it was; notes are means over ranks, so ranks agree. (mmdetection loses the former and lets ranks drift.)
    """

    iou_notes: Tensor
    beta_notes: Tensor
    count: Tensor
    threshold: Tensor
    beta: Tensor

    def __init__(self, stock: RoIHeads) -> None:
        super(RoIHeads, self).__init__()
        self.__dict__.update({k: v for k, v in vars(stock).items() if not k.startswith("_")})
        for name, module in stock.named_children():
            self.add_module(name, module)
        self.register_buffer("iou_notes", torch.zeros(EVERY))
        self.register_buffer("beta_notes", torch.full((EVERY,), -1.0))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("threshold", torch.tensor(0.5))
        self.register_buffer("beta", torch.tensor(MOST_BETA))

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> Any:
        """As the stock head, with the threshold in force; notes how good the proposals are."""
        tops = []
        for own, boxes in zip(proposals, gt_boxes, strict=True):
            best = box_iou(boxes, own).max(dim=0).values if len(boxes) else own.new_zeros(len(own))
            k = min(IOU_TOP, len(best))
            tops.append(best.topk(k).values[-1] if k else best.new_zeros(()))
        self.iou_notes[int(self.count) % EVERY] = distributed.mean(torch.stack(tops).mean())
        self.proposal_matcher.high_threshold = self.proposal_matcher.low_threshold = float(self.threshold)
        return super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As the stock head; in training with a smooth L1 loss of the beta in force."""
        if not self.training:
            out: tuple[list[dict[str, Tensor]], dict[str, Tensor]]
            out = super().forward(features, proposals, image_shapes, targets)
            return out
        chosen, _, labels, offsets = self.select_training_samples(proposals, targets)
        logits, boxes = self.box_predictor(self.box_head(self.box_roi_pool(features, chosen, image_shapes)))
        label, offset = torch.cat(labels), torch.cat(offsets)
        positive = torch.nonzero(label > 0)[:, 0]
        own = boxes.view(len(boxes), -1, 4)[positive, label[positive]]
        loss = F.smooth_l1_loss(own.float(), offset[positive], beta=float(self.beta), reduction="sum")
        losses = {
            "loss_classifier": F.cross_entropy(logits.float(), label),
            "loss_box_reg": loss / max(1, label.numel()),
        }
        self._note(offset[positive], len(proposals))
        return [], losses

    @torch.no_grad()
    def _note(self, offset: Tensor, images: int) -> None:
        size = offset[:, :2].abs().mean(dim=1)
        k = min(BETA_TOP * images, len(size))
        own = size.kthvalue(k).values if k else size.new_zeros(())
        seen = distributed.mean(torch.stack((own, own.new_tensor(float(k > 0)))))
        place = int(self.count) % EVERY
        self.beta_notes[place] = seen[0] / seen[1] if seen[1] > 0 else -1.0  # no rank had a positive
        self.count += 1
        if place + 1 < EVERY:
            return
        self.threshold.fill_(max(LEAST_IOU, float(self.iou_notes.mean())))
        known = self.beta_notes[self.beta_notes >= 0]
        middle = float(known.median()) if len(known) else 0.0
        if middle > 1e-8:
            self.beta.fill_(min(MOST_BETA, middle))


def make_dynamic(model: FasterRCNN) -> None:
    """Put the moving head in place of the stock one; weights stay."""
    model.roi_heads = DynamicRoIHeads(model.roi_heads)
