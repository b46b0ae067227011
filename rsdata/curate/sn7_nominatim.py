"""Country, state and city of SpaceNet 7's areas from Nominatim: one call a second at most, each answer kept on disk.

https://operations.osmfoundation.org/policies/nominatim/ (one request a second, a user agent of one's own, results cached).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rsdata.curate.sn7_places import Address, Place, placed
from shards.errors import ConfigError, UserError
from shards.store import Store

CACHE = "nominatim.json"
_RATE = 1.0
_CITY = ("city", "town", "village", "municipality", "hamlet")


def ask(places: dict[str, Place], out: Path, *, endpoint: str, contact: str | None) -> dict[str, Place]:
    """The places with the service's addresses; what it said before is taken from OUT/nominatim.json.

    The frozen table still decides the country of the training areas, and differences are noted.

    Raises:
        ConfigError: no contact.
        UserError: the service refuses or cannot be reached; what it said so far is kept.
    """
    from rsdata.remote.http import Client
    from rsdata.remote.limits import limiter_of
    from rsdata.remote.retry import RemoteError

    if not contact:
        raise ConfigError(
            "--places nominatim needs --contact (or RSDATA_CONTACT): the service demands a mail address or page of yours"
        )
    store = Store(out)
    store.make()
    known = _read(store)
    client = Client(endpoint, limiter_of(endpoint, 1, _RATE))
    client.headers["User-Agent"] = f"rsdata ({contact})"
    found = {}
    for name, place in places.items():
        if place.lon is None or place.lat is None:
            found[name] = place
            continue
        spot = f"{place.lat:.5f},{place.lon:.5f}"
        if spot not in known:
            try:
                known[spot] = _reverse(client, endpoint, place.lat, place.lon)
            except RemoteError as error:
                raise UserError(
                    f"{name}: {error.reason}; {len(known)} answers are kept in {store.path(CACHE)}\n"
                    "  Run the same command again, or use --places table"
                ) from None
            store.write(CACHE, json.dumps(known, ensure_ascii=False, indent=1, sort_keys=True).encode())
        said = Address(**known[spot])
        found[name] = placed(name, place.lon, place.lat, said, place.footprint, place.origin)
    return found


def _reverse(client: Any, endpoint: str, lat: float, lon: float) -> dict[str, str]:
    from rsdata.remote.http import message_of
    from rsdata.remote.retry import RemoteError, of_status
    from shards.failures import FailureClass

    query = {"lat": f"{lat:.6f}", "lon": f"{lon:.6f}", "format": "jsonv2", "zoom": "10"}
    query["accept-language"] = "en"
    response = client.get(f"{endpoint.rstrip('/')}/reverse", params=query)
    if response.status_code >= 400:
        raise of_status(response.status_code, "Nominatim", message_of(response.content))
    try:
        address = response.json().get("address", {})
        city = next((address[key] for key in _CITY if address.get(key)), "")
        iso, country = address.get("country_code", "").upper(), address.get("country", "")
    except (ValueError, AttributeError) as error:
        raise RemoteError(FailureClass.INVALID, f"Nominatim's answer cannot be read ({error})") from None
    return {"iso": iso, "country": country, "state": address.get("state", ""), "city": city}


def _read(store: Store) -> dict[str, dict[str, str]]:
    if not store.exists(CACHE):
        return {}
    try:
        known: dict[str, dict[str, str]] = json.loads(store.read(CACHE))
    except ValueError:
        raise UserError(f"{store.path(CACHE)}: is damaged; remove it") from None
    return known
