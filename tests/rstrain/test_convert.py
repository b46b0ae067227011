"""Checkpoints of others in: every layout, and every way in which a file can be wrong."""

from __future__ import annotations

import argparse
import fractions
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rstrain.interop.backbone import BackboneFacts, CheckpointError, load_backbone, read_facts, save_backbone
from rstrain.interop.convert import convert
from rstrain.interop.export import export
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError

torch.set_num_threads(1)
State = dict[str, Tensor]


def resnet18(seed: int = 3) -> State:
    return build_backbone("resnet18", seed=seed).net.state_dict()


def vit(size: int = 32, seed: int = 3) -> State:
    return build_backbone("timm:vit_tiny_patch16_224", size_px=size, seed=seed).net.state_dict()


def beginning(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def counted(state: State) -> State:
    number = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    parts = {name: name.partition(".") for name in state}
    return {f"{number[first]}.{rest}": state[name] for name, (first, _, rest) in parts.items()}


def some(*names: str) -> State:
    return {name: torch.zeros(2, 2) for name in names}


def momentum_file(wrapper: str) -> State:
    heads = some("fc.0.weight", "fc.2.weight")
    student, teacher = resnet18() | heads, resnet18(9) | heads
    return beginning(
        wrapper,
        beginning("encoder_q.", student) | beginning("encoder_k.", teacher) | some("queue", "queue_ptr"),
    )


def gersp_file() -> State:
    return (
        beginning("encoder_q.", resnet18())
        | beginning("encoder_k.", resnet18(9))
        | beginning("backbone.", resnet18())
        | some("queue", "proj_q.projector.0.weight", "proj_k.projector.0.weight", "pred_q.0.weight")
        | some("neck.projector.0.weight")
    )


def options() -> argparse.Namespace:
    return argparse.Namespace(lr=1e-3, output=Path("runs/a"), root=PurePosixPath("/data"))


FILES: dict[str, tuple[str, Callable[[], Any]]] = {
    "moco": ("moco", lambda: {"state_dict": momentum_file("module."), "epoch": 200, "arch": "resnet18"}),
    "geoaware": (
        "geoaware",
        lambda: {
            "state_dict": momentum_file("module."),
            "geo_dict": some("module.layers.1.weight"),
        },
    ),
    "geoaware converted": (
        "geoaware",
        lambda: {"state_dict": beginning("backbone.", resnet18() | some("fc.0.weight", "fc.2.weight"))},
    ),
    "seco": (
        "seco",
        lambda: {
            "state_dict": beginning("encoder_q.", counted(resnet18()))
            | beginning("encoder_k.", counted(resnet18(9)))
            | some("heads_q.0.0.weight", "heads_k.2.2.weight", "queue", "queue_ptr"),
            "hyper_parameters": {"emb_dim": 128},
        },
    ),
    "vicreg": (
        "vicreg",
        lambda: {
            "model": beginning(
                "module.", beginning("backbone.", resnet18()) | some("projector.0.weight", "projector.3.bias")
            ),
            "epoch": 3,
            "best": np.float64(0.5),
        },
    ),
    "vicreg backbone": ("vicreg", resnet18),
    "gersp": ("gersp", lambda: {"state_dict": gersp_file(), "meta": {"epoch": 100}}),
    "gersp converted": ("gersp", lambda: {"state_dict": beginning("backbone.", resnet18())}),
    "cmid": ("cmid", resnet18),
    "cmid whole": (
        "cmid",
        lambda: {
            "model": beginning("online_encoder.model.", resnet18())
            | beginning("target_encoder.model.", resnet18(9))
            | some("online_encoder.projector.weight"),
        },
    ),
    "torchvision": (
        "torchvision",
        lambda: resnet18() | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)},
    ),
    "mae": (
        "mae",
        lambda: {"model": vit() | some("mask_token", "decoder_pred.weight", "decoder_blocks.0.norm1.weight")},
    ),
    "scalemae": (
        "scalemae",
        lambda: {
            "model": vit() | some("mask_token_decoder", "fpn.fpn1.0.weight", "fcn_high.proj.weight"),
            "args": options(),
        },
    ),
    "timm": ("timm", lambda: vit() | {"head.weight": torch.zeros(5, 192), "head.bias": torch.zeros(5)}),
}
GUESSED = {"seco", "vicreg", "gersp", "cmid whole", "torchvision", "mae", "scalemae", "geoaware converted"}


@pytest.mark.parametrize("name", FILES)
def test_every_layout_gives_the_student_exactly(name: str, tmp_path: Path) -> None:
    family, make = FILES[name]
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(make(), source)
    transformer = family in ("mae", "scalemae", "timm")
    arch = "timm:vit_tiny_patch16_224" if transformer else None
    done = convert(source, out, family=None if name in GUESSED else family, arch=arch)
    assert done.family == family
    backbone, facts = load_backbone(out)
    assert facts.arch == (arch or "resnet18") and facts.method == family
    assert facts.size == (32 if transformer else 224)
    assert len(facts.checkpoint_digest) == 64
    expected = vit() if transformer else resnet18()
    got = backbone.net.state_dict()
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[key], expected[key]) for key in got), "the teacher differs in its seed"
    teacher = any("took the student" in note for note in done.notes)
    assert teacher == (name in ("moco", "geoaware", "seco", "gersp"))


def test_a_family_is_guessed_only_when_one_fits(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    save_file(resnet18(), source)
    with pytest.raises(ConfigError, match="could be those of vicreg, cmid, torchvision: say whose it is"):
        convert(source, out)
    torch.save({"state_dict": momentum_file("module.")}, tmp_path / "moco.pth")
    with pytest.raises(ConfigError, match="could be those of moco, geoaware"):
        convert(tmp_path / "moco.pth", out)
    save_file(vit(), source)
    with pytest.raises(ConfigError, match="could be those of scalemae, mae, timm"):
        convert(source, out)
    assert not out.exists()


def test_positions_are_fitted_to_another_size(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save({"model": vit(32)}, source)
    done = convert(source, out, family="mae", arch="timm:vit_tiny_patch16_224", size=64)
    assert any("from 2 x 2 to 4 x 4" in note for note in done.notes)
    backbone, facts = load_backbone(out)
    assert facts.size == 64 and facts.std == BackboneFacts(arch="a").std
    assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, 192)
    with pytest.raises(ConfigError, match="size=60 is not a multiple of the patch of 16 px: use 48"):
        convert(source, out, family="mae", size=60)


def test_scale_mae_needs_no_table(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(FILES["scalemae"][1](), source)
    done = convert(source, out, size=48)
    assert (done.facts.arch, done.facts.size) == ("gsd:vit_tiny_patch16_224", 48)
    assert any("pos_embed" in note for note in done.notes)
    backbone, _ = load_backbone(out)
    assert torch.equal(backbone.net.state_dict()["norm.bias"], vit()["norm.bias"])
    with pytest.raises(ConfigError, match="computes its positions from the ground distance"):
        export(out, tmp_path / "plain.pth", to="timm")
    torch.save({name: t for name, t in vit().items() if name != "pos_embed"}, source)
    other = tmp_path / "other.safetensors"
    assert convert(source, other, family="scalemae").facts.size == 224, "torchgeo stores no table"


def test_scale_is_timms_own_and_asked_for_other_bands(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(vit(224), source)
    timms = tmp_path / "timm.safetensors"
    assert convert(source, timms, family="timm").facts.mean == (127.5, 127.5, 127.5)
    torch.save(build_backbone("resnet18", 4).net.state_dict(), source)
    with pytest.raises(ConfigError, match="for 4 bands, whose scale is not known: give --mean and --std"):
        convert(source, out, family="torchvision")
    with pytest.raises(ConfigError, match="--mean has 2 and --std 2 values, the weights have 4 bands"):
        convert(source, out, family="torchvision", mean=(1, 2), std=(1, 2))
    done = convert(source, out, family="torchvision", mean=(1, 2, 3, 4), std=(5, 6, 7, 8))
    assert (done.facts.bands, read_facts(out).mean) == (4, (1.0, 2.0, 3.0, 4.0))


def test_a_file_that_does_not_fit_names_what_is_wrong(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"

    def refused(state: Any, match: str, **options: Any) -> None:
        torch.save(state, source)
        with pytest.raises(ConfigError, match=match):
            convert(source, out, **{"family": "torchvision", **options})
        assert not out.exists()

    state = resnet18()
    refused(
        some("a.weight", "b.weight", "c", "d"),
        r"should have conv1.\*, but its names are a.weight, b.weight",
    )
    refused(gersp_file(), r"should have encoder_q.0.\*, but .*; --from gersp would fit", family="seco")
    refused(
        {name: t for name, t in state.items() if not name.startswith("layer4.1")},
        r"does not fit resnet18: missing layer4.1.bn1.bias, .* and 9 more",
        arch="resnet18",
    )
    refused(state | some("layer1.9.extra"), r"unknown layer1.9.extra", arch="resnet18")
    refused(state | some("strange.weight"), r"unknown strange.weight")
    refused(state, r"missing layer1.0.bn3.bias, .*; .*layer1.0.conv1.weight is", arch="resnet50")
    refused(
        state | {"conv1.weight": torch.full((64, 3, 7, 7), float("nan"))}, "not all numbers of conv1.weight"
    )
    refused(
        {name: t for name, t in state.items() if not name.startswith("layer2")}, "cannot tell which model"
    )
    refused(state, "unknown architecture 'resnet19'", arch="resnet19")
    refused(state, "family=resnet is not known; known: moco", family="resnet")
    with pytest.raises(ConfigError, match=r"end its name in .safetensors"):
        convert(source, tmp_path / "ours.pth", family="torchvision")


def test_old_files_without_counters_are_taken(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    old = {name: t for name, t in resnet18().items() if "num_batches" not in name}
    torch.save(old, source, _use_new_zipfile_serialization=False)
    assert any("set to 0" in note for note in convert(source, out, family="torchvision").notes)


class Harmless:
    pass


def test_only_listed_classes_are_read_and_none_of_them_runs(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    listed = {"args": options(), "best": np.float32(1), "state_dict": resnet18()}
    torch.save(listed, source)
    convert(source, out, family="torchvision")
    for foreign, name in (
        (Harmless(), "Harmless"),
        (fractions.Fraction(1, 2), "fractions.Fraction"),
        (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
    ):
        torch.save({"state_dict": resnet18(), "extra": foreign}, source)
        with pytest.raises(CheckpointError, match=rf"its pickle names \S*{name}, which is not on the list"):
            convert(source, out, family="torchvision")


def test_unreadable_files(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    with pytest.raises(CheckpointError, match="there is no such file"):
        convert(source, out)
    torch.save(resnet18(), source)
    whole = source.read_bytes()
    for damaged in (b"", b"not a checkpoint", whole[: len(whole) // 2]):
        source.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint of torch"):
            convert(source, out)
    torch.save({"state_dict": {"lr": 0.1}, "epoch": 3}, source)
    with pytest.raises(CheckpointError, match="holds no tensors by name"):
        convert(source, out)
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        convert(tmp_path / "a.safetensors", out)
    save_backbone(out, build_backbone("resnet18"), BackboneFacts(arch="resnet18"))
    with pytest.raises(CheckpointError, match="is a backbone of rstrain already"):
        convert(out, tmp_path / "b.safetensors")
