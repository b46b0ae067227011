from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from shards.config import Config, digest_of
from shards.errors import ConfigError


class Inner(Config):
    rate: float = Field(0.5, gt=0)


class Outer(Config):
    name: str
    size: int = Field(3, gt=0)
    place: Path | None = None
    inner: Inner = Inner()


def test_each_fault_is_one_line_that_names_the_key() -> None:
    with pytest.raises(ConfigError) as error:
        Outer.build("job.toml", size=-1, colour="red", inner={"rate": "fast"})
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    assert "job.toml: name: is required" in lines
    assert "job.toml: colour: unknown key; known: inner, name, place, size" in lines
    assert any(line.startswith("job.toml: size: Input should be greater than 0 (found -1)") for line in lines)
    assert any(line.startswith("job.toml: inner.rate:") and "'fast'" in line for line in lines)


@given(st.text(min_size=1, max_size=20), st.integers(1, 9), st.floats(0.001, 1e6))
def test_toml_is_a_round_trip(name: str, size: int, rate: float) -> None:
    import tomllib

    config = Outer(name=name, size=size, inner=Inner(rate=rate))
    assert Outer(**tomllib.loads(config.to_toml())) == config


def test_none_is_refused_where_a_file_would_read_back_a_default() -> None:
    class Hidden(Config):
        resize: int | None = 448

    with pytest.raises(ConfigError, match="resize: cannot be None; leave it out for its default, 448"):
        Hidden.build(resize=None)
    assert Outer(name="x", place=None).place is None


def test_a_file_is_the_base_and_given_values_override_it(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "file"\nsize = 7\n')
    config = Outer.load(path, size=None, name="flag")
    assert (config.name, config.size) == ("flag", 7)
    path.write_text("name = ")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        Outer.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Outer.load(tmp_path / "none.toml")


def test_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert (
        digest_of({"a": 1, "b": [2, 3]})
        == digest_of({"b": [2, 3], "a": 1})
        != digest_of({"a": 1, "b": [3, 2]})
    )
    assert Outer(name="x").digest() == Outer(size=3, name="x").digest() != Outer(name="y").digest()
