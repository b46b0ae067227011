"""Config: frozen, closed to unknown keys; the base of everything a recipe can name."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Self

import pydantic

from shards.errors import ConfigError


class Config(pydantic.BaseModel):
    """A frozen set of options; equal configs have equal digests."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        defer_build=True,  # building a validator reads the metadata of every installed package; `--help` needs none
    )

    @pydantic.model_validator(mode="after")
    def _can_be_written(self) -> Self:
        """TOML has no null: None is what is left out, and what is left out comes back as the default."""
        for name, field in type(self).model_fields.items():
            if field.is_required() or getattr(self, name) is not None:
                continue
            if field.get_default(call_default_factory=True) is not None:
                raise ValueError(f"{name}: cannot be None; leave it out for its default, {field.default!r}")
        return self

    @classmethod
    def build(cls, where: str = "options", /, **values: Any) -> Self:
        """Validate `values`.

        Raises:
            ConfigError: one line a fault, naming the key, what was found and what is known.
        """
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            raise ConfigError(_explain(cls, where, error)) from None

    @classmethod
    def load(cls, path: Path | None, **overrides: Any) -> Self:
        """Read a TOML file (or start from the defaults) and lay `overrides` that are not None over it."""
        values = read_toml(path) if path else {}
        values |= {key: value for key, value in overrides.items() if value is not None}
        return cls.build(str(path) if path else "options", **values)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; keys whose value is None are left out (TOML has no null)."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_toml(self) -> str:
        """The resolved config, every default written out."""
        import tomli_w

        return tomli_w.dumps(self.to_dict())

    def digest(self) -> str:
        """sha256 of the resolved values, independent of the order of keys."""
        return digest_of(self.to_dict())


def digest_of(value: Any) -> str:
    """sha256 (hex) of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None


def _owner(cls: type[Config], where: tuple[int | str, ...]) -> type[Config]:
    """The nested config in which a key stands."""
    for part in where[:-1]:
        field = cls.model_fields.get(str(part))
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, Config)):
            break
        cls = kind
    return cls


def _explain(cls: type[Config], where: str, error: pydantic.ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = ", ".join(sorted(_owner(cls, fault["loc"]).model_fields))
            lines.append(f"{where}: {key}: unknown key; known: {known}")
        elif fault["type"] == "missing":
            lines.append(f"{where}: {key}: is required")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            found = "" if not key or isinstance(fault["input"], dict) else f" (found {fault['input']!r})"
            lines.append(f"{where}: {key + ': ' if key else ''}{message}{found}")
    return "\n".join(lines)
