"""Every pipeline by name."""

from __future__ import annotations

from pipelines.geography_aware import GeographyAware
from pipelines.geoimagenet import GeoImageNet
from pipelines.gersp import GeRSP
from pipelines.quickstart import Quickstart
from pipelines.scale_mae import ScaleMAE
from pipelines.seco import SeCo
from pipelines.sn7_vicreg import Sn7Vicreg
from pipelines.stage import Pipeline

PIPELINES: dict[str, type[Pipeline]] = {
    "quickstart": Quickstart,
    "geography-aware": GeographyAware,
    "geoimagenet": GeoImageNet,
    "seco": SeCo,
    "sn7-vicreg": Sn7Vicreg,
    "scale-mae": ScaleMAE,
    "gersp": GeRSP,
}
