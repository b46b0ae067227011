"""What a plan will cost before anything is spent: requests, bytes, time, compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsdata.sources.seco import Seasonal

REQUEST_S = 1.0
"""Assumed seconds of a request."""
REQUEST_EECU_S = 0.2
"""Assumed compute seconds that Earth Engine charges for a request; its console shows the true ones by workload tag."""
STAC_READS = 3
"""Assumed ranged reads of a band: its header, and the tiles under the patch."""


def estimate(source: Seasonal, places: int) -> dict[str, float]:
    """For places that all have a scene in every season at once; the others cost less."""
    sensor, scenes = source.instrument, places * len(source.seasons)
    masked = source.patch_cloud_percent is not None
    if source.provider == "stac":
        requests = scenes * (1 + STAC_READS * (len(sensor.bands) + masked))
        received = scenes * sensor.stored_bytes
    elif source.legacy:
        requests = places + scenes
        received = scenes * sensor.stored_bytes
    else:
        requests = places + scenes * (sensor.pixel_requests + masked)
        received = scenes * sensor.pixel_bytes
    out = {
        "requests": float(requests),
        "bytes_received": float(received),
        "bytes_stored": 0.6 * scenes * sensor.stored_bytes,
        "hours_at_quota": max(requests / source.rate, requests * REQUEST_S / source.threads) / 3600,
    }
    if source.provider == "earthengine":
        out["compute_hours"] = requests * REQUEST_EECU_S / 3600
        out["percent_of_monthly_allowance"] = 100 * out["compute_hours"] / source.allowance
    return out
