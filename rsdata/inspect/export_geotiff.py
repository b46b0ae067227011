"""`rsdata export --to geotiff`: a GeoTIFF for each resolution of a view, where it lies on the ground, for GIS programs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsdata.inspect.export_folder import ExportReport
from rsdata.inspect.views import view_members
from shards.dataset import Band
from shards.errors import UserError
from shards.index import Index
from shards.sample import clean_key
from shards.store import Store

if TYPE_CHECKING:
    from affine import Affine

_KEPT = ("key", "split", "label", "lon", "lat", "time", "source", "licence", "scene", "crs", "window")
_TILE = 512
_ENDING = re.compile(r"\.?[a-z0-9]+\Z")


def export_geotiff(folder: str | Path | Store, out: Path) -> ExportReport:
    """Write `OUT/<split>/<key>.<view>.<resolution>.tif` (cloud-optimised, deflate) and OUT/index.csv, a row a file.

    CRS and transform are those of the scene. Names, wavelengths and units stand with the bands. The folder gets its
    name when everything is in it.

    Raises:
        ShardError: the set is unfinished or damaged.
        UserError: its views lie on no grid, the output exists, or the disk is full.
    """
    import rasterio.errors

    from rsdata.curate.tables import write_csv

    index = Index.open(folder)
    for name in ("crs", "transform"):
        if name not in index.table.column_names:
            raise UserError(
                f"{index.store}: has no column {name!r}: its views have a place, but no grid on the ground; use --to folder"
            )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty; choose another folder")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    rows: list[dict[str, Any]] = []
    try:
        part.mkdir(parents=True)
        for row in range(len(index)):
            rows += _view(index, row, part)
        write_csv(Store(part), "index.csv", _table(rows))
        size = sum((part / row["path"]).stat().st_size for row in rows)
        if out.exists():
            out.rmdir()
        part.rename(out)
    except (OSError, rasterio.errors.RasterioError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{out}: cannot be written ({reason}); nothing half was left behind") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return ExportReport(str(out), len(rows), size)


def grid_of(index: Index, row: int) -> tuple[str, Affine]:
    """CRS of a view, and the transform of its finest grid: pixel corner to metres (or degrees).

    Raises:
        UserError: the index does not hold them.
    """
    from affine import Affine

    crs, text = (index.table[name][row].as_py() for name in ("crs", "transform"))
    try:
        numbers = [float(part) for part in re.split(r"[\s,;\[\]]+", text or "") if part]
    except ValueError:
        numbers = []
    if not crs or len(numbers) != 6 or not np.isfinite(numbers).all():
        raise UserError(
            f"{index.store}: sample {index.keys([row])[0]} has crs {crs!r} and transform {text!r} in the index; "
            "expected a code such as EPSG:32633 and six numbers"
        )
    return crs, Affine(*numbers)


def _view(index: Index, row: int, folder: Path) -> list[dict[str, Any]]:
    crs, finest = grid_of(index, row)
    facts = {name: index.table[name][row].as_py() for name in _KEPT if name in index.table.column_names}
    facts["time"] = None if facts["time"] is None else facts["time"].isoformat()
    own, width, height, gsd = (
        index.table[name][row].as_py() for name in ("member", "width", "height", "gsd_m")
    )
    view = _prefix(own, [member.ending for member in index.info.members])
    out = []
    for member, pixels in view_members(index, row):
        name = _ENDING.sub("", own if member is None else view + member.ending)  # without `.b2nd`, `.png`
        path = ".".join(
            part for part in (f"{clean_key(facts['split'] or 'all')}/{facts['key']}", name, "tif") if part
        )
        shape = pixels.shape[:2]
        coarser = (width / shape[1], height / shape[0])
        a, b, c, d, e, f = finest[:6]
        transform = type(finest)(a * coarser[0], b * coarser[1], c, d * coarser[0], e * coarser[1], f)
        bands = index.info.bands if member is None else member.bands
        tags = {
            "TIFFTAG_IMAGEDESCRIPTION": facts.get("scene") or facts["key"],
            "TIFFTAG_COPYRIGHT": index.info.attribution,
            "licence": facts["licence"] or index.info.licence,
            "time": facts["time"] or "",
        }
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_geotiff(folder / path, pixels, bands, crs, transform, tags)
        own_gsd = None if gsd is None else gsd * coarser[0]
        names = " ".join(band.name for band in bands)
        place = {"gsd_m": own_gsd, "width": shape[1], "height": shape[0], "transform": _text(transform)}
        out.append({"path": path, "bands": names, **facts, **place})
    return out


def write_geotiff(
    path: Path, pixels: NDArray[Any], bands: list[Band], crs: str, transform: Affine, tags: dict[str, str]
) -> None:
    """One file of [H, W, C] or [H, W]; each band is described as `B4 664.6 nm`."""
    import rasterio

    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    options = {
        "compress": "deflate",
        "predictor": "yes",
        "blocksize": _TILE,
        "overviews": "none",
        "bigtiff": "if_safer",
    }
    with rasterio.open(
        path,
        "w",
        driver="COG",
        width=planes.shape[2],
        height=planes.shape[1],
        count=len(planes),
        dtype=planes.dtype,
        crs=crs,
        transform=transform,
        **options,
    ) as file:
        file.write(planes)
        file.update_tags(**{name: value for name, value in tags.items() if value})
        if len(bands) == len(planes):
            for number, band in enumerate(bands, 1):
                nm = band.wavelength_nm
                file.set_band_description(number, band.name if nm is None else f"{band.name} {nm:g} nm")
                file.update_tags(number, unit=band.unit)
                if nm is not None:
                    file.update_tags(number, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=f"{nm / 1000:g}")


def _prefix(member: str, endings: list[str]) -> str:
    """`000.` of `000.b10.b2nd`."""
    found = [e for e in endings if member == e or member.endswith(f".{e}")]
    return member[: len(member) - len(max(found, key=len))] if found else ""


def _text(transform: Affine) -> str:
    return " ".join(f"{number:.10g}" for number in transform[:6])


def _table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(rows)
