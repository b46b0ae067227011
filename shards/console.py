"""What the three programs share at the terminal: options made from configs, exit codes, progress, one JSON object.

Exit codes: 0 done, 1 the user's or the data's fault, 2 wrong usage, 3 finished but some items failed, 130 interrupted.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
import time
import types
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic.fields import FieldInfo

from shards.config import Config, read_toml
from shards.errors import ConfigError, UserError

SOME_FAILED = 3
BYTES = "B"
"""The unit of progress that is shown as sizes."""
_INTERRUPTED = "interrupted: what was finished is kept; run the same command again to continue"

Json = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout, nothing else")]


def app(help_text: str) -> typer.Typer:
    """A program or a group of commands."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # importing rich costs 0.2 s of the half second that --help may take
    )


def run(program: typer.Typer, name: str) -> NoReturn:
    """Run a program and leave with the contract's exit code; a user's mistake never shows a traceback."""
    try:
        program(prog_name=name)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:  # typer turns a KeyboardInterrupt into a silent exit
        if end.code == 130:
            say(_INTERRUPTED)
        raise
    except KeyboardInterrupt:
        say(_INTERRUPTED)
        sys.exit(130)
    except BrokenPipeError:  # `rsdata info … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(0)


def emit(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    """The result: one JSON object for programs, or a few lines for people."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))
    else:
        typer.echo(text)


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def configured(
    program: typer.Typer,
    name: str,
    config: type[Config],
    *,
    fixed: dict[str, Any] | None = None,
    help: str | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose first parameter `config` is filled from options generated from `config`'s fields.

    Fields of nested configs become options of their own, without a prefix. `--config FILE.toml` gives the base and
    options given on the command line override it. `fixed` values are not offered as options.
    """
    fixed = fixed or {}

    def register(function: Callable[..., None]) -> Callable[..., None]:
        leaves = _leaves(config, skip=set(fixed))
        own = [
            p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "config"
        ]
        clash = {p.name for p in own} & set(leaves)
        assert not clash, f"{name}: {clash} are both options of the command and fields of {config.__name__}"

        @functools.wraps(function)
        def command(**given: Any) -> None:
            base = given.pop("config_file")
            values = read_toml(base) if base else {}
            for key, (path, _) in leaves.items():
                value = given.pop(key)
                if value is not None and value != []:
                    _put(values, path, value)
            for key, (path, field) in leaves.items():
                if base is None and len(path) == 1 and field.is_required() and key not in values:
                    raise typer.BadParameter("it is required", param_hint=_flag(key))
            for key, value in fixed.items():
                if values.setdefault(key, value) != value:
                    raise ConfigError(f"{base}: {key} = {values[key]!r}, but the command is for {value!r}")
            function(config=config.build(str(base or "options"), **values), **given)

        file = Annotated[
            Path | None,
            typer.Option("--config", help="TOML file with any of these options; the flags override it"),
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        parameters.append(
            inspect.Parameter("config_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=file)
        )
        for key, (_, field) in leaves.items():
            parameters.append(_parameter(key, field))
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        program.command(name, help=help or inspect.getdoc(function) or config.__doc__)(command)
        return function

    return register


def _leaves(config: type[Config], skip: set[str]) -> dict[str, tuple[tuple[str, ...], FieldInfo]]:
    """Each option with its place in the config. Two places for one flag would leave one of them out of reach."""
    leaves: dict[str, tuple[tuple[str, ...], FieldInfo]] = {}
    for path, field in _fields(config, skip):
        assert path[-1] not in leaves, (
            f"{_flag(path[-1])} would mean {leaves[path[-1]][0]} and {path}: rename one"
        )
        leaves[path[-1]] = (path, field)
    return leaves


def _fields(
    config: type[Config], skip: set[str], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for key, field in config.model_fields.items():
        if key in skip or (key == "kind" and typing.get_origin(field.annotation) is typing.Literal):
            continue
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            yield from _fields(kind, skip, (*path, key))
        elif _option_type(kind) is not None:
            yield (*path, key), field


def _option_type(kind: Any) -> Any:
    """The type typer is given, always optional so that "not given" can be told; None where no flag makes sense."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(kind) if part is not type(None)]
        return _option_type(rest[0]) if len(rest) == 1 else str
    if origin is tuple:
        parts = typing.get_args(kind)
        if parts[-1] is not Ellipsis:
            return kind
        return list[parts[0]] if isinstance(parts[0], type) else list[str]  # type: ignore[valid-type]  # of Literal: text
    if origin in (list, typing.Literal):
        return kind
    if isinstance(kind, type) and issubclass(kind, str | int | float | bool | Path):
        return kind
    return None


def _parameter(key: str, field: FieldInfo) -> inspect.Parameter:
    text = field.description or ""
    if field.default is not None and not field.is_required() and field.default not in ((), [], ""):
        text += f" (default: {field.default})"
    text += " (required)" if field.is_required() else ""
    name = _flag(key)
    declaration = f"{name}/--no-{name[2:]}" if field.annotation is bool else name
    option = typer.Option(declaration, help=text.strip(), show_default=False)
    annotation: Any = Annotated[typing.Optional[_option_type(field.annotation)], option]  # noqa: UP045
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):  # a file's fault, which the config names when it is built
            return
    values[path[-1]] = value


class Progress:
    """One task's progress: a bar on a terminal, a line a minute in a log file."""

    def __init__(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self._before = done
        self.note = ""
        self._start = self._said = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Say that `count` more are done; `note` is a short remark such as the current loss."""
        self.done += count
        self.note = self.note if note is None else note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self.note)
        elif time.monotonic() - self._said >= 60:
            self._said = time.monotonic()
            self._line()

    def expect(self, total: int | None) -> None:
        """Say how many it will be, where that was not known before."""
        self.total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def _line(self) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self.done - self._before) / seconds
        if self.unit == BYTES:
            of = f" of {_megabytes(self.total)}" if self.total is not None else ""
            text = f"{_megabytes(self.done)}{of}, {_megabytes(rate)}/s"
        else:
            of = f"/{self.total:,}" if self.total is not None else ""
            text = f"{self.done:,}{of} {self.unit}, {rate:,.1f}/s"
        if self.total is not None and rate > 0 and self.done < self.total:
            text += f", {_duration((self.total - self.done) / rate)} left"
        say(f"{self.title}: {text} {self.note}".rstrip())


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    """`3 s`, `12 min`, `5.2 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress(title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Progress]:
    """Show progress on stderr while the block runs.

    Args:
        title: of the work.
        total: to be done; None where it is not known yet.
        unit: of which, such as `items`; BYTES are shown as sizes.
        done: what an earlier run had finished.
    """
    state = Progress(title, total, unit, done)
    if not sys.stderr.isatty():
        yield state
        state._line()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        *(
            (DownloadColumn(), TransferSpeedColumn())
            if unit == BYTES
            else (MofNCompleteColumn(), TextColumn(unit))
        ),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Bar(*columns, console=Console(stderr=True)) as bar:
        state._bar = bar
        state._task = bar.add_task(title, total=total, completed=done, note="")
        yield state
