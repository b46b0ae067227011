"""Sun, seasons, clouds and haze: all that changes while the ground stays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from rsdata.sandbox.world.climate import Climate
from rsdata.sandbox.world.grid import Ground
from rsdata.sandbox.world.noise import Field, octave, wavelength
from shards.errors import ConfigError
from shards.random import uniform

_CLOUD, _COVER, _AIR = 701, 702, 703
_SHADOW_M = (
    1600.0,
    1100.0,
)  # where a cloud's shadow falls, along the axes of a face; one for all keeps tiles equal
_HOUR_ANGLE = np.radians(-22.5)  # satellites of this kind pass at 10:30 local solar time


@dataclass(frozen=True)
class Moment:
    """A time as the world sees it."""

    day: float
    """Of the year, 1 to 366."""
    key: int
    """Hours since 1970; clouds and haze are drawn from it."""

    @classmethod
    def of(cls, time: datetime) -> Moment:
        """From a datetime; without a zone it is taken as UTC.

        Raises:
            ConfigError: `time` is not a datetime.
        """
        if not isinstance(time, datetime):
            raise ConfigError(
                f"time must be a datetime, found {time!r}; give datetime(2020, 7, 1, tzinfo=UTC)"
            )
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        start = datetime(time.year, 1, 1, tzinfo=UTC)
        return cls(1 + (time - start).total_seconds() / 86400, int(time.timestamp() // 3600))


def sun(lat: Field, day: float) -> tuple[Field, Field]:
    """Elevation (radians, at least 6°) and azimuth (radians, clockwise from north) at 10:30 local solar time."""
    declination = np.radians(-23.44) * np.cos(2 * np.pi * (day + 10) / 365.25)
    phi = np.radians(lat)
    sine = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(_HOUR_ANGLE)
    elevation = np.maximum(np.arcsin(np.clip(sine, -1, 1)), np.radians(6))
    east = -np.cos(declination) * np.sin(_HOUR_ANGLE)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(_HOUR_ANGLE)
    return elevation.astype(np.float32), np.arctan2(east, north).astype(np.float32)


def weather(ground: Ground, seed: int, moment: Moment) -> Field:
    """How much warmer than the season a day is, °C at the knots."""
    return np.float32(4) * octave(ground.knots, 3, seed, _AIR, 1, moment.key)


def season_temperature(mean: Field, swing: Field, day: float) -> Field:
    """°C on a day; the warmest day in the north is about 20 July."""
    return mean + swing * np.float32(np.cos(2 * np.pi * (day - 201) / 365.25))


def cloud_share(ground: Ground, climate: Climate, seed: int, moment: Moment) -> Field:
    """How cloudy it is for 500 km around, 0 to 1 at the knots; its square is about the cloudy part of the sky."""
    wide = octave(ground.knots, 3, seed, _COVER, moment.key)
    return np.asarray(np.clip(0.14 + 0.3 * climate.moisture + 0.62 * wide, 0, 1), np.float32)


def cloud_field(
    ground: Ground, climate: Climate, seed: int, moment: Moment, *, shadow: bool = False
) -> Field:
    """Opacity of clouds, 0 to 1, float32 [H, W]; with `shadow`, of those that stand before the sun."""
    shift = _SHADOW_M if shadow else (0.0, 0.0)
    knots = ground.knots
    share = cloud_share(ground, climate, seed, moment)
    # Thresholds from a share of sky: clear days are clear, full days are full.
    at_knots = (1.15 - 1.9 * share).astype(np.float32)
    least = float(at_knots.min())
    layers = [(level, np.float32(0.62**step)) for step, level in enumerate(range(8, 13 if shadow else 17))]
    left = sum(float(weight) for _, weight in layers) * 1.1
    density = np.zeros(knots.shape, np.float32)
    fine: Field | None = None
    for level, weight in layers:
        if float(density.max()) + left < least:  # no cloud can come of what is left
            return np.zeros(ground.shape, np.float32)
        left -= float(weight) * 1.1
        length = wavelength(level)
        if length >= 32 * ground.res_m:
            density += weight * octave(knots, level, seed, _CLOUD, moment.key, shift_m=shift)
        elif length >= 2.5 * ground.res_m:
            layer = weight * octave(ground, level, seed, _CLOUD, moment.key, shift_m=shift)
            fine = layer if fine is None else fine + layer
    full = ground.upsample(density - at_knots)
    if fine is not None:
        full += fine
    opacity = np.clip(full * np.float32(1.6), 0, 1)
    return np.asarray(opacity * opacity * (3 - 2 * opacity) * np.float32(0.95), np.float32)


def haze_of(ground: Ground, climate: Climate, seed: int, moment: Moment) -> Field:
    """Strength of haze, 0.01 to 0.5, float32 [H, W]."""
    wide = octave(ground.knots, 4, seed, _AIR, moment.key)
    day = float(uniform(seed, _AIR, moment.key, count=1)[0])
    return ground.upsample(
        np.clip(0.02 + 0.13 * day**2 + 0.08 * wide + 0.05 * climate.moisture, 0.01, 0.5).astype(np.float32)
    )
