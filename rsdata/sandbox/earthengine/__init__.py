"""Earth Engine's REST service over the embedded planet; the unmodified `earthengine-api` client talks to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rsdata.sandbox.serve import Route


def routes() -> list[Route]:
    """What it answers."""
    from rsdata.sandbox.earthengine.service import Service

    service = Service()
    return [
        ("/$discovery/", service.describe),
        ("/v1/", service.answer),
        ("/v1alpha/", service.answer),
        ("/v1beta/", service.answer),
    ]
