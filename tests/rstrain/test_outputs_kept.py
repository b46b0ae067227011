"""What convert and export write stays: the same again changes nothing, and nothing else takes its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rstrain.interop.backbone import BackboneFacts, save_backbone
from rstrain.interop.convert import convert
from rstrain.interop.export import export
from rstrain.interop.outputs import write_new
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError

torch.set_num_threads(1)
ANOTHER = r"is there already and is not what would be written: choose another name, or remove it"


def test_a_converted_file_is_not_replaced(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    torch.save(build_backbone("resnet18", seed=1).net.state_dict(), source)
    convert(source, out, family="torchvision")
    before = out.read_bytes()
    assert convert(source, out, family="torchvision").tensors == 120
    torch.save(build_backbone("resnet18", seed=2).net.state_dict(), source)
    with pytest.raises(ConfigError, match=ANOTHER):
        convert(source, out, family="torchvision")
    assert out.read_bytes() == before


@pytest.mark.parametrize("name", ["plain.safetensors", "plain.pth"])
def test_an_exported_file_and_its_card_are_not_replaced(tmp_path: Path, name: str) -> None:
    run, out = tmp_path / "backbone.safetensors", tmp_path / name
    save_backbone(run, build_backbone("resnet18", seed=1), BackboneFacts(arch="resnet18", licence="CC-BY ü"))
    card = export(run, out).card
    before = out.read_bytes()
    for _ in range(6):  # the order of a header's metadata would be a matter of chance
        export(run, out)
    with pytest.raises(ConfigError, match=rf"backbone\.safetensors: {ANOTHER}"):
        export(run, run)
    out.unlink()
    card.write_text("written by hand")
    with pytest.raises(ConfigError, match=rf"{name}\.md: {ANOTHER}"):
        export(run, out)
    assert not out.exists() and card.read_text() == "written by hand"
    card.unlink()
    export(run, out)
    assert out.read_bytes() == before


def test_files_of_a_home_folder_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands a quoted tilde; and a file that is the same is not written again."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_new({Path("~/a.pth"): b"first"})
    before = (tmp_path / "a.pth").stat()
    with pytest.raises(ConfigError, match=rf"a\.pth: {ANOTHER}"):
        write_new({Path("~/b.md"): b"", Path("~/a.pth"): b"second"})
    write_new({Path("~/a.pth"): b"first"})
    after = (tmp_path / "a.pth").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]
