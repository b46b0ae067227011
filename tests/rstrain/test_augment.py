"""Views: drawn like torchvision's, applied alike by worker and device, and exactly by the exact mode."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import pattern
from rstrain.data.augment import LUMA, Params, draw
from rstrain.data.config import AugmentConfig
from rstrain.data.loader import exact_view
from rstrain.data.photometric import apply_device, apply_exact, apply_worker
from rstrain.data.pixels import crop, resize, turned
from shards.config import Config
from shards.errors import ConfigError

N = 4000


def views(config: AugmentConfig, height: int, width: int, count: int = N) -> Params:
    return draw(config, 7, 0, np.arange(count), 0, height=height, width=width)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (90, 400), (700, 200)])
@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 1.0)])
def test_boxes_are_distributed_as_torchvisions(height: int, width: int, scale: tuple[float, float]) -> None:
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    ratio = [3 / 4, 4 / 3]
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), ratio) for _ in range(N)])
    mine = views(AugmentConfig(scale=scale), height, width)
    for column, values in zip(theirs.T, (mine.top, mine.left, mine.height, mine.width), strict=True):
        assert ks(column, values) < 1.95 * math.sqrt(2 / N)  # p = 0.001


def ks(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov-Smirnov statistic of two samples."""
    at = np.union1d(a, b)
    below = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def test_jitter_flip_and_blur_have_the_probabilities_asked() -> None:
    p = views(AugmentConfig(vflip=0.25, rotate=True), 64, 64)
    for drawn, expected in (
        (p.hflip, 0.5),
        (p.vflip, 0.25),
        (p.gray, 0.2),
        (p.sigma > 0, 0.5),
        (p.brightness != 1, 0.8),
        (p.turns == 3, 0.25),
    ):
        assert drawn.mean() == pytest.approx(expected, abs=0.03)
    jittered = p.brightness != 1
    assert (p.hue[~jittered] == 0).all() and (p.contrast[~jittered] == 1).all()
    for factor in (p.brightness, p.contrast, p.saturation):
        assert 0.6 <= factor.min() < 0.61 and 1.39 < factor.max() <= 1.4
    assert np.abs(p.hue).max() == pytest.approx(0.1, abs=1e-3)
    assert p.sigma[p.sigma > 0].min() >= 0.1 and p.sigma.max() <= 2
    assert len({tuple(o) for o in p.operations.tolist()}) == 24


@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    square=st.sampled_from([None, (448, False), (448, True), (32, True)]),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=80, deadline=None)
def test_boxes_lie_inside_and_depend_on_their_address_alone(
    height: int, width: int, square: tuple[int, bool] | None, seed: int
) -> None:
    resize, center = square or (0, False)
    config = AugmentConfig(resize=resize, center_crop=center, scale=(0.08, 1.0))
    rows = np.arange(20)
    p = draw(config, seed, 3, rows, np.arange(2)[:, None], height=height, width=width)
    box = p.box
    assert (box >= 0).all() and (box[..., :2] + box[..., 2:] <= 1 + 1e-12).all()
    assert (p.height >= 1).all() and (p.width >= 1).all()
    if resize:
        assert np.minimum(p.resized_height, p.resized_width).min() == resize
    one = draw(config, seed, 3, rows[11:12], 1, height=height, width=width)
    assert np.array_equal(one.box[0], box[1, 11])
    assert np.array_equal(one.folded()[0], p.folded()[1, 11])


@pytest.mark.parametrize("bands", [3, 1, 5])
@pytest.mark.parametrize("side", [24, 64])
def test_worker_and_device_agree(bands: int, side: int) -> None:
    config = AugmentConfig(size=side)
    folded = views(config, side, side, 64).folded(bands)
    images = np.stack([pattern(i, side, side, bands) for i in range(64)])
    here = np.stack([apply_worker(image, f) for image, f in zip(images, folded, strict=True)])
    there = apply_device(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(folded))
    gap = np.abs(here.astype(int) - there.permute(0, 2, 3, 1).numpy())
    assert gap.max() <= 1
    assert (gap > 0).mean() < 0.05


def test_neutral_numbers_change_nothing() -> None:
    image = pattern(0)
    off = {"jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
    neutral = views(AugmentConfig(**off), 48, 48, 1).folded()[0]
    assert np.array_equal(apply_worker(image, neutral), image)
    there = apply_device(torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(neutral)[None])
    assert np.array_equal(there[0].permute(1, 2, 0).numpy(), image)


def test_folded_colour_is_near_the_exact_one() -> None:
    """Clamps between operations, hue in HSV and PIL's box blur make the difference."""
    from PIL import Image

    p = views(AugmentConfig(), 64, 64, 300)
    folded = p.folded()
    near, moved = [], []
    for i in range(300):
        image = (pattern(i, 64, 64) // 4 + 96 + 30 * np.arange(3)).astype(
            np.uint8
        )  # as pale as ground from above
        theirs = np.asarray(apply_exact(Image.fromarray(image), p[i])).astype(int)
        near.append(np.abs(apply_worker(image, folded[i]) - theirs).mean())
        moved.append(np.abs(image - theirs).mean())
    assert np.mean(near) < 0.15 * np.mean(moved)


@pytest.mark.parametrize("gray", [0.0, 1.0])
def test_folding_keeps_the_drawn_order(gray: float) -> None:
    """Against the operations one by one in floats, each without a clamp."""
    p = views(AugmentConfig(jitter=1.0, grayscale=gray, blur=0.0), 8, 8, 50)
    folded = p.folded().astype(float)
    image = pattern(1, 8, 8).astype(float).reshape(-1, 3)
    for i in range(50):
        x, v, angle = image, p[i], 2 * np.pi * float(p[i].hue)
        axis = np.ones(3) / np.sqrt(3)
        for operation in v.operations:
            luma = x @ LUMA
            if operation == 0:
                x = x * v.brightness
            elif operation == 1:
                x = x * v.contrast + (1 - v.contrast) * luma.mean()
            elif operation == 2:
                x = x * v.saturation + (1 - v.saturation) * luma[:, None]
            else:  # Rodrigues
                along = (x @ axis)[:, None] * axis
                x = x * np.cos(angle) + np.cross(axis, x) * np.sin(angle) + along * (1 - np.cos(angle))
        if gray:
            x = np.repeat((x @ LUMA)[:, None], 3, axis=1)
        matrix, on_mean = folded[i, :18].reshape(2, 3, 3)
        assert np.allclose(image @ matrix.T + on_mean @ image.mean(axis=0), x, atol=1e-3)


def test_exact_mode_is_torchvisions_pipeline() -> None:
    """With the random numbers given, every pixel is that of the original scripts."""
    from PIL import Image, ImageFilter
    from torchvision import transforms as T
    from torchvision.transforms import functional as F

    config = AugmentConfig(size=32, resize=80, center_crop=True, scale=(0.08, 1.0), color="exact")
    p = views(config, 70, 100, 40)
    for i in range(40):
        v, image = p[i], pattern(i, 70, 100)
        out = T.Compose([T.Resize(80), T.CenterCrop(80)])(Image.fromarray(image))
        out = F.resized_crop(out, int(v.top), int(v.left), int(v.height), int(v.width), [32, 32])
        for operation in v.operations if v.brightness != 1 else ():
            name = ("brightness", "contrast", "saturation", "hue")[operation]
            out = getattr(F, f"adjust_{name}")(out, float(getattr(v, name)))
        out = F.rgb_to_grayscale(out, 3) if v.gray else out
        out = out.filter(ImageFilter.GaussianBlur(float(v.sigma))) if v.sigma else out
        out = F.hflip(out) if v.hflip else out
        assert np.array_equal(exact_view(image, v, config), np.asarray(out))


def test_a_crop_is_near_the_exact_one_also_from_a_smaller_decode() -> None:
    plain = {"jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
    for extra in ({}, {"resize": 96}, {"resize": 96, "center_crop": True}):
        config = AugmentConfig(size=32, **plain, **extra)
        p = views(config, 120, 150, 40)
        cuts = p.cuts()
        gaps = []
        for i in range(40):
            image = pattern(i, 120, 150)
            for source in (image, resize(image, 90, 113)):
                gaps.append(
                    np.abs(crop(source, cuts[i], 32) - exact_view(image, p[i], config).astype(int)).mean()
                )
        assert np.mean(gaps) < 4


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("bands", [1, 3, 4, 13])
def test_turned_is_what_numpy_says(bands: int, dtype: type) -> None:
    whole = np.random.default_rng(bands).uniform(0, 255, (12, 9, bands)).astype(dtype)
    for pixels in (whole, whole[2:9, 1:8]):
        for hflip, vflip, turns in itertools.product((False, True), (False, True), range(4)):
            out = turned(pixels, hflip=hflip, vflip=vflip, turns=turns)
            expected = np.rot90(pixels[:: -1 if vflip else 1, :: -1 if hflip else 1], turns)
            assert out.flags.c_contiguous and out.dtype == dtype
            np.testing.assert_array_equal(out, expected)


def test_turns_and_flips() -> None:
    image = pattern(0, 32, 32)
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "rotate": True, "vflip": 0.5}
    p = views(AugmentConfig(size=32, **whole), 32, 32, 64)
    seen = {crop(image, cut, 32).tobytes() for cut in p.cuts()}
    group = {np.rot90(base, k).tobytes() for base in (image, image[:, ::-1]) for k in range(4)}
    assert seen == group


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": (0.5, 0.2)}, "scale=0.5,0.2: expected 0 < first <= second <= 1"),
        ({"center_crop": True}, "center_crop needs resize"),
        ({"color": "exact", "where": "device"}, "color=exact runs in the worker"),
        ({"hue": 0.7}, "hue"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AugmentConfig.build(**values)


def test_configs_import_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys, rstrain.data.config as c; assert not {'torch', 'cv2', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert issubclass(AugmentConfig, Config)
