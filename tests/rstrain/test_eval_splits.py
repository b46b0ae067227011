"""What an evaluation learns from and scores: lists, a share split off, shares of the labels; and what leaks between sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from builders import Place, build_set, pattern
from rstrain.evals.base import run_eval
from rstrain.evals.config import EvalConfig, KnnConfig
from rstrain.evals.leakage import hashes_of
from rstrain.evals.splits import fraction_of, open_splits
from shards.errors import ConfigError, ShardError
from shards.index import Index

SMALL = {"arch": "resnet18", "size": 32, "device": "cpu", "workers": 0}


def config(data: Path, **changes: Any) -> EvalConfig:
    return KnnConfig.build(data=str(data), **changes)


@pytest.fixture(scope="module")
def unsplit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 places of three unequal classes, one to three views each, no test split."""
    folder = tmp_path_factory.mktemp("splits") / "set"
    label = [0] * 25 + [1] * 10 + [2] * 5
    build_set(
        folder,
        [Place([pattern(9 * i + v) for v in range(1 + i % 3)], label=c) for i, c in enumerate(label)],
    )
    return folder


def test_a_share_split_off_keeps_places_whole_and_is_always_the_same(unsplit: Path) -> None:
    train, test, _ = open_splits(config(unsplit, split_off=0.1))
    assert test.places == 4 and train.places == 36
    assert not set(train.keys) & set(test.keys)
    again = open_splits(config(unsplit, split_off=0.1, seed=7))
    assert (again[0].keys, again[1].keys) == (train.keys, test.keys), "no rank and no seed may disagree"
    with pytest.raises(ShardError, match=r"--split-off 0\.1"):
        open_splits(config(unsplit))
    with pytest.raises(ConfigError, match="leave out --test-split"):
        open_splits(config(unsplit, split_off=0.1, test_split="val"))


def test_lists_name_samples_by_key_or_by_the_end_of_a_path(unsplit: Path, tmp_path: Path) -> None:
    index = Index.open(unsplit)
    sources = [f"train/c{i % 2}/img_{i}.jpg" for i in range(len(index))]
    at = index.table.column_names.index("source")
    import pyarrow as pa

    index.table = index.table.set_column(at, "source", pa.array(sources))
    from rstrain.evals.splits import listed

    file = tmp_path / "list.txt"
    for text in ("place-00001\n", "./c1/img_1.jpg\n", "img_1.jpg\r\n\n"):
        file.write_text(text)
        rows = listed(index, file)
        assert index.keys(rows)[0] == "place-00001", text
    file.write_text("place-00001\nimg_999.jpg\n")
    with pytest.raises(ShardError, match=r"1 of 2 lines name no sample .* \(the first is img_999.jpg\)"):
        listed(index, file)
    file.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        listed(index, file)
    learn, score = tmp_path / "learn.txt", tmp_path / "score.txt"
    learn.write_text("place-00000\nplace-00001\n")
    score.write_text("place-00001\nplace-00002\n")
    with pytest.raises(ConfigError, match=r"1 samples are both learnt from and scored .*place-00001"):
        open_splits(config(unsplit, train_list=learn, test_list=score))
    learn.write_text("place-00000\nplace-00037\n")
    score.write_text("place-00030\nplace-00002\n")
    train, test, _ = open_splits(config(unsplit, train_list=learn, test_list=score))
    assert (train.name, len(train), test.name, len(test)) == ("learn", 3, "score", 4)


def test_two_lists_of_one_name_are_two_sets_of_features(unsplit: Path, tmp_path: Path) -> None:
    for folder, part in (("a", range(0, 40, 3)), ("b", range(1, 40, 3))):
        (tmp_path / folder).mkdir()
        text = "".join(f"place-{i:05d}\n" for i in part)
        (tmp_path / folder / "all.txt").write_text(text)
        (tmp_path / f"{folder}.txt").write_text(text)

    def scores(train: str, test: str) -> Any:
        lists = {"train_list": tmp_path / train, "test_list": tmp_path / test}
        return run_eval(config(unsplit, k=3, **SMALL, **lists)).outcome

    assert scores("a/all.txt", "b/all.txt") == scores("a.txt", "b.txt")


def test_a_fraction_is_balanced_nested_and_whole_places(unsplit: Path) -> None:
    train, _, _ = open_splits(config(unsplit, split_off=0.025))
    whole = {}
    for fraction in (0.01, 0.25, 0.6, 1.0):
        rows = fraction_of(train, fraction, seed=3)
        part = train.take(rows)
        counts = np.bincount([part.label[part.place == p][0] for p in np.unique(part.place)], minlength=3)
        whole[fraction] = set(part.keys)
        assert counts.sum() == max(3, round(fraction * train.places)), "one of each class at least"
        spare = counts[
            counts < np.bincount([train.label[train.place == p][0] for p in np.unique(train.place)])
        ]
        assert spare.size == 0 or spare.max() - spare.min() <= 1, f"{fraction}: {counts}"
        assert all(train.keys.count(key) == part.keys.count(key) for key in set(part.keys))
    assert whole[0.01] < whole[0.25] < whole[0.6] < whole[1.0] == set(train.keys)
    assert set(train.take(fraction_of(train, 0.25, seed=4)).keys) != whole[0.25]


def test_what_leaks_from_the_pretraining_set_is_counted(tmp_path: Path) -> None:
    def twin(i: int) -> np.ndarray:
        """The same ground once more: larger, brighter, noisier."""
        larger = cv2.resize(pattern(i), (80, 80), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        noise = np.random.default_rng(i).normal(0, 2, larger.shape)
        return np.asarray((0.8 * larger + 30 + noise).clip(0, 255).astype(np.uint8))

    learnt = [Place([pattern(i)], label=0, lon=i, lat=10.0) for i in range(30)]
    learnt.append(Place([np.full((48, 48, 3), 99, np.uint8)], label=0, lon=60.0, lat=10.0))
    build_set(tmp_path / "learnt", learnt)
    mine = [
        Place([pattern(500 + i)], key=f"own-{i}", label=i % 2, split="train", lon=100.0, lat=-10.0)
        for i in range(8)
    ]
    test: dict[str, Any] = {"split": "test", "label": 1}
    mine += [
        Place([pattern(3)], key="own-a", lon=120.0, lat=0.0, **test),  # the same bytes
        Place([twin(4)], key="own-b", lon=120.0, lat=0.0, **test),
        Place([pattern(600)], key="place-00007", lon=120.0, lat=0.0, **test),  # a shared key
        Place([pattern(601)], key="own-c", lon=5.005, lat=10.0, **test),  # 550 m from a pretraining place
        Place([np.full((48, 48, 3), 99, np.uint8)], key="own-d", lon=120.0, lat=0.0, **test),  # blank
        Place([pattern(602)], key="own-e", lon=120.0, lat=0.0, **test),
    ]
    build_set(tmp_path / "mine", mine)
    knn: dict[str, Any] = {"data": str(tmp_path / "mine"), "k": 3, **SMALL}
    found = run_eval(KnnConfig.build(**knn, pretrained_on=str(tmp_path / "learnt"))).leakage
    assert found is not None
    assert (found["shared_keys"], found["shared_keys_first"]) == (1, ["place-00007"])
    assert found["identical_images"] == 2, "the copy, and the blank image"
    alike = found["look_alikes"]
    assert alike["views"] == 2 and alike["too_flat"] == 2, "blank images look like nothing"
    assert {(p["test"], p["learnt"]) for p in alike["first"]} == {
        ("own-a", "place-00003"),
        ("own-b", "place-00004"),
    }
    assert found["near"]["within_0.1_km"] == 0 and found["near"]["within_1_km"] == 1
    assert not found["same_set"] and "1 keys, 2 identical images, 2 look-alikes" in found["summary"]
    assert run_eval(KnnConfig.build(**knn)).leakage is None
    hashes, rows = hashes_of(Index.open(tmp_path / "learnt"), 0)
    assert len(hashes) == 30 and 30 not in rows
    bits = np.bitwise_count(hashes[:, None] ^ hashes[None])
    assert bits[~np.eye(30, dtype=bool)].min() > 8, "other ground is far away"
