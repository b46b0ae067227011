"""Files for others: written once; what lies there already is kept unless it is the same."""

from __future__ import annotations

from pathlib import Path

from shards.errors import ConfigError
from shards.store import Store


def write_new(files: dict[Path, bytes]) -> None:
    """Write files, all into one folder; those that are there with the same bytes stay as they are.

    Raises:
        ConfigError: something else is there under one of the names; nothing has been written.
    """
    for path, data in files.items():
        if path.exists() and not (path.is_file() and path.read_bytes() == data):
            raise ConfigError(
                f"{path}: is there already and is not what would be written: choose another name, or remove it"
            )
    for path, data in files.items():
        store = Store(path.parent)
        store.make()
        store.write(path.name, data)
