"""Our encoders out: others get the same features from them; what others do not have is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from rstrain.cli import app
from rstrain.interop.backbone import BackboneFacts, load_backbone, save_backbone
from rstrain.interop.convert import convert
from rstrain.interop.export import export
from rstrain.interop.families import FAMILIES
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError

torch.set_num_threads(1)


def test_a_resnet50_of_ours_goes_out_and_back(tmp_path: Path) -> None:
    ours = tmp_path / "run" / "backbone.safetensors"
    backbone = build_backbone("resnet50", seed=5)
    save_backbone(ours, backbone, BackboneFacts(arch="resnet50", method="moco"))
    state = backbone.net.state_dict()
    done = export(ours.parent, tmp_path / "plain.safetensors", to="torchvision")
    theirs = torchvision.models.resnet50(weights=None)
    theirs.fc = nn.Identity()
    theirs.load_state_dict(load_file(done.out))
    export(ours, tmp_path / "plain.pth", to="timm")
    model = timm.create_model("resnet50", num_classes=0)
    model.load_state_dict(torch.load(tmp_path / "plain.pth"))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = backbone.eval()(images)
        for net in (theirs.eval(), model.eval()):
            torch.testing.assert_close(net(images), expected)
    card = done.card.read_text()
    assert "moco" in card and "torchvision.models.get_model" in card
    convert(tmp_path / "plain.pth", tmp_path / "back.safetensors", family="torchvision")
    for copy, method in (
        ("back", "torchvision"),
        ("plain", "moco"),
    ):  # the header of ours goes with the weights
        back, facts = load_backbone(tmp_path / f"{copy}.safetensors")
        assert (facts.arch, facts.method) == ("resnet50", method)
        assert all(torch.equal(t, state[name]) for name, t in back.net.state_dict().items())


def test_export_refuses_what_others_do_not_have(tmp_path: Path) -> None:
    def saved(name: str, arch: str, **facts: Any) -> Path:
        made = BackboneFacts(arch=arch, **facts)
        save_backbone(
            tmp_path / name, build_backbone(arch, made.bands, stem=made.stem, size_px=made.size), made
        )
        return tmp_path / name

    small = saved("small.safetensors", "resnet18", stem="small", size=64)
    with pytest.raises(ConfigError, match="stem=small is ours alone"):
        export(small, tmp_path / "a.pth")
    bands = saved("bands.safetensors", "resnet18", bands=2, mean=(0.0, 0.0), std=(1.0, 1.0))
    with pytest.raises(ConfigError, match="torchvision has no resnet18 with 2 bands: export --to timm"):
        export(bands, tmp_path / "a.pth")
    assert export(bands, tmp_path / "a.pth", to="timm").out.exists()
    transformer = saved("vit.safetensors", "timm:vit_tiny_patch16_224", size=32)
    with pytest.raises(ConfigError, match="torchvision has no timm:vit_tiny_patch16_224"):
        export(transformer, tmp_path / "b.pth")
    done = export(transformer, tmp_path / "b.pth", to="timm")
    assert "img_size=32" in done.card.read_text()
    with pytest.raises(ConfigError, match=r"end the name in .safetensors or .pth"):
        export(transformer, tmp_path / "b.bin", to="timm")


def test_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = json.loads(run(app, ["convert", "--list", "--json"], catch_exceptions=False).stdout)
    assert listed.keys() == FAMILIES.keys()
    assert run(app, ["convert"]).exit_code == 2
    torch.save(build_backbone("resnet18").net.state_dict(), tmp_path / "a.pth")
    out = tmp_path / "a.safetensors"
    command = ["convert", str(tmp_path / "a.pth"), str(out), "--from", "cmid", "--json"]
    done = json.loads(run(app, command, catch_exceptions=False).stdout)
    assert (done["family"], done["tensors"], done["facts"]["features"]) == ("cmid", 120, 512)
    text = run(
        app, ["export", str(out), str(tmp_path / "b.pth"), "--to", "timm"], catch_exceptions=False
    ).stdout
    assert "b.pth.md shows how to load it" in text
