"""Command-line options from the dataclasses of options: defaults, help, names and ranges stand there, once.

A command's parameter whose type is an options dataclass becomes one option for each of its fields; the command is
called with the dataclass, made from what was given.
"""

from __future__ import annotations

import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ovforge.options.base import Described, Options, choice, describe, keyword, option_names, simple_type


def expand(parameters: list[inspect.Parameter]) -> tuple[list[inspect.Parameter], Callable[..., dict[str, Any]]]:
    """The parameters of a command with its options dataclasses taken apart, and what puts them together again."""
    expanded: list[inspect.Parameter] = []
    # Parameters are called as in Python: `Console.given` names those that were given.
    made: dict[str, tuple[type[Any], dict[str, Any]]] = {}
    for parameter in parameters:
        kind = parameter.annotation
        if not (isinstance(kind, type) and is_dataclass(kind) and issubclass(kind, Options)):
            expanded.append(parameter)
            continue
        own = {keyword(one): one for one in fields(kind) if _is_option(one)}
        hints = typing.get_type_hints(kind)
        expanded += [_parameter(key, one, hints[one.name]) for key, one in own.items()]
        made[parameter.name] = (kind, own)

    def collect(given: dict[str, Any]) -> dict[str, Any]:
        for name, (kind, own) in made.items():
            values: dict[str, Any] = {}
            for key, one in own.items():
                value, described = given.pop(key), describe(one) or Described()
                if described.off:
                    values[one.name] = not value
                elif described.also:
                    if value is not None:
                        values |= dict(zip((one.name, *described.also), value, strict=True))
                elif one.default == ():
                    values[one.name] = tuple(value or ())
                else:
                    values[one.name] = value
            given[name] = kind(**values)
        return given

    return expanded, collect


def _is_option(one: Any) -> bool:
    described = describe(one)
    return described is not None and not described.hidden


def _parameter(key: str, one: Any, hint: Any) -> inspect.Parameter:
    described = describe(one) or Described()
    default = inspect.Parameter.empty if one.default is MISSING else one.default
    kind, _ = simple_type(hint)
    names = (described.off,) if described.off else option_names(one)
    default = not default if described.off else default
    if described.argument:
        more = _text(described, kind, default, one.name)
        hint = typing.Any if "parser" in more else hint
        if not described.metavar:
            more["metavar"] = one.name.upper()
        annotation: Any = Annotated[hint, typer.Argument(**more)]
    else:
        if isinstance(kind, type) and issubclass(kind, Enum):
            hint = typing.Any
        elif described.parse is not None:
            hint = str | None
            default = None if described.also else default
        elif typing.get_origin(kind) is tuple:
            hint = list[typing.get_args(kind)[0]] | None  # type: ignore[misc]
            default = default or None
        annotation = Annotated[hint, _option(described, names, kind, default)]
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(described: Described, names: tuple[str, ...], kind: Any, default: Any) -> Any:
    more = _text(described, kind, default, names[0])
    if kind is bool:
        more.pop("metavar", None)
        if default and not described.off:
            names = (f"{names[0]}/--no-{names[0].removeprefix('--')}", *names[1:])
    return typer.Option(*names, **more)


def _text(described: Described, kind: Any, default: Any, name: str) -> dict[str, Any]:
    more: dict[str, Any] = {"help": described.help, "show_default": False}
    if described.panel:
        more["rich_help_panel"] = described.panel
    if described.metavar:
        more["metavar"] = described.metavar
    unsaid = default is None or isinstance(default, bool) or default in ((), inspect.Parameter.empty)
    shown = "" if unsaid else str(default)
    if isinstance(kind, type) and issubclass(kind, Enum):
        more["parser"] = _chooser(kind, name)
        more.setdefault("metavar", "[" + "|".join(str(member.value) for member in kind) + "]")
        shown = str(default.value) if isinstance(default, Enum) else ""
    elif described.parse is not None:
        more["parser"] = _parser(described.parse)
        more.setdefault("metavar", "TEXT")
    elif kind is Path:
        more.setdefault("metavar", "PATH")
    elif kind in (int, float):
        more.setdefault("metavar", "NUMBER")
    elif kind is str or typing.get_origin(kind) is tuple:
        more.setdefault("metavar", "TEXT")
    if described.shown is not None:
        shown = described.shown
    if shown:
        more["help"] += f"  [default: {shown}]"
    return more


def _chooser(kind: type[Enum], name: str) -> Callable[[Any], Enum]:
    def choose(text: Any) -> Enum:
        return text if isinstance(text, kind) else choice(kind, str(text), name)

    return choose


def _parser(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def read(text: Any) -> Any:
        return parse(text) if isinstance(text, str) else text

    return read


ORDER = ("Arguments", "Inputs", "Second views", "Engine", "Engine diffusion", "", "Run", "What is printed")
"""Groups of options; others stand in the place of the empty name."""
FIRST_COLUMN = 30
"""Longer names of options stand on a line of their own."""


class GroupedCommand(TyperCommand):
    """A command whose help shows its options in groups, those without a group first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[Any]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            heading = "Arguments" if parameter.param_type_name == "argument" else "Options"
            heading = ORDER[-1] if parameter.name == "help" else heading
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or heading, []).append(record)
        for heading, records in sorted(groups.items(), key=lambda group: _place(group[0])):
            if records:
                with formatter.section(heading):
                    formatter.write("".join(_definitions(records, formatter.current_indent, formatter.width)))


def _place(heading: str) -> int:
    return ORDER.index(heading if heading in ORDER else "")


def _definitions(records: list[tuple[str, str]], indent: int, width: int) -> Iterator[str]:
    """Names and what they mean in two columns; unlike click's, never with a path or word broken in two."""
    records = [(re.sub(r" <\w+>$", "", name), help) for name, help in records]
    column = indent + min(max(len(name) for name, _ in records), FIRST_COLUMN) + 2
    for name, help in records:
        lines = textwrap.wrap(help, max(width - column, 20), break_long_words=False, break_on_hyphens=False) or [""]
        head = f"{'':{indent}}{name}"
        if len(head) + 2 > column:
            yield f"{head}\n"
            head = ""
        yield f"{head:{column}}{lines[0]}".rstrip() + "\n"
        yield from (f"{'':{column}}{line}\n" for line in lines[1:])
