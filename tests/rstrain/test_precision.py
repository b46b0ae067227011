"""Average precision by hand and against COCO's own program; pooled scores of pixels by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rstrain.evals.matching import Objects, box_areas, box_ious, mask_areas, mask_ious, match_image
from rstrain.evals.pixels import (
    batch_means,
    confusion_of,
    f1_of,
    interval,
    ious,
    mean_iou,
    per_image_ious,
)
from rstrain.evals.precision import Matches, ap50_interval, summary, voc_ap
from shards.targets import IGNORE

CLASSES = 3
MOST = (1, 10, 100)


def drawn(seed: int, images: int = 12) -> list[dict[str, Any]]:
    """Random objects of all sizes with crowds, and detections that are near them, far from them, or doubled."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(images):
        count = int(rng.integers(0, 6))
        corner = rng.uniform(0, 120, (count, 2))
        side = np.exp(rng.uniform(np.log(6), np.log(140), (count, 2)))
        true = np.concatenate((corner, corner + side), axis=1).round(2)
        label, crowd = rng.integers(0, 2, count), rng.random(count) < 0.2  # class 2 is never there
        near = np.repeat(true, 3, axis=0) + rng.normal(0, 5, (3 * count, 4))
        stray = rng.uniform(0, 100, (4, 4))
        stray[:, 2:] += stray[:, :2] + 3
        found = np.concatenate((near, stray)).round(2)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        labels = np.concatenate((np.repeat(label, 3), rng.integers(0, CLASSES, 4)))
        scores = rng.integers(1, 30, len(found)) / 30  # many are equal
        order = np.argsort(-scores, kind="stable")
        out.append(
            {
                "true": true,
                "label": label,
                "crowd": crowd,
                "found": found[order],
                "labels": labels[order],
                "scores": scores[order],
            }
        )
    return out


def matches_of(images: list[dict[str, Any]]) -> Matches:
    tables = [
        match_image(
            number,
            image["labels"],
            image["scores"],
            box_areas(image["found"]),
            box_ious(image["found"], image["true"], image["crowd"]),
            Objects(
                image["label"], box_areas(image["true"]), image["crowd"], np.zeros(len(image["label"]), bool)
            ),
            most=MOST[-1],
        )
        for number, image in enumerate(images)
    ]
    return Matches(*(np.concatenate(parts) for parts in zip(*tables, strict=True)), CLASSES)


def xywh(box: NDArray[np.float64]) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def coco_of(images: list[dict[str, Any]]) -> dict[str, float]:
    """The twelve numbers of pycocotools."""
    from pycocotools import coco, cocoeval

    truth, found = [], []
    for number, image in enumerate(images):
        for box, label, crowd in zip(image["true"], image["label"], image["crowd"], strict=True):
            size = xywh(box)
            entry = {"image_id": number, "category_id": int(label), "bbox": size, "iscrowd": int(crowd)}
            truth.append(entry | {"id": len(truth) + 1, "area": size[2] * size[3]})
        for box, label, score in zip(image["found"], image["labels"], image["scores"], strict=True):
            found.append(
                {"image_id": number, "category_id": int(label), "bbox": xywh(box), "score": float(score)}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        own = coco.COCO()
        own.dataset = {
            "images": [{"id": n, "width": 300, "height": 300} for n in range(len(images))],
            "categories": [{"id": k, "name": str(k)} for k in range(CLASSES)],
            "annotations": truth,
        }
        own.createIndex()
        run = cocoeval.COCOeval(own, own.loadRes(found), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar_100")
    return {f"{name}_percent": 100 * value for name, value in zip(names, run.stats, strict=False)}


@pytest.mark.parametrize("seed", range(6))
def test_scores_are_those_of_cocos_own_program(seed: int) -> None:
    images = drawn(seed)
    scores, rows = summary(matches_of(images), MOST)
    assert 2 not in rows, "a class without objects has no score, and no part in the means"
    for name, value in coco_of(images).items():
        if value == -100:  # no object of that size
            assert name not in scores
        else:
            assert scores[name] == pytest.approx(value, abs=1e-4), name


def test_a_mask_is_matched_by_its_own_pixels() -> None:
    found, true = (np.zeros((1, 20, 30), np.uint8) for _ in range(2))
    found[0, 2:12, 3:13], true[0, 2:12, 8:18] = 1, 1
    assert mask_ious(found, true, np.array([False])) == pytest.approx(np.array([[50 / 150]]))
    assert mask_ious(found, true, np.array([True])) == pytest.approx(np.array([[50 / 100]]))
    assert mask_areas(true).tolist() == [100.0]
    assert mask_ious(found[:0], true, np.array([False])).shape == (0, 1) and not len(mask_areas(found[:0]))


def test_voc_by_hand() -> None:
    """Two objects; right, wrong, right: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    right = np.array([1.0, 0.0, 1.0])
    assert voc_ap(right, 2, eleven=False) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert voc_ap(right, 2, eleven=True) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert voc_ap(np.zeros(0), 2, eleven=True) == voc_ap(np.zeros(0), 2, eleven=False) == 0.0


def test_voc_looks_at_the_nearest_object_only_and_passes_over_difficult_ones() -> None:
    true = np.array([[0.0, 0, 10, 10], [100, 0, 110, 10], [200, 0, 210, 10]])
    found = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [100, 0, 110, 10], [300, 0, 310, 10]])
    objects = Objects(
        np.zeros(3, np.int64), box_areas(true), np.zeros(3, bool), np.array([False, True, False])
    )
    got, rows = match_image(
        0,
        np.zeros(4, np.int64),
        np.array([0.9, 0.8, 0.7, 0.6]),
        box_areas(found),
        box_ious(found, true, objects.crowd),
        objects,
        most=100,
    )
    scores, _ = summary(Matches(got, rows, 1), MOST)
    # right, wrong (the second on one object), left out (difficult), wrong; two objects count
    assert scores["voc_ap50_percent"] == pytest.approx(50.0)
    assert scores["voc07_ap50_percent"] == pytest.approx(100 * 6 / 11, abs=1e-3)
    # to COCO a difficult object is an object: right, wrong, right, wrong, and three to be found
    assert scores["ap50_percent"] == pytest.approx(100 * (34 + 33 * 2 / 3) / 101, abs=1e-3)


def test_the_interval_of_ap50_holds_it_and_draws_whole_places() -> None:
    images = drawn(3, 30)
    matches = matches_of(images)
    ap50 = summary(matches, MOST)[0]["ap50_percent"]
    low, high = ap50_interval(matches, np.arange(30), 100, seed=0)
    assert low < ap50 < high
    assert ap50_interval(matches, np.zeros(30, np.int64), 100, seed=0) == pytest.approx(
        (ap50, ap50), abs=1e-3
    )


def test_pooled_scores_of_pixels_by_hand() -> None:
    truth = np.array([[0, 1, 1], [IGNORE, 0, 2]], np.uint8)
    prediction = np.array([[0, 1, 0], [2, 1, 2]])
    counts = confusion_of(truth, prediction, 4)
    assert counts.sum() == 5, "what is ignored is not counted"
    assert counts[1].tolist() == [1, 1, 0, 0]
    values = ious(counts)
    assert values[:3].tolist() == pytest.approx([1 / 3, 1 / 3, 1.0]) and np.isnan(values[3])
    assert mean_iou(counts) == pytest.approx((1 / 3 + 1 / 3 + 1) / 3)
    assert f1_of(counts) == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert f1_of(np.zeros((2, 2), np.int64)) == (0.0, 0.0, 0.0)


def test_empty_masks_count_as_the_sheets_say() -> None:
    half = np.array([[4, 0], [2, 2]])  # IoU 2 / 4
    empty = np.array([[8, 0], [0, 0]])
    counts = np.stack((half, empty))
    assert ious(counts.sum(axis=0))[1] == pytest.approx(0.5), "pooled: an empty pair changes nothing"
    assert per_image_ious(counts) == pytest.approx({"image_iou": 0.5, "image_iou_empty_is_1": 0.75})
    assert per_image_ious(empty[None])["image_iou"] == 0.0


def test_the_mean_over_batches_differs_from_the_pooled_score() -> None:
    tiles = np.stack(
        [np.array([[90, 0], [0, 10]])] * 2 + [np.array([[90, 5], [5, 0]])] * 2 + [np.eye(2)]
    ).astype(int)
    whole = batch_means(tiles, 1, seed=0)
    assert whole["f1"] == pytest.approx((1 + 1 + 0 + 0 + 1) / 5)
    assert f1_of(tiles.sum(axis=0))[2] == pytest.approx(2 * 21 / (2 * 21 + 20))
    assert batch_means(tiles, 5, seed=0)["f1"] == pytest.approx(f1_of(tiles.sum(axis=0))[2])
    low, high = interval(tiles, np.arange(5), lambda c: f1_of(c)[2], seed=0)
    assert 0 <= low < 42 / 62 < high <= 1
