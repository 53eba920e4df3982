"""Configuration dataclasses → click options: each `Annotated` field is a flag, its annotation help and metavar."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import click
from click.core import ParameterSource

from actpipe.errors import Misuse
from actpipe.places import Place
from actpipe.quantities import parse_bytes, parse_count

Command = TypeVar("Command", bound=Callable[..., Any])
# Fields that count tokens take 500k and 1e6; other whole numbers are written out.
COUNTS = frozenset({"tokens", "resample_every", "validation_tokens"})
SIZES = frozenset({"max_disk"})  # take 20GB


# Not subscripted: click before 8.4 has no generic ParamType.
class Quantity(click.ParamType):  # type: ignore[type-arg]
    def __init__(self, name: str, parse: Callable[[str], int]) -> None:
        self.name, self.parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int):
            return value
        try:
            return self.parse(value)
        except Misuse as error:
            self.fail(str(error), param, ctx)


class StorePlace(click.ParamType):  # type: ignore[type-arg]
    """A folder, or a URL, whose double slash a path would lose."""

    name = "PLACE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if isinstance(value, Path) or "://" in value else Path(value)


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """`2,4,8` → (2.0, 4.0, 8.0)."""

    name = "A,B,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 2,4,8.", param, ctx)


def options_of(config: type, *, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Add one option for each annotated field of a configuration dataclass."""
    hints = typing.get_type_hints(config, include_extras=True)

    def add(command: Command) -> Command:
        for field in reversed(dataclasses.fields(config)):
            if field.name not in without and typing.get_origin(hints[field.name]) is Annotated:
                command = _option(field, hints[field.name])(command)
        return command

    return add


def _option(field: dataclasses.Field[Any], hint: Any) -> Callable[[Command], Command]:
    kind, text, *metavar = typing.get_args(hint)
    kind = _without_none(kind)
    flag = "--" + field.name.replace("_", "-")
    if kind is bool:
        names = f"{flag}/--no-{flag[2:]}" if field.default else flag
        return click.option(names, field.name, is_flag=True, default=field.default, help=text)
    if kind == tuple[str, ...]:
        name, shown = (metavar or ["NAME"])[0], field.default != ()
        return click.option(
            flag, field.name, multiple=True, metavar=name, default=field.default, show_default=shown, help=text
        )
    show: bool | str = field.default is not None and field.default != ()
    if show and isinstance(field.default, tuple):
        show = ",".join(f"{value:g}" for value in field.default)
    return click.option(
        flag, field.name, type=_click_type(field.name, kind), default=field.default, show_default=show, help=text
    )


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    parts = [part for part in typing.get_args(kind) if part is not type(None)]
    return Place if set(parts) == set(typing.get_args(Place)) else parts[0]


def _click_type(name: str, kind: Any) -> Any:
    if name in COUNTS:
        return Quantity("N", parse_count)
    if name in SIZES:
        return Quantity("BYTES", parse_bytes)
    if typing.get_origin(kind) is Literal:
        return click.Choice(typing.get_args(kind))
    if kind == tuple[float, ...]:
        return Numbers()
    if kind == Place:
        return StorePlace()
    if kind is Path:
        return click.Path(path_type=Path)
    return kind


def typed() -> set[str]:
    """Names of the options that were given to the running command, rather than left at their defaults."""
    context = click.get_current_context()
    return {name for name in context.params if context.get_parameter_source(name) is not ParameterSource.DEFAULT}


def shared(command: Command) -> Command:
    """What every command takes."""
    command = click.option("--quiet", "-q", is_flag=True, help="No progress and no messages on stderr.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)
