"""Typed members: what is written is read back, and what a detector would choke on is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import Place, build_set, pattern
from shards.codec import decode, encode_png
from shards.dataset import Target
from shards.errors import ShardError
from shards.index import Index
from shards.targets import (
    Box,
    decode_boxes,
    decode_mask,
    encode_boxes,
    encode_labels,
    encode_mask,
    sample_members,
)
from shards.verify import verify

number = st.floats(0, 500, allow_nan=False)
rings = st.lists(st.lists(st.tuples(number, number), min_size=3, max_size=6).map(tuple), max_size=2).map(
    tuple
)
boxes = st.lists(
    st.builds(
        lambda label, x, y, w, h, crowd, difficult, outline: Box(
            label, x, y, x + w, y + h, crowd, difficult, outline
        ),
        st.integers(0, 9), number, number, st.floats(0.5, 100), st.floats(0.5, 100), st.booleans(), st.booleans(),
        rings,
    )
)  # fmt: skip


@given(boxes)
def test_boxes_are_read_back(found: list[Box]) -> None:
    assert decode_boxes(encode_boxes(found)) == found
    for box in found:
        box.check(600, 600, 10)


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (Box(0, 5, 5, 5, 9), "no area"),
        (Box(0, float("nan"), 5, 7, 9), "no area"),
        (Box(0, -1, 5, 7, 9), "out of the image"),
        (Box(0, 1, 5, 7, 33), "out of the image"),
        (Box(3, 1, 5, 7, 9), "class 3, and there are 3"),
    ],
)
def test_a_box_that_cannot_be_is_refused(box: Box, said: str) -> None:
    with pytest.raises(ShardError, match=said):
        box.check(32, 32, 3)


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b'{"boxes": [[1,2,3,4]]}', b'{"boxes":[[1]],"labels":[1],"crowd":[0],"difficult":[0]}'],
)
def test_boxes_of_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(ShardError, match=r"boxes\.json cannot be read"):
        decode_boxes(data)


def test_masks_and_label_vectors() -> None:
    mask = np.arange(12 * 40).reshape(12, 40) % 256
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)
    with pytest.raises(ShardError, match="0 … 255"):
        encode_mask(mask + 1)
    with pytest.raises(ShardError, match="expected uint8"):
        decode_mask(encode_png(pattern(0)))
    assert decode("labels.npy", encode_labels([1, 4], 5)).tolist() == [0, 1, 0, 0, 1]
    with pytest.raises(ShardError, match="5 classes"):
        encode_labels([5], 5)


def test_the_members_of_a_sample_in_a_set(tmp_path: Path) -> None:
    mask = np.full((48, 48), 2)
    places = [
        Place([pattern(k)], members={"mask.png": encode_mask(mask + k), "boxes.json": encode_boxes([])})
        for k in range(3)
    ]
    index = build_set(tmp_path / "set", places, targets=[Target(member="mask.png", classes=["a", "b"])])
    assert verify(tmp_path / "set").ok
    assert index.info.targets[0].classes == ["a", "b"]
    members = sample_members(index, 1)
    assert set(members) == {"png", "json", "mask.png", "boxes.json"}
    assert np.array_equal(decode_mask(members["mask.png"]), mask + 1)
    tar = tmp_path / "set" / "set-000000.tar"
    data = bytearray(tar.read_bytes())
    data[data.index(members["mask.png"]) + 40] ^= 1
    tar.write_bytes(data)
    with pytest.raises(ShardError, match="damaged"):
        for row in range(3):
            sample_members(Index.open(tmp_path / "set"), row)
