"""Configs of the evaluations that say something of every part of an image. Imports neither torch nor numpy."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import pydantic
from pydantic import Field

from rstrain.evals.common import CommonConfig


class DenseConfig(CommonConfig):
    """How a network with a head for every part of an image is trained and scored."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    batch: int = Field(
        8, gt=0, description="images at a time when scoring; changes the speed, not the scores"
    )
    amp: bool = Field(False, description="bfloat16 in training and scoring: faster on a GPU, less exact")
    epochs: float = Field(12, gt=0, description="how often each training image is seen")
    train_batch: int = Field(8, gt=0, description="images a step over all ranks")
    trainable: int = Field(
        5,
        ge=0,
        le=5,
        description="layers of a ResNet that are trained, counted from the end: 0 none (a frozen encoder, batch norms "
        "included), 3 all but the stem and layer1, 5 all; other networks 0 or 5",
    )
    norm: Literal["auto", "frozen", "eval", "train"] = Field(
        "auto",
        description="batch norms of the backbone; frozen: statistics and affine fixed (detectron2, torchvision), eval: "
        "affine trained (OpenMMLab's norm_eval), train: like any layer; auto: eval for a checkpoint, train for `random`, "
        "whose statistics say nothing yet",
    )
    base_resolution: float = Field(
        1.0,
        gt=0,
        description="resolution that a gsd: model is told of every image; for images of one GSD, trained on their true "
        "one, metres that a pixel of the input spans",
    )
    optimizer: Literal["sgd", "adam"] = Field("sgd", description="adam: weight decay as L2, as torch's Adam")
    lr: float = Field(0.01, gt=0, description="peak learning rate, not scaled by the batch")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(1e-4, ge=0, description="on all weights")
    schedule: Literal["step", "poly", "exponential", "cosine", "constant"] = Field(
        "step",
        description="course of the rate; step: times `gamma` at each milestone, exponential: each epoch",
    )
    milestones: tuple[float, ...] = Field((8, 11), description="epochs of `step`")
    gamma: float = Field(0.1, gt=0, le=1, description="of `step` and `exponential`")
    min_lr: float = Field(0.0, ge=0, description="end of `poly` (power 0.9) and `cosine`")
    warmup_steps: int = Field(0, ge=0, description="steps in which the rate rises linearly")
    warmup_from: float = Field(0.001, ge=0, le=1, description="share of the rate at which it begins")
    clip: float = Field(0.0, ge=0, description="largest L2 norm of the gradient; 0: any")
    hflip: float = Field(0.5, ge=0, le=1, description="probability of a mirrored image, left and right")
    vflip: float = Field(0.0, ge=0, le=1, description="probability of a mirrored image, top and bottom")
    turns: bool = Field(False, description="quarter turns, each as likely")
    pictures: int = Field(6, ge=0, description="test images drawn beside the scores, truth and prediction")
    save_minutes: float = Field(
        10,
        gt=0,
        description="minutes between checkpoints in OUT.resume, from which the same command goes on after an "
        "interruption; one is also made on SIGTERM and Ctrl-C",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return cls.presets.get(str(values.get("preset", "")), {}) | values
        return values

    @pydantic.model_validator(mode="after")
    def _rates(self) -> Self:
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr={self.min_lr:g} is above lr={self.lr:g}")
        return self


_MMDET = {"warmup_steps": 500, "warmup_from": 1 / 3, "clip": 35.0, "lr": 0.001, "train_batch": 4}
_GERSP: dict[str, Any] = {
    **_MMDET,
    "epochs": 24,
    "milestones": (16, 22),
    "min_sizes": (800,),
    "max_size": 800,
    "nms": 0.3,
    "detections": 600,
    "max_dets": (100, 300, 1000),
    "train_empty": False,
    "norm": "eval",
}


class DetectConfig(DenseConfig):
    """Objects by boxes, and by outlines with mask-rcnn; COCO and VOC average precision."""

    kind: Literal["detect"] = "detect"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "gersp": _GERSP,
        "gersp-baseline": {**_GERSP, "trainable": 3},
        "xview": {
            "model": "retinanet",
            "optimizer": "adam",
            "lr": 1e-5,
            "weight_decay": 0.0,
            "train_batch": 4,
            "min_sizes": (416,),
            "max_size": 416,
            "schedule": "constant",
            "norm": "frozen",
        },
        "crowdai": {
            "model": "mask-rcnn",
            "min_sizes": (640, 672, 704, 736, 768, 800),
            "max_size": 1333,
            "norm": "frozen",
            "train_batch": 12,
            "epochs": 3.847,  # 90,000 steps of 12 images, of 280,741
            "milestones": (2.565, 3.42),
            "warmup_steps": 1000,
            "clip": 5.0,
        },
    }
    preset: Literal["none", "gersp", "gersp-baseline", "xview", "crowdai"] = Field(
        "none",
        description="gersp: DIOR and DOTA of GeRSP (24 epochs at 0.001, nothing frozen, norms in evaluation mode, NMS 0.3, "
        "600 detections; the paper's mAP is ap50); gersp-baseline: the same with stem and layer1 frozen, as its ImageNet "
        "rows; xview: RetinaNet of geography-aware-ssl (Adam 1e-5; the epochs are not published); crowdai: Mask R-CNN of "
        "sn7-vicreg. Any option given overrides the preset",
    )
    model: Literal["faster-rcnn", "dynamic-rcnn", "mask-rcnn", "retinanet", "dyhead"] = Field(
        "faster-rcnn", description="what is put on the backbone; dyhead: an ATSS head behind DyHead blocks"
    )
    min_sizes: tuple[int, ...] = Field(
        (800,),
        description="short side that images are brought to, pixels; of several one is drawn in training and the last "
        "used in scoring",
    )
    max_size: int = Field(1333, gt=0, description="longest side of an image, pixels")
    anchor_px: int = Field(
        32, gt=1, description="side of the smallest anchors, pixels; five octaves from there"
    )
    proposals: int = Field(1000, gt=0, description="boxes an R-CNN looks at in an image")
    rois: int = Field(512, gt=0, description="of these, how many train its head")
    blocks: int = Field(6, ge=0, description="DyHead blocks")
    score: float = Field(0.05, ge=0, lt=1, description="least score of a detection")
    nms: float = Field(0.5, gt=0, le=1, description="overlap at which two boxes of a class are one object")
    detections: int = Field(100, gt=0, description="most detections in an image")
    max_dets: tuple[int, int, int] = Field(
        (1, 10, 100), description="detections of a class and image that recalls count; the AP counts 100"
    )
    train_empty: bool = Field(True, description="train on images without objects too")

    @pydantic.model_validator(mode="after")
    def _sizes(self) -> Self:
        if not self.min_sizes or min(self.min_sizes) < 1:
            raise ValueError(f"min_sizes={list(self.min_sizes)}: give at least one side above 0")
        if list(self.max_dets) != sorted(set(self.max_dets)) or self.max_dets[0] < 1:
            raise ValueError(f"max_dets={list(self.max_dets)}: give three rising numbers")
        return self


class SegmentConfig(DenseConfig):
    """A class for each pixel; IoU and F1 from the counts of the whole split."""

    kind: Literal["segment"] = "segment"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "loveda": {
            "model": "psanet",
            "lr": 0.01,
            "weight_decay": 5e-4,
            "schedule": "poly",
            "min_lr": 1e-4,
            "train_batch": 16,
            "epochs": 507.5,  # 80,000 steps of 16 images, of 2,522
            "size": 512,
            "scale_low": 0.5,
            "scale_high": 2.0,
            "most_of_one": 0.75,
            "norm": "train",
        },
        "spacenet": {
            "model": "psanet",
            "lr": 0.01,
            "schedule": "poly",
            "train_batch": 16,
            "epochs": 100,
            "norm": "train",
        },
        "floodnet": {
            "model": "unet",
            "loss": "dice",
            "optimizer": "adam",
            "weight_decay": 0.0,
            "lr": 1e-4,
            "schedule": "step",
            "milestones": (31,),
            "train_batch": 8,
            "epochs": 40,
            "size": 480,
            "norm": "train",
        },
    }
    preset: Literal["none", "loveda", "spacenet", "floodnet"] = Field(
        "none",
        description="loveda: mmsegmentation's recipe without its photometric distortion (that GeRSP used it is not "
        "confirmed); spacenet: PSANet as geography-aware-ssl reports it (from memory of the paper, not confirmed); "
        "floodnet: U-Net with Dice loss of sn7-vicreg, without its colour augmentation. Any option given overrides the preset",
    )
    model: Literal["unet", "upernet", "deeplab", "psanet"] = Field(
        "unet", description="head; deeplab (v3+) and psanet dilate a ResNet to stride 8"
    )
    loss: Literal["ce", "dice"] = Field(
        "ce", description="cross-entropy of pixels, or soft Dice of classes above 0"
    )
    aux: float = Field(0.4, ge=0, description="weight of a plain head on layer 3 in training; unet has none")
    scale_low: float = Field(1.0, gt=0, description="least factor by which training images are resized")
    scale_high: float = Field(1.0, gt=0, description="largest factor")
    most_of_one: float = Field(
        1.0, gt=0, le=1, description="share of a training crop that one class may cover; ten crops are tried"
    )
    test: Literal["auto", "whole", "windows"] = Field(
        "auto",
        description="whole images, or the mean of overlapping windows of `size`; auto: windows for psanet and ViTs, which "
        "know one size",
    )
    lr: float = Field(0.01, gt=0, description="peak learning rate, not scaled by the batch")
    schedule: Literal["step", "poly", "exponential", "cosine", "constant"] = Field(
        "poly",
        description="course of the rate; step: times `gamma` at each milestone, exponential: each epoch",
    )

    @pydantic.model_validator(mode="after")
    def _scales(self) -> Self:
        if self.scale_low > self.scale_high:
            raise ValueError(f"scale_low={self.scale_low:g} is above scale_high={self.scale_high:g}")
        return self


class ChangeConfig(DenseConfig):
    """What changed between two dates; the original decoder of Seasonal Contrast on a frozen encoder by default."""

    kind: Literal["change"] = "change"
    preset: Literal["seco"] = Field(
        "seco",
        description="the defaults: SeCo's OSCD protocol (frozen encoder, Adam 1e-3, rate times 0.95 each epoch, 100 epochs, "
        "96 px). Its own batch norms moved in training, ours stay",
    )
    size: int | None = Field(
        96, gt=0, description="side of the training crops and of a random ViT's input, pixels"
    )
    epochs: float = Field(100, gt=0, description="how often each training image is seen")
    train_batch: int = Field(32, gt=0, description="pairs a step over all ranks")
    trainable: int = Field(
        0, ge=0, le=5, description="layers of a ResNet that are trained, from the end; 0: frozen"
    )
    optimizer: Literal["sgd", "adam"] = Field("adam", description="adam: weight decay as L2, as torch's Adam")
    lr: float = Field(1e-3, gt=0, description="peak learning rate, not scaled by the batch")
    schedule: Literal["step", "poly", "exponential", "cosine", "constant"] = Field(
        "exponential", description="course of the rate; exponential: times `gamma` each epoch"
    )
    gamma: float = Field(0.95, gt=0, le=1, description="of `step` and `exponential`")
    turns: bool = Field(True, description="quarter turns, each as likely")
    threshold: float = Field(0.5, gt=0, lt=1, description="probability from which a pixel has changed")
    positive_weight: float = Field(1.0, gt=0, description="weight of changed pixels in the loss")
    compat_batch: int = Field(
        32,
        gt=0,
        description="tiles a batch of the score as SeCo computes it, the mean over shuffled whole batches",
    )
