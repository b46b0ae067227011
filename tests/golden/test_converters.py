"""Names in checkpoints: what the original converters make of them, and what ours does (README of golden/gersp)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from rstrain.interop.backbone import load_backbone
from rstrain.interop.compat import openmmlab_names
from rstrain.interop.convert import convert
from rstrain.interop.families import select, unwrapped

OURS = {"gersp": "gersp", "cmid": "cmid", "geo_aware": "geoaware"}


@pytest.mark.family("gersp/converter_keys")
def test_names_of_the_original_converters(case: Path) -> None:
    for converter, entry in json.loads(Path(f"{case}.json").read_text()).items():
        made = openmmlab_names(converter, entry["input_keys"])
        assert list(made) == entry["output_keys"], converter
        assert list(made.values()) == entry["source_of_output_key"], converter


@pytest.mark.family("gersp/converter_keys")
def test_our_names_come_from_the_same_tensors(case: Path) -> None:
    for converter, entry in json.loads(Path(f"{case}.json").read_text()).items():
        names = unwrapped(entry["input_keys"])
        chosen = select(OURS[converter], names)
        theirs = dict(zip(entry["output_keys"], entry["source_of_output_key"], strict=True))
        for name, key in chosen.source.items():
            assert theirs[f"backbone.{name}"] == names[key], f"{converter} {name}"
        rest = {name.removeprefix("backbone.") for name in theirs} - chosen.source.keys()
        assert all(name.startswith("fc.") for name in rest), f"{converter}: only a head is left out"
        again = select(OURS[converter], entry["output_keys"])
        assert again.source.keys() == chosen.source.keys(), "a converted file gives the same"


@pytest.mark.family("gersp/state_dict_shapes")
def test_full_model_of_the_recorded_shapes_converts(case: Path, tmp_path: Path) -> None:
    shapes = json.loads(Path(f"{case}.json").read_text())["shapes"]
    state = {
        name: torch.zeros(shape, dtype=torch.int64 if "num_batches" in name else torch.float32)
        for name, shape in shapes.items()
    }
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.fill_(1.0 if name.startswith(("backbone.", "encoder_q.")) else 2.0)
    torch.save({"state_dict": state, "meta": {"epoch": 100}}, tmp_path / "epoch_100.pth")
    done = convert(tmp_path / "epoch_100.pth", tmp_path / "gersp.safetensors")
    backbone, facts = load_backbone(tmp_path / "gersp.safetensors")
    assert (done.family, facts.arch, facts.method, facts.features) == ("gersp", "resnet50", "gersp", 2048)
    assert done.tensors == len(backbone.net.state_dict()) == 318
    assert any("took the student" in note for note in done.notes)
    weights = [p for p in backbone.parameters() if p.is_floating_point()]
    assert all(bool((p == 1).all()) for p in weights), "no tensor of the teacher"
