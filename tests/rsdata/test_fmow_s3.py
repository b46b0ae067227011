"""fMoW from its bucket: the same bytes as from a folder through faults and a kill, and each failure with its class."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from served_planet import made, start, stats

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sandbox import hosts
from rsdata.sandbox.fmow_bucket import write_fmow_bucket
from rsdata.sandbox.serve import sandbox
from rsdata.sources.fmow import FMoW
from shards.errors import UserError
from shards.verify import verify

PREFIX = "spacenet-dataset/Hosted-Datasets/fmow/fmow-rgb"
ALL = ("train", "val", "test", "seq")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bucket's tree on this machine, with a truncated image."""
    folder = tmp_path_factory.mktemp("bucket") / "fmow-rgb"
    write_fmow_bucket(folder, 0, places=18, classes=3, size_px=40, max_views=3)
    broken = sorted(folder.glob("train/*/*/*_rgb.jpg"))[-1]
    broken.write_bytes(broken.read_bytes()[:-200])
    return folder


@contextmanager
def bucket(root: Path, *faults: str, latency: float = 0.0) -> Iterator[tuple[str, Path]]:
    """Base URL of a planet whose bucket holds a copy of the tree, and the folder of that copy."""
    served: list[Path] = []

    def copy(folder: Path, seed: int) -> None:
        shutil.copytree(root, folder, dirs_exist_ok=True)
        served.append(folder)

    routes = hosts.routes({PREFIX: copy})
    with sandbox(faults=faults, latency=latency, routes=routes) as url:
        forest_is_planted(url)
        yield url, served[0]


def forest_is_planted(url: str) -> None:
    from urllib.request import urlopen

    with urlopen(f"{url}/files/{PREFIX}/manifest.json.bz2") as answer:
        answer.read()


def options(url: str, cache: Path, **more: Any) -> dict[str, Any]:
    return {"root": f"s3://{PREFIX}", "endpoint": f"{url}/s3", "cache": cache, "subsets": ALL} | more


def test_the_bytes_are_those_of_a_folder(root: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    truth = root / "groundtruth.tar.bz2"
    make_plan(FMoW.build(root=root, metadata_root=truth, cache=tmp_path / "a", subsets=ALL), here)
    assert build(here, workers=0).failures == 3
    with bucket(root, "429=0.1", "500=0.1", "cut=0.1") as (url, _):
        make_plan(FMoW.build(**options(url, tmp_path / "b")), there)
        build(there, workers=0)
        assert set(stats(url)["faults"]) == {"429", "500", "cut"}
    assert verify(there).ok
    ours, theirs = made(there), made(here)
    assert {n: d for n, d in ours.items() if "failures" not in n} == {
        n: d for n, d in theirs.items() if "failures" not in n
    }
    assert _failures(there) == _failures(here)
    assert {row[1] for row in _failures(there).values()} == {"invalid"}


def test_a_killed_build_ends_with_the_same_bytes(root: Path, tmp_path: Path) -> None:
    with bucket(root, latency=0.05) as (url, _):
        sources = FMoW.build(**options(url, tmp_path / "cache", samples_per_shard=2, threads=2))
        for out in (tmp_path / "whole", tmp_path / "killed"):
            make_plan(sources, out)
        build(tmp_path / "whole", workers=0)
        process = start("build", tmp_path / "killed", "--workers", 0)
        while not list((tmp_path / "killed" / "tasks").glob("*.json")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "killed" / "dataset.json").exists(), "it was at work"
        build(tmp_path / "killed", workers=0)
    kept = [
        {n: d for n, d in made(tmp_path / name).items() if "failures" not in n}
        for name in ("whole", "killed")
    ]
    assert kept[0] == kept[1]


def test_each_failure_has_its_class(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = sorted(path.relative_to(root).as_posix() for path in root.glob("val/*/*/*_rgb.jpg"))
    gone, changed, refused = expected = dict(zip(images[::2], ("gone", "invalid", "refused"), strict=False))
    with bucket(root, f"403@{refused}=1") as (url, served):
        make_plan(FMoW.build(**options(url, tmp_path / "cache", subsets=["val"])), out)
        (served / gone).unlink()
        (served / changed).write_bytes(b"another image")
        build(out, workers=0)
    assert verify(out).ok
    found = _failures(out)
    for name, kind in expected.items():
        item = name if name in found else name.rpartition("/")[0]  # of a place with one view the place fails
        assert found[item][1] == kind, (name, found)


def _failures(out: Path) -> dict[str, tuple[str, str, str]]:
    rows = pq.read_table(out / "failures.parquet").to_pylist()
    return {row["item"]: (row["stage"], row["class"], row["reason"]) for row in rows}


def test_a_listing_is_asked_for_once_and_only_what_is_needed(root: Path, tmp_path: Path) -> None:
    with bucket(root) as (url, _):
        config = FMoW.build(**options(url, tmp_path / "cache", subsets=["train"], classes=["airport"]))
        plan = make_plan(config, tmp_path / "a")
        asked = stats(url)["requests"]
        make_plan(config, tmp_path / "b")
        assert stats(url)["requests"] == asked + 1, "whether the ground truth has changed"
        bare = make_plan(
            config.model_copy(update={"manifest": f"s3://{PREFIX}/manifest.json.bz2"}), tmp_path / "f"
        ).info
        assert bare.bytes is None and bare.items == plan.info.items, "this manifest tells no sizes"
        listing = pq.read_table(next((tmp_path / "cache").glob("fmow-listing-*.parquet")))
        assert all(path.startswith("train/airport/") for path in listing["path"].to_pylist())
        with pytest.raises(UserError, match="has nothing in train/"):
            make_plan(
                FMoW.build(**options(url, tmp_path / "c", root="s3://spacenet-dataset/Hosted-Datasets/fmow",
                    metadata_root=root / "groundtruth.tar.bz2", subsets=["train"])), tmp_path / "d",
            )  # fmt: skip
    assert plan.info.classes == make_plan(
        FMoW.build(root=root, metadata_root=root / "groundtruth.tar.bz2", cache=tmp_path / "cache", subsets=["train"]),
        tmp_path / "e",
    ).info.classes, "labels are those of all classes"  # fmt: skip


def test_manifests_of_every_form_list_the_same(root: Path, tmp_path: Path) -> None:
    names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()]
    sizes = [(root / name).stat().st_size for name in names]
    lines = [
        f"2017-11-01 12:00:00 {size:>10} Hosted-Datasets/fmow/fmow-rgb/{n}"
        for n, size in zip(names, sizes, strict=True)
    ]
    (tmp_path / "ls.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "names.txt").write_text("\n".join(names))
    import pyarrow as pa

    pq.write_table(pa.table({"path": names, "size": sizes}), tmp_path / "table.parquet")
    digests = []
    for manifest in ("ls.txt", "names.txt", "table.parquet", root / "manifest.json.bz2", None):
        config = FMoW.build(
            root=root,
            manifest=manifest if manifest is None else tmp_path / manifest,
            metadata_root=root / "groundtruth.tar.bz2",
            cache=tmp_path / "cache",
            subsets=ALL,
            samples_per_shard=5,
        )
        digests.append(make_plan(config, tmp_path / f"out-{len(digests)}").info.plan_digest)
    assert len(set(digests)) == 1
    (tmp_path / "bad.json").write_text('["a/b.jpg"]')
    with pytest.raises(UserError, match="names no file of fMoW"):
        FMoW.build(root=root, manifest=tmp_path / "bad.json").listing()
