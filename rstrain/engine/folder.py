"""A run folder: its config before the first step, and the refusal of a folder that holds another run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rstrain import distributed
from rstrain.config import TrainConfig, load_config
from rstrain.distributed import World
from rstrain.engine.machine import write_environment
from shards.errors import ConfigError
from shards.index import Index
from shards.store import Store


def open_run(config: TrainConfig, out: Path, index: Index, world: World) -> Path:
    """Make or re-open a run folder; rank 0 writes config.toml and environment.json.

    Raises:
        ConfigError: the folder is another run's, or holds something else.
    """
    if world.is_main:
        path = out / "config.toml"
        if path.exists():
            _same(load_config(path), config, out)
        elif out.is_dir() and any(out.iterdir()):
            raise ConfigError(
                f"{out}: is not empty and is no run folder (no config.toml); choose another --out"
            )
        store = Store(out)
        store.make()
        store.sweep()
        store.write("config.toml", config.to_toml().encode())
        write_environment(out, world)
    distributed.barrier()
    return out


def _same(old: TrainConfig, new: TrainConfig, out: Path) -> None:
    before, after = _flat(old.weights_matter()), _flat(new.weights_matter())
    changed = [
        f"  {key}: the run has {before.get(key)!r}, now {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{out}: holds a run with other options\n" + "\n".join(changed) + "\n"
            "  Use another --out for a new run, or the old options to go on with this one."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out
