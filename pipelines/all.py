"""Every pipeline by name."""

from __future__ import annotations

from pipelines.geography_aware import GeographyAware
from pipelines.quickstart import Quickstart
from pipelines.stage import Pipeline

PIPELINES: dict[str, type[Pipeline]] = {
    "quickstart": Quickstart,
    "geography-aware": GeographyAware,
}
