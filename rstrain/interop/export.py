"""Our backbones -> what others load: weights for torchvision and timm, a graph for ONNX; with a card that says what they are."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rstrain.interop.backbone import BackboneFacts, header, load_backbone
from rstrain.interop.families import Target
from rstrain.interop.outputs import write_new
from shards.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from rstrain.models.backbone import Backbone


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
        out: file to write, .safetensors or .pth, or .onnx; the card goes beside it, with .md added.
        to: whose model shall load it strictly; onnx: a graph that onnxruntime runs.

    Raises:
        CheckpointError: `source` is missing or damaged.
        ConfigError: `to` has no such model, the name does not end as the kind of file does, or something else is there.
        ExportError: an ONNX graph that computes something else.
    """
    endings = (".onnx",) if to == "onnx" else (".safetensors", ".pth")
    if out.suffix not in endings:
        raise ConfigError(f"{out}: end the name in {' or '.join(endings)}")
    backbone, facts = load_backbone(source)
    if to == "onnx":
        return _as_graph(backbone, facts, out)
    weights = {name: t.detach().cpu().contiguous().clone() for name, t in backbone.net.state_dict().items()}
    theirs, recipe = _stock(facts, to)
    _check(weights, theirs, facts, to)
    card = out.with_name(f"{out.name}.md")
    text = _card(out, facts, to, _loading(out, facts, to, recipe))
    write_new({out: _bytes(weights, out.suffix, facts), card: text.encode()})
    return Export(out, card, to, facts)


def _as_graph(backbone: Backbone, facts: BackboneFacts, out: Path) -> Export:
    from rstrain.interop.onnx import onnx_bytes

    data, difference = onnx_bytes(backbone, facts)
    card = out.with_name(f"{out.name}.md")
    feed = '{"images": images}'
    if facts.arch.startswith("gsd:"):
        feed = '{"images": images, "resolution": resolution}  # [B]: metres a pixel, 1.0 where not known'
    loading = (
        f'import onnxruntime\n\nsession = onnxruntime.InferenceSession("{out.name}")\nfeed = {feed}\n'
        f'(features,) = session.run(["features"], feed)  # [B, {facts.features}], float32'
    )
    write_new({out: data, card: _card(out, facts, "onnx", loading, difference).encode()})
    return Export(out, card, "onnx", facts)


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

    from rstrain.models.backbone import fixed_size

    name = facts.arch.removeprefix("timm:")
    if not timm.is_model(name):
        raise ConfigError(f"timm has no {name}: export --to torchvision instead")
    options = {"num_classes": 0, "in_chans": facts.bands}
    if fixed_size(f"timm:{name}"):
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


def _bytes(weights: dict[str, Tensor], suffix: str, facts: BackboneFacts) -> bytes:
    if suffix == ".safetensors":
        import safetensors.torch

        return _sorted(safetensors.torch.save(weights, metadata=header(facts) | {"format": "pt"}))
    import torch

    buffer = io.BytesIO()
    torch.save(weights, buffer)
    return buffer.getvalue()


def _sorted(data: bytes) -> bytes:
    """A safetensors file with its metadata in order, which the library leaves to chance."""
    end = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:end])
    head["__metadata__"] = dict(sorted(head["__metadata__"].items()))
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode().ljust(end - 8)
    assert len(text) == end - 8, "the same header, in another order"
    return data[:8] + text + data[end:]


def _loading(out: Path, facts: BackboneFacts, to: Target, recipe: str) -> str:
    load = "safetensors.torch.load_file" if out.suffix == ".safetensors" else "torch.load"
    modules = [*(["safetensors.torch"] if out.suffix == ".safetensors" else []), to, "torch"]
    imports = "\n".join(f"import {module}" for module in sorted(modules))
    return (
        f"{imports}\n\n{recipe}\n"
        f'net.load_state_dict({load}("{out.name}"))\nfeatures = net.eval()(images)  # [B, {facts.features}]'
    )


def _card(out: Path, facts: BackboneFacts, to: Target, loading: str, difference: float | None = None) -> str:
    names = "A graph of an encoder" if to == "onnx" else "Weights of an encoder"
    tail = "" if to == "onnx" else f", with the names of {to}"
    checked = "" if difference is None else f" Its features differ from torch's by at most {difference:.1g}."
    bands = ", ".join(facts.band_names) or f"{facts.bands}, in the order of training"
    levels = "values 0 to 255"
    if facts.low:
        ends = zip(facts.low, facts.high, strict=True)
        levels = "numbers brought to 0 … 255 (" + ", ".join(f"{a:g} … {b:g}" for a, b in ends) + ")"
    rows = {
        "architecture": facts.arch,
        "method": facts.method,
        "features": facts.features,
        "bands": bands,
        "input": f"{facts.size} x {facts.size} px, {levels}, minus the mean, divided by the standard deviation",
        "mean": ", ".join(f"{v:g}" for v in facts.mean),
        "standard deviation": ", ".join(f"{v:g}" for v in facts.std),
        "metres a pixel in training": "not known" if facts.gsd_m is None else f"{facts.gsd_m:g}",
        "training data": facts.dataset_name or "not known",
        "licence of the data": facts.licence or "not stated",
        "attribution": facts.attribution or "none asked for",
        "data fingerprint": facts.dataset_fingerprint or "not known",
        "training checkpoint, sha256": facts.checkpoint_digest or "not known",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return (
        f"# {out.name}\n\n{names} without a classifier{tail}.{checked}\n\n"
        f"| | |\n|---|---|\n{table}\n\n```python\n{loading}\n```\n"
    )
