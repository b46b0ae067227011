"""Our backbones -> plain weights that torchvision and timm load strictly, with a card that says what they are."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstrain.interop.backbone import BackboneFacts, load_backbone
from rstrain.interop.families import Target
from shards.errors import ConfigError
from shards.store import Store

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Export:
    """What was written."""

    out: Path
    card: Path
    to: Target
    facts: BackboneFacts

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "out": str(self.out),
            "card": str(self.card),
            "to": self.to,
            "facts": self.facts.to_dict(),
        }

    def summary(self) -> str:
        """For people."""
        return f"{self.out}: {self.facts.arch} for {self.to}\nnext: {self.card} shows how to load it"


def export(source: str | Path, out: Path, *, to: Target = "torchvision") -> Export:
    """Write the weights of a run folder or a backbone file under the names of `to`, without a classifier.

    Args:
        source: run folder or backbone.safetensors.
        out: file to write, .safetensors or .pth; the card goes beside it, with .md added.
        to: whose model shall load it strictly.

    Raises:
        CheckpointError: `source` is missing or damaged.
        ConfigError: `to` has no such model.
    """
    if out.suffix not in (".safetensors", ".pth"):
        raise ConfigError(f"{out}: end the name in .safetensors or .pth")
    backbone, facts = load_backbone(source)
    weights = {name: t.detach().cpu().contiguous().clone() for name, t in backbone.net.state_dict().items()}
    theirs, recipe = _stock(facts, to)
    _check(weights, theirs, facts, to)
    store = Store(out.parent)
    store.write(out.name, _bytes(weights, out.suffix))
    card = out.with_name(f"{out.name}.md")
    store.write(card.name, _card(out, facts, to, recipe).encode())
    return Export(out, card, to, facts)


def _stock(facts: BackboneFacts, to: Target) -> tuple[dict[str, Tensor], str]:
    """State dict of the model of `to` without its classifier, and the Python line that makes it."""
    if facts.stem != "imagenet":
        raise ConfigError(
            f"stem={facts.stem} is ours alone: {to} has no such {facts.arch}; train with --stem imagenet to export it"
        )
    if facts.arch.startswith("gsd:"):
        raise ConfigError(
            f"{facts.arch} computes its positions from the ground distance, as no model of {to} does: use the backbone "
            "file itself"
        )
    if to == "torchvision":
        import torchvision
        from torch import nn

        if ":" in facts.arch or facts.bands != 3:
            raise ConfigError(
                f"torchvision has no {facts.arch} with {facts.bands} bands: export --to timm instead"
            )
        net = torchvision.models.get_model(facts.arch, weights=None)
        net.fc = nn.Identity()
        return net.state_dict(), (
            f'net = torchvision.models.get_model("{facts.arch}", weights=None)\nnet.fc = torch.nn.Identity()'
        )
    import timm

    name = facts.arch.removeprefix("timm:")
    if not timm.is_model(name):
        raise ConfigError(f"timm has no {name}: export --to torchvision instead")
    options = {"num_classes": 0, "in_chans": facts.bands}
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if known is not None and known.fixed_input_size:
        options["img_size"] = facts.size
    net = timm.create_model(name, pretrained=False, **options)
    given = ", ".join(f"{key}={value}" for key, value in options.items())
    return net.state_dict(), f'net = timm.create_model("{name}", {given})'


def _check(weights: dict[str, Tensor], theirs: dict[str, Tensor], facts: BackboneFacts, to: Target) -> None:
    faults = sorted(
        name
        for name in weights.keys() | theirs.keys()
        if name not in weights or name not in theirs or weights[name].shape != theirs[name].shape
    )
    if faults:
        raise ConfigError(
            f"{facts.arch} does not load strictly into {to}'s model: {len(faults)} tensors differ, the first is "
            f"{faults[0]}"
        )


def _bytes(weights: dict[str, Tensor], suffix: str) -> bytes:
    if suffix == ".safetensors":
        import safetensors.torch

        return safetensors.torch.save(weights, metadata={"format": "pt"})
    import torch

    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def _card(out: Path, facts: BackboneFacts, to: Target, recipe: str) -> str:
    load = "safetensors.torch.load_file" if out.suffix == ".safetensors" else "torch.load"
    modules = [*(["safetensors.torch"] if out.suffix == ".safetensors" else []), to, "torch"]
    imports = "\n".join(f"import {module}" for module in sorted(modules))
    bands = ", ".join(facts.band_names) or f"{facts.bands}, in the order of training"
    rows = {
        "architecture": facts.arch,
        "method": facts.method,
        "features": facts.features,
        "bands": bands,
        "input": f"{facts.size} x {facts.size} px, values 0 to 255, minus the mean, divided by the standard deviation",
        "mean": ", ".join(f"{v:g}" for v in facts.mean),
        "standard deviation": ", ".join(f"{v:g}" for v in facts.std),
        "data fingerprint": facts.dataset_fingerprint or "not known",
        "training checkpoint, sha256": facts.checkpoint_digest or "not known",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return (
        f"# {out.name}\n\nWeights of an encoder without a classifier, with the names of {to}.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"```python\n{imports}\n\n{recipe}\n"
        f'net.load_state_dict({load}("{out.name}"))\nfeatures = net.eval()(images)  # [B, {facts.features}]\n```\n'
    )
