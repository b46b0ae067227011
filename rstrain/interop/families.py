"""Where the encoder lies in the checkpoints of others: rules on the names of tensors alone, no torch.

A rule is a `Layout`: which beginning the encoder's names have, which beginnings belong to a teacher or to parts that are
left out on purpose, and what the encoder's own names become. `FAMILIES` is the whole table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

Target = Literal["torchvision", "timm", "onnx"]
"""Whose models our backbones can be exported for; onnx is a graph of its own."""

RESNET = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
VIT = ("cls_token", "pos_embed", "patch_embed", "blocks", "norm")
_NO_TEACHER = "\0"
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def _same(name: str) -> str:
    return name


def _from_sequential(name: str) -> str:
    """`0.weight` -> `conv1.weight`: children of a ResNet without its classifier, counted (2 and 3 have no weights)."""
    number, dot, rest = name.partition(".")
    return _SEQUENTIAL.get(number, "?") + dot + rest


@dataclass(frozen=True)
class Layout:
    """One way to write the names; all of them come without the `module.` of a data-parallel wrapper."""

    encoder: str = ""
    """Beginning of the encoder's names, cut off."""
    parts: tuple[str, ...] = RESNET
    """What an encoder's own name may begin with, up to the first dot; empty for anything."""
    head: tuple[str, ...] = ()
    """Likewise for a classifier or projection head inside the encoder, left out."""
    teacher: str = _NO_TEACHER
    """Beginning of the names of a moving average of the encoder."""
    left_out: tuple[str, ...] = ()
    """Beginnings of what is known and not needed; `""` for all that is left."""
    mark: str = ""
    """A beginning that some name has and that tells this layout from others; needed to guess a family."""
    rename: Callable[[str], str] = _same

    @property
    def example(self) -> str:
        """Names that a file of this layout has."""
        if self.rename is not _same:
            return f"{self.mark}*"
        return self.encoder + ("patch_embed.*" if "patch_embed" in self.parts else "conv1.*")

    def select(self, keys: Iterable[str]) -> Selection:
        """Sort all names of a file."""
        out = Selection(self)
        for key in keys:
            part = key.removeprefix(self.encoder).split(".")[0]
            own = key.startswith(self.encoder) and not key.startswith(self.teacher)
            name = self.rename(key.removeprefix(self.encoder))
            if own and (not self.parts or name.split(".")[0] in self.parts):
                out.source[name] = key
            elif own and part in self.head:
                out.head.append(key)
            elif key.startswith(self.teacher):
                out.teacher.append(key)
            elif key.startswith(self.left_out):
                out.left_out[key.split(".")[0]] += 1
            else:
                out.unknown.append(key)
        return out


class Selection:
    """The names of one file as one layout reads them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.source: dict[str, str] = {}
        """Name in torchvision or timm -> name in the file."""
        self.head: list[str] = []
        self.teacher: list[str] = []
        self.left_out: Counter[str] = Counter()
        """First part of a name -> how many."""
        self.unknown: list[str] = []


@dataclass(frozen=True)
class Family:
    """The checkpoints of one system."""

    about: str
    layouts: tuple[Layout, ...]
    vit: str = "timm:"
    """Whose vision transformer fits: timm's with its table of positions, or `gsd:`."""
    size: int = 224
    """Side of the input in pretraining, pixels, where the weights do not tell."""


_MOMENTUM = Layout("encoder_q.", head=("fc",), teacher="encoder_k.", left_out=("queue",))
_GERSP_HEADS = ("neck.", "proj_q.", "proj_k.", "pred_q.", "queue")
_VIT = Layout(parts=VIT, head=("head", "fc_norm"))
_MAE_DECODER = ("mask_token", "decoder_")

FAMILIES: dict[str, Family] = {
    "moco": Family("MoCo v1 and v2, query encoder", (_MOMENTUM,)),
    "geoaware": Family(
        "Geography-Aware SSL (moco, moco_geo, moco_tp, moco_geo+tp), query encoder",
        (_MOMENTUM, Layout("backbone.", head=("fc",), mark="backbone.fc.0.")),
    ),
    "seco": Family(
        "Seasonal Contrast (Lightning), query encoder",
        (
            Layout(
                "encoder_q.",
                teacher="encoder_k.",
                left_out=("heads_q.", "heads_k.", "queue", "non_linear_evaluator.", "classifier."),
                mark="encoder_q.0.",
                rename=_from_sequential,
            ),
        ),
    ),
    "vicreg": Family(
        "VICReg, whole checkpoint or backbone alone",
        (Layout("backbone.", left_out=("projector.",), mark="projector."), Layout()),
    ),
    "scalemae": Family(
        "Scale-MAE encoder",
        (
            Layout(parts=VIT, head=_VIT.head, left_out=(*_MAE_DECODER, "fpn.", "fcn_", "fcn."), mark="fpn."),
            _VIT,
        ),
        vit="gsd:",
    ),
    "gersp": Family(
        "GeRSP student, raw or already converted",
        (
            Layout("backbone.", teacher="encoder_k.", left_out=("encoder_q.", *_GERSP_HEADS), mark="pred_q."),
            Layout("encoder_q.", teacher="encoder_k.", left_out=_GERSP_HEADS, mark="pred_q."),
            Layout("backbone."),
            Layout("student_network.", teacher="teacher_network.", left_out=("student_network_classifier",)),
        ),
    ),
    "cmid": Family(
        "CMID ResNet, backbone alone or whole checkpoint",
        (
            Layout("online_encoder.model.", left_out=("",), mark="online_encoder.model."),
            Layout("backbone."),
            Layout(),
        ),
    ),
    "mae": Family(
        "Masked Autoencoders encoder",
        (Layout(parts=VIT, head=_VIT.head, left_out=_MAE_DECODER, mark="decoder_pred."), _VIT),
    ),
    "torchvision": Family("a ResNet of torchvision, with or without fc", (Layout(head=("fc",)),)),
    "timm": Family("a model of timm; needs --arch timm:NAME", (Layout(parts=()),)),
}

_WRAPPERS = ("module.", "_orig_mod.")


def unwrapped(keys: Collection[str]) -> dict[str, str]:
    """Name without the beginnings that data-parallel and compiled modules give to every name -> name in the file."""
    names = {key: key for key in keys}
    while names and (cut := next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), None)):
        names = {name.removeprefix(cut): key for name, key in names.items()}
    return names


def select(family: str, keys: Collection[str]) -> Selection:
    """The layout of a family that reads the most of the encoder and leaves the fewest names unknown."""
    found = [layout.select(keys) for layout in FAMILIES[family].layouts]
    return max(found, key=lambda s: (bool(s.source), -len(s.unknown), len(s.source)))


def candidates(keys: Collection[str], arch: str | None) -> list[str]:
    """Families that explain every name of a file; more than one where layouts are the same."""
    of_timm = (arch or "").startswith("timm:")
    out: list[str] = []
    for name, family in FAMILIES.items():
        if name == "torchvision" and of_timm:
            continue
        if name == "timm" and not is_vit(keys) and (out or not of_timm):  # any name could be one of timm's
            continue
        if any(_explains(layout, keys) for layout in family.layouts):
            out.append(name)
    return out


def _explains(layout: Layout, keys: Collection[str]) -> bool:
    found = layout.select(keys)
    marked = not layout.mark or any(key.startswith(layout.mark) for key in keys)
    return bool(found.source) and marked and not found.unknown


def is_vit(keys: Iterable[str]) -> bool:
    """Whether all names are those of a plain vision transformer."""
    return all(key.split(".")[0] in (*VIT, *_VIT.head) for key in keys)
