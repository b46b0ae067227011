"""Files for others: written once; what lies there already is kept unless it is the same."""

from __future__ import annotations

from pathlib import Path

from shards.errors import ConfigError
from shards.store import Store


def write_new(files: dict[Path, bytes]) -> None:
    """Write files, all into one folder; those that are there with the same bytes are not touched.

    Raises:
        ConfigError: something else is there under one of the names; nothing has been written.
        ShardError: what is there cannot be read, or the folder cannot be written.
    """
    missing = []
    for path, data in files.items():
        store = Store(path.parent)  # it knows a home folder's ~
        if not store.exists(path.name):
            missing.append((store, path.name, data))
        elif store.read(path.name) != data:
            raise ConfigError(
                f"{path}: is there already and is not what would be written: choose another name, or remove it"
            )
    for store, name, data in missing:
        store.make()
        store.write(name, data)
