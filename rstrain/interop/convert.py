"""Checkpoints of others -> a backbone file of ours. Every tensor is accounted for, or the file is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstrain.data.config import IMAGENET_MEAN, IMAGENET_STD
from rstrain.interop.architecture import Shapes, resnet_name, vit_extra, vit_name, vit_size
from rstrain.interop.backbone import BackboneFacts, backbone_bytes
from rstrain.interop.families import FAMILIES, Selection, candidates, select, unwrapped
from rstrain.interop.outputs import write_new
from rstrain.interop.safe_load import read_tensors
from shards.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from rstrain.models.backbone import Backbone

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Conversion:
    """What was written, and what became of the rest."""

    out: Path
    family: str
    facts: BackboneFacts
    tensors: int
    """Tensors of the encoder that were taken."""
    notes: tuple[str, ...]
    """What was left out or changed, a sentence each."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "out": str(self.out),
            "family": self.family,
            "tensors": self.tensors,
            "facts": self.facts.to_dict(),
            "notes": list(self.notes),
        }

    def summary(self) -> str:
        """For people."""
        f = self.facts
        first = f"{self.out}: {f.arch}, {f.bands} bands, {f.size} px, {self.tensors} tensors of {self.family}"
        return "\n".join([first, *(f"  {note}" for note in self.notes), f"next: {_next(self.out)}"])


def _next(out: Path) -> str:
    return f"rstrain eval knn --checkpoint {out} --data DIR --out knn.json"


def convert(
    source: Path,
    out: Path,
    *,
    family: str | None = None,
    arch: str | None = None,
    size: int | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Conversion:
    """Write the encoder of a checkpoint as `backbone.safetensors` is written; the same call again changes nothing.

    Args:
        source: file of `torch.save` or safetensors; pickles are read through an allow-list.
        out: file to write, .safetensors.
        family: whose checkpoint it is, a key of `FAMILIES`; may be left out where only one fits.
        arch: as `build_backbone` takes it; told from the shapes where it can be.
        size: side of the input, pixels; positions of a vision transformer are interpolated to it.
        mean: of each band, 0 ... 255; by default ImageNet's for 3 bands, and timm's own for `timm`.
        std: likewise.

    Raises:
        CheckpointError: the file cannot be read, or has a pickled class that is not let in.
        ConfigError: no or several families fit, the weights do not fit the model, or something else is at `out`.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out}: the output is a safetensors file; end its name in .safetensors")
    if family is not None and family not in FAMILIES:
        raise ConfigError(f"family={family} is not known; known: {', '.join(FAMILIES)}")
    tensors, notes = read_tensors(source)
    names = unwrapped(tensors)
    family = family or _guess(source, names, arch)
    chosen = select(family, names)
    if not chosen.source:
        raise ConfigError(_nothing(source, family, names))
    weights = {name: tensors[names[key]] for name, key in chosen.source.items()}
    notes += _left_out(chosen)
    shapes = {name: tuple(t.shape) for name, t in weights.items()}
    arch = arch or _arch(source, family, shapes)
    bands, own_size = _bands(arch, shapes), vit_size(shapes) or _timm_size(family, arch)
    facts = BackboneFacts(
        arch=arch,
        bands=bands,
        size=size or own_size or FAMILIES[family].size,
        method=family,
        checkpoint_digest=_digest(source),
        **_scale(family, arch, bands, mean, std),
    )
    _check_patch(facts.size, shapes)
    from rstrain.models.backbone import build_backbone

    backbone = build_backbone(arch, bands, size_px=facts.size)
    notes += _fit(backbone, weights, chosen, f"{source}: read as {family}, it does not fit {arch}")
    write_new({out: backbone_bytes(backbone, facts)})
    facts = facts.model_copy(update={"features": backbone.features})
    return Conversion(out, family, facts, len(chosen.source), tuple(notes))


def _check_patch(size: int, shapes: Shapes) -> None:
    patch = shapes.get("patch_embed.proj.weight", (1,))[-1]
    if size % patch:
        raise ConfigError(
            f"size={size} is not a multiple of the patch of {patch} px: use {size // patch * patch or patch}"
        )


def _guess(source: Path, names: Mapping[str, str], arch: str | None) -> str:
    fitting = candidates(names, arch)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(
            f"{source}: its names could be those of {', '.join(fitting)}: say whose it is with --from"
        )
    raise ConfigError(
        f"{source}: its names are those of no family alone (the first are {_some(names.values())}): say whose it is "
        f"with --from, one of {', '.join(FAMILIES)}"
    )


def _nothing(source: Path, family: str, names: Mapping[str, str]) -> str:
    wanted = dict.fromkeys(layout.example for layout in FAMILIES[family].layouts)
    fitting = candidates(names, None)
    hint = f"; --from {' or '.join(fitting)} would fit" if fitting else ""
    return (
        f"{source}: read as {family}, it should have {' or '.join(wanted)}, but its names are "
        f"{_some(names.values())}{hint}"
    )


def _some(names: Any, count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def _left_out(chosen: Selection) -> list[str]:
    notes = []
    if chosen.teacher:
        notes.append(
            f"the file has a student and a teacher: took the student ({chosen.layout.encoder}*), left the teacher "
            f"({len(chosen.teacher)} tensors of {chosen.layout.teacher}*)"
        )
    if chosen.head:
        notes.append(f"left out the head: {_some(chosen.head)}")
    if chosen.left_out:
        parts = ", ".join(f"{part} ({count})" for part, count in sorted(chosen.left_out.items()))
        notes.append(f"left out: {parts}")
    return notes


def _arch(source: Path, family: str, shapes: Shapes) -> str:
    if found := resnet_name(shapes):
        return f"timm:{found}" if family == "timm" else found
    if found := vit_name(shapes):
        return FAMILIES[family].vit + found
    raise ConfigError(
        f"{source}: cannot tell which model its weights are for: give --arch, for example resnet50 or "
        "timm:vit_large_patch16_224"
    )


def _bands(arch: str, shapes: Shapes) -> int:
    first = "patch_embed.proj" if "patch_embed.proj.weight" in shapes else "conv1"
    if arch.startswith("timm:"):
        first = str(_timm_facts(arch).get("first_conv", first))
    return shapes.get(f"{first}.weight", (0, 3))[1]


def _timm_facts(arch: str) -> dict[str, Any]:
    import timm

    facts = timm.get_pretrained_cfg(arch.removeprefix("timm:"), allow_unregistered=True)
    return {} if facts is None else dict(facts.to_dict())


def _timm_size(family: str, arch: str) -> int | None:
    if family != "timm" or not arch.startswith("timm:"):
        return None
    return int(_timm_facts(arch)["input_size"][-1]) if _timm_facts(arch) else None


def _scale(
    family: str, arch: str, bands: int, mean: Sequence[float], std: Sequence[float]
) -> dict[str, tuple[float, ...]]:
    """What was subtracted and divided by, 0 ... 255."""
    if bool(mean) != bool(std) or (mean and not len(mean) == len(std) == bands):
        raise ConfigError(
            f"--mean has {len(mean)} and --std {len(std)} values, the weights have {bands} bands: give each once a band"
        )
    if mean:
        return {"mean": tuple(mean), "std": tuple(std)}
    if bands != len(IMAGENET_MEAN):
        raise ConfigError(
            f"the weights are for {bands} bands, whose scale is not known: give --mean and --std once a band, as they "
            "were in training, in units of 0 to 255"
        )
    facts = _timm_facts(arch) if family == "timm" and arch.startswith("timm:") else {}
    if "mean" in facts and "std" in facts:
        return {name: tuple(255 * float(v) for v in facts[name]) for name in ("mean", "std")}
    return {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}


def _fit(backbone: Backbone, weights: dict[str, Tensor], chosen: Selection, failed: str) -> list[str]:
    """Load all or nothing; sentences on what had to be changed."""
    import torch

    own = backbone.net.state_dict()
    notes = _timm_head(backbone, weights, own) + _positions(backbone, weights, own)
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    counters = [name for name in missing if name.endswith(_COUNTER)]
    if counters and len(counters) == sum(name.endswith(_COUNTER) for name in own):
        weights |= {
            name: torch.zeros_like(own[name]) for name in counters
        }  # before torch 0.4.1 there were none
        notes.append(f"{len(counters)} counters of batches ({_COUNTER}) are not in the file: set to 0")
        missing = [name for name in missing if name not in counters]
    unknown = [chosen.source[name] for name in unknown] + chosen.unknown
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, the model needs {tuple(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    faults = [
        *([f"missing {_some(missing)}"] if missing else []),
        *([f"unknown {_some(unknown)}"] if unknown else []),
        *([_some(wrong, 1)] if wrong else []),
    ]
    if faults:
        raise ConfigError(f"{failed}: {'; '.join(faults)}; try another --arch or --from")
    bad = [n for n, t in weights.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    if bad:
        raise ConfigError(f"{failed}: not all numbers of {_some(bad)} are finite; use an earlier checkpoint")
    backbone.net.load_state_dict(weights)
    return notes


def _timm_head(backbone: Backbone, weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    if not backbone.arch.startswith("timm:"):
        return []
    names = _timm_facts(backbone.arch).get("classifier") or ()
    heads = (names,) if isinstance(names, str) else tuple(names)
    gone = [n for n in weights if n not in own and n.startswith(tuple(f"{head}." for head in heads))]
    for name in gone:
        del weights[name]
    return [f"left out the head: {_some(gone)}"] if gone else []


def _positions(backbone: Backbone, weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    from rstrain.models.positions import interpolate_positions

    table, wanted = weights.get("pos_embed"), own.get("pos_embed")
    if table is None or table.ndim != 3:
        return []
    if wanted is None:
        if not backbone.arch.startswith("gsd:"):
            return []
        del weights["pos_embed"]
        return ["left out pos_embed: the model computes its positions from the ground distance"]
    if wanted.shape == table.shape or wanted.shape[-1] != table.shape[-1]:
        return []
    shapes = {name: tuple(t.shape) for name, t in weights.items()}
    extra = vit_extra(shapes)
    grid = round((wanted.shape[1] - extra) ** 0.5)
    weights["pos_embed"] = interpolate_positions(table, grid, extra=extra)
    old = round((table.shape[1] - extra) ** 0.5)
    return [f"positions interpolated from {old} x {old} to {grid} x {grid} patches (bicubic)"]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
