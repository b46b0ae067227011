from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdata.curate.configs import GeoclusterConfig, TableConfig
from rsdata.curate.geocluster import cluster, points_of
from rsdata.curate.geofiles import geocluster, geocluster_assign
from rsdata.curate.kmeans import look
from shards.errors import UserError
from shards.random import generator
from shards.sphere import unit_vectors


def blobs(n: int, centres: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(seed)
    where = np.stack([rng.uniform(-180, 180, centres), rng.uniform(-85, 85, centres)], axis=1)
    points = where[rng.integers(0, centres, n)] + rng.normal(0, 3, (n, 2))
    return (points[:, 0] + 180) % 360 - 180, np.clip(points[:, 1], -90, 90)


def inertia(lon: np.ndarray, lat: np.ndarray, vectors: np.ndarray) -> float:
    return look(points_of("sphere", lon, lat), None, len(lon), vectors).inertia


@pytest.mark.parametrize("n", [3_000, 40_000])
def test_it_is_as_good_as_the_best_of_three_of_scikit_learn(n: int) -> None:
    from sklearn.cluster import KMeans

    lon, lat = blobs(n, centres=300)
    vectors = unit_vectors(lon, lat)
    best = min(KMeans(50, random_state=seed).fit(vectors).inertia_ for seed in range(3))
    assert inertia(lon, lat, cluster(lon, lat, k=50).vectors) <= 1.01 * best


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 60),
    k=st.integers(1, 60),
    seed=st.integers(0, 3),
    space=st.sampled_from(["sphere", "degrees"]),
)
def test_labels_are_a_partition_by_nearest_centroid(n: int, k: int, seed: int, space: str) -> None:
    lon, lat = blobs(n, centres=5, seed=seed)
    if k > n:
        with pytest.raises(UserError, match=f"there are only {n}: choose --k {n} or less"):
            cluster(lon, lat, k=k, space=space)
        return
    found = cluster(lon, lat, k=k, seed=seed, space=space)
    labels = found.assign(lon, lat)
    assert np.array_equal(np.unique(labels), np.arange(k)), "no cluster is empty"
    points = points_of(space, lon, lat)(slice(None))
    distance = ((points[:, None] - found.vectors[None]) ** 2).sum(axis=2)
    assert np.allclose(distance[np.arange(n), labels], distance.min(axis=1), atol=1e-9)
    east, _ = found.lon_lat
    assert (np.diff(east) >= 0).all(), "numbered from west to east"


def test_the_antimeridian_and_the_poles_are_no_borders() -> None:
    lon = np.array([179.9, -179.9, 0.0, 0.2, -90, 90, 170.0])
    lat = np.array([10.0, 10.0, 10.0, 10.0, 89.9, 89.9, 89.9])
    sphere = cluster(lon, lat, k=3).assign(lon, lat)
    assert sphere[0] == sphere[1] != sphere[2] == sphere[3]
    assert len(set(sphere[4:])) == 1
    degrees = cluster(lon[:4], lat[:4], k=3, space="degrees").assign(lon[:4], lat[:4])
    assert degrees[0] != degrees[1]


def test_one_point_has_one_name() -> None:
    lon, lat = np.array([180.0, -180.0, 0.0, 77.0, -0.0]), np.array([5.0, 5.0, 90.0, 90.0, 0.0])
    assert len(cluster(lon, lat, k=3).vectors) == 3
    with pytest.raises(UserError, match="there are only 3"):
        cluster(lon, lat, k=4)


def test_duplicates_of_a_few_places() -> None:
    lon, lat = np.repeat([1.0, 2.0, 3.0], 10_000), np.repeat([4.0, 5.0, 6.0], 10_000)
    found = cluster(lon, lat, k=3)
    assert np.bincount(found.assign(lon, lat)).tolist() == [10_000] * 3
    with pytest.raises(UserError, match="there are only 3"):
        cluster(lon, lat, k=4)


def test_places_in_one_town_are_told_apart() -> None:
    rng = generator(3)
    lon, lat = 13.4 + rng.normal(0, 0.01, 25_000), 52.5 + rng.normal(0, 0.01, 25_000)
    sizes = np.bincount(cluster(lon, lat, k=50).assign(lon, lat))
    assert sizes.min() > 20
    assert len(sizes) == 50


@pytest.mark.slow
def test_the_number_of_threads_does_not_matter(tmp_path: Path) -> None:
    code = (
        "import sys, os\n"
        "if sys.argv[1] == '1': os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_geocluster import blobs; from rsdata.curate.geocluster import cluster\n"
        "lon, lat = blobs(21_000); f = cluster(lon, lat, k=6); print(f.vectors.tobytes().hex(), hash(f.assign(lon, lat).tobytes()))"
    )
    answers = set()
    for threads in ("1", "2"):
        env = os.environ | {
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONHASHSEED": "0",
        }
        command = [sys.executable, "-c", code, threads, str(Path(__file__).parent)]
        answers.add(subprocess.run(command, env=env, capture_output=True, check=True).stdout)
    assert len(answers) == 1


def write(path: Path, rows: str) -> Path:
    path.write_text("id,lon,lat,note\n" + rows)
    return path


TOWNS = '007,2.35,48.86,\n008,2.36,48.85,"a, b"\n9,139.7,35.7,x\n10,139.8,35.6,1e3\n'


def test_a_table_gets_its_column_and_nothing_else_changes(tmp_path: Path) -> None:
    out = tmp_path / "o" / "out.csv"
    report = geocluster(write(tmp_path / "in.csv", TOWNS), out, GeoclusterConfig(k=2))
    table = pa.csv.read_csv(out, convert_options=pa.csv.ConvertOptions(column_types={"id": pa.string()}))
    assert table.column_names == ["id", "lon", "lat", "note", "cluster"]
    assert table["id"].to_pylist() == ["007", "008", "9", "10"]
    assert table["note"].to_pylist() == ["", "a, b", "x", "1e3"]
    assert table["cluster"].to_pylist() == [0, 0, 1, 1]
    assert (report.rows, report.smallest, report.largest) == (4, 2, 2)
    facts = json.loads(out.with_suffix(".json").read_text())
    assert [row["size"] for row in facts["clusters"]] == [2, 2]
    assert facts["settings"]["k"] == 2
    assert facts["mean_km"] < 10
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    geocluster(tmp_path / "in.csv", out, GeoclusterConfig(k=2))
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


def test_saved_centroids_label_other_tables_the_same(tmp_path: Path) -> None:
    lon, lat = blobs(500)
    table = pa.table({"lon": lon, "lat": lat, "when": pa.array([0] * 500, pa.timestamp("ms"))})
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    geocluster(tmp_path / "in.parquet", tmp_path / "a.csv", GeoclusterConfig(k=9))
    geocluster_assign(tmp_path / "a.json", tmp_path / "in.parquet", tmp_path / "b.csv", TableConfig())
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with pytest.raises(UserError, match="holds no centroids"):
        geocluster_assign(
            write(tmp_path / "x.json", ""), tmp_path / "in.parquet", tmp_path / "b.csv", TableConfig()
        )


def test_a_geoparquet_needs_no_lon_and_lat_columns(tmp_path: Path) -> None:
    import geopandas

    lon, lat = blobs(50)
    frame = geopandas.GeoDataFrame({"id": range(50)}, geometry=geopandas.points_from_xy(lon, lat), crs=4326)
    frame.to_parquet(tmp_path / "a.parquet")
    assert geocluster(tmp_path / "a.parquet", tmp_path / "a.csv", GeoclusterConfig(k=4)).rows == 50
    frame.to_crs(3857).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"not in longitude and latitude\n.*to_crs\(4326\)"):
        geocluster(tmp_path / "b.parquet", tmp_path / "b.csv", GeoclusterConfig(k=4))


def test_bad_coordinates_are_refused_or_left_out_and_listed(tmp_path: Path) -> None:
    bad = "1,,5,\n2,abc,5,\n3,181,5,\n4,5,-90.5,\n5,nan,5,\n6,inf,5,\n"
    path = write(tmp_path / "in.csv", TOWNS + bad)
    out = tmp_path / "out.csv"
    with pytest.raises(UserError, match=r"6 of 10 rows have .* \(row 5, 6, 7, 8, 9, …, counted from 1"):
        geocluster(path, out, GeoclusterConfig(k=2))
    assert not out.exists()
    report = geocluster(path, out, GeoclusterConfig(k=2, skip_invalid=True))
    assert (report.rows, report.skipped) == (4, 6)
    listed = pa.csv.read_csv(tmp_path / "out.failures.csv")
    assert listed["row"].to_pylist() == [5, 6, 7, 8, 9, 10]
    assert listed["reason"].to_pylist()[2:4] == ["outside ±180 and ±90 degrees"] * 2
    geocluster(write(path, TOWNS), out, GeoclusterConfig(k=2))
    assert not (tmp_path / "out.failures.csv").exists(), "no stale list"


def test_weights_by_place_count_a_place_once(tmp_path: Path) -> None:
    rows = "".join(f"a,{i / 100},0,\n" for i in range(100)) + "b,10,0,\nc,11,0,\n"
    path = write(tmp_path / "in.csv", rows)
    config = GeoclusterConfig(k=1, weights="place", place=("id",))
    geocluster(path, tmp_path / "o.csv", config)
    (only,) = json.loads((tmp_path / "o.json").read_text())["clusters"]
    assert abs(only["lon"] - (0.495 + 10 + 11) / 3) < 0.05
    with pytest.raises(UserError, match="no column 'class_name' to tell places apart"):
        geocluster(path, tmp_path / "o.csv", GeoclusterConfig(k=1, weights="place"))


def test_wrong_tables_are_one_sentence(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in.csv", TOWNS), tmp_path / "out.csv"
    for table, target, config, message in (
        (tmp_path / "none.csv", out, {}, "there is no such file"),
        (path, path, {}, "is the input"),
        (path, tmp_path / "out.txt", {}, "ends in .csv"),
        (path, out, {"lon": "x"}, "has no column 'x'; it has id, lon, lat, note"),
        (path, out, {"k": 5}, "only 4"),
        (write(tmp_path / "empty.csv", ""), out, {}, "has no rows"),
    ):
        with pytest.raises(UserError, match=message):
            geocluster(table, target, GeoclusterConfig(**{"k": 2, **config}))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.csv", "in.csv"]
