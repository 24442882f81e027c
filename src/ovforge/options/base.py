"""What all options of steps share: a default, its help and its names, stated once.

A step's options are one frozen dataclass of `Options`, used by the Python function, the command line and a run's
manifest alike. A field made by `option` carries what the command line has to know; `ovforge.cli.from_options` makes
its options from it. Values are checked where the dataclass is made, so that a Python caller and the command line are
told the same.
"""

from __future__ import annotations

import difflib
import functools
import os
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from ovforge.errors import InputError

_KEY = "ovforge"
R = TypeVar("R")


@dataclass(frozen=True)
class Described:
    """How a field looks on the command line."""

    help: str = ""
    names: tuple[str, ...] = ()
    """Its spellings, the usual one first; empty: `--` and the field's name."""
    argument: bool = False
    """Given by its place, without a name."""
    panel: str = ""
    """The group of the help that it belongs to."""
    metavar: str = ""
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    shown: str | None = None
    """The default as the help shows it; empty: not at all."""
    parse: Callable[[str], Any] | None = None
    """From the text of the command line; gives a tuple where `also` names more fields."""
    also: tuple[str, ...] = ()
    """Fields that are set by the same option."""
    hidden: bool = False
    """Not an option of the command line."""
    off: str = ""
    """For a switch that is on by default: the name that switches it off, in the place of its own."""


def option(default: Any = MISSING, help: str = "", *names: str, **more: Any) -> Any:
    """A field of an options dataclass, with its help, its names on the command line and its range.

    >>> @dataclass(frozen=True)
    ... class Example(Options):
    ...     count: int = option(3, "How many.", "--count", "-n", at_least=1)
    >>> Example().count
    3
    >>> Example(count=0)
    Traceback (most recent call last):
        ...
    ovforge.errors.InputError: count=0: must be at least 1
    """
    if default is MISSING:
        return field(metadata={_KEY: Described(help, names, **more)})
    return field(default=default, metadata={_KEY: Described(help, names, **more)})


def describe(one: Any) -> Described | None:
    """What a dataclass's field says of itself; None for a field that is not an option."""
    found = one.metadata.get(_KEY)
    return found if isinstance(found, Described) else None


def option_names(one: Any) -> tuple[str, ...]:
    """The spellings of a field's option."""
    described = describe(one)
    names = described.names if described is not None else ()
    return names or (f"--{one.name.replace('_', '-')}",)


def given_words(options: Any) -> list[str]:
    """The options that differ from their defaults, as words of a command line; arguments first.

    >>> @dataclass(frozen=True)
    ... class Example(Options):
    ...     count: int = option(3, "How many.", "--count", "-n")
    ...     fast: bool = option(False, "Be fast.")
    >>> given_words(Example(4, True)), given_words(Example())
    (['--count', '4', '--fast'], [])
    """
    arguments: list[str] = []
    words: list[str] = []
    for one in fields(options):
        described, value = describe(one), getattr(options, one.name)
        if described is None or described.hidden:
            continue
        values = [value, *(getattr(options, name) for name in described.also)]
        defaults = [one.default, *(other.default for other in fields(options) if other.name in described.also)]
        if described.argument:
            arguments.append(str(value))
        elif values != defaults:
            words += _words(option_names(one)[0], described, values)
    return [*arguments, *words]


def _words(name: str, described: Described, values: list[Any]) -> list[str]:
    value = values[0]
    if isinstance(value, bool):
        return [name if value else described.off or f"--no-{name.removeprefix('--')}"]
    if described.also:
        return [name, "x".join(map(str, values))]
    return [word for each in (value if isinstance(value, tuple) else [value]) for word in (name, _text(each))]


def _text(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def keyword(one: Any) -> str:
    """What a field's option is called in Python: as the field, unless it sets several of them."""
    described = describe(one)
    if described is None or not described.also:
        return str(one.name)
    return option_names(one)[0].lstrip("-").replace("-", "_")


class Options:
    """Base of all options: text becomes paths and choices, ranges are checked.

    Raises:
        InputError: names the option, its value and what is allowed.
    """

    def __post_init__(self) -> None:
        for one, kind in zip(fields(self), _kinds(type(self)), strict=True):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            converted = convert(value, kind, option_names(one)[0])
            if converted is not value:
                object.__setattr__(self, one.name, converted)
            described = describe(one)
            if described is not None and isinstance(converted, int | float) and not isinstance(converted, bool):
                _check_range(option_names(one)[0], converted, described)
        _check_outputs(self)


_OUTPUTS = frozenset({"out", "annotations_out", "class_names"})
"""Fields that name a file to write."""


def _check_outputs(options: Options) -> None:
    """Refuse an output that is one of the inputs, which `--overwrite` would replace."""
    own = {one.name: one for one in fields(options)}  # type: ignore[arg-type]
    written = [(name, getattr(options, name)) for name in own if name in _OUTPUTS]
    for name, path in written:
        if not isinstance(path, Path) or not path.is_file():
            continue
        for other in own.keys() - _OUTPUTS:
            given, its_option = getattr(options, other), option_names(own[other])[0]
            for source in given if isinstance(given, tuple) else (given,):
                if isinstance(source, Path) and source.is_file() and source.samefile(path):
                    raise InputError(
                        f"{option_names(own[name])[0]}={path}: is the file of `{its_option}`, an input",
                        hint="write to another file: inputs are never changed in place",
                    )


def by_keywords(kind: type[Options]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Let a step be called with its options as keywords as well as with the options object.

    >>> @dataclass(frozen=True)
    ... class Example(Options):
    ...     count: int = option(3, "How many.")
    >>> @by_keywords(Example)
    ... def step(options, *, double=False):
    ...     return options.count * (2 if double else 1)
    >>> step(Example(4)), step(), step(5), step(count=6, double=True)
    (4, 3, 5, 12)
    """

    def decorate(step: Callable[..., R]) -> Callable[..., R]:
        # As on the command line, what needs no name comes first.
        names = [one.name for one in sorted(fields(kind), key=_has_a_name)]  # type: ignore[arg-type]

        @functools.wraps(step)
        def run(*arguments: Any, **given: Any) -> R:
            if "options" in given or (arguments and isinstance(arguments[0], kind)):
                return step(*arguments, **given)
            if len(arguments) > len(names):
                raise TypeError(f"{step.__name__}() takes the options {', '.join(names)}")
            own = {name: given.pop(name) for name in names if name in given}
            return step(kind(**dict(zip(names, arguments, strict=False)), **own), **given)

        return run

    return decorate


def _has_a_name(one: Any) -> bool:
    described = describe(one)
    return described is None or not described.argument


@functools.cache
def _kinds(kind: type[Options]) -> tuple[Any, ...]:
    """The one type that matters of each field: Path, a choice, or None."""
    hints = typing.get_type_hints(kind)
    return tuple(simple_type(hints[one.name])[0] for one in fields(kind))  # type: ignore[arg-type]


def simple_type(hint: Any) -> tuple[Any, bool]:
    """(the type, whether None will do) of an annotation such as `Path | None`."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [argument for argument in arguments if argument is not type(None)]
        return (others[0] if len(others) == 1 else Any), type(None) in arguments
    return hint, False


def convert(value: Any, kind: Any, name: str) -> Any:
    """`value` as `kind`, where it is text for a path, a choice or one of several; `name` is the option that it is of.

    Raises:
        InputError: text that is none of the choices; names the nearest one.
    """
    if kind is Path and isinstance(value, str | os.PathLike) and not isinstance(value, Path):
        return Path(value)
    if typing.get_origin(kind) is tuple and isinstance(value, str | list):
        return (value,) if isinstance(value, str) else tuple(value)
    if isinstance(kind, type) and issubclass(kind, Enum) and not isinstance(value, kind) and value is not None:
        return choice(kind, str(value), name)
    return value


def choice(kind: type[Enum], text: str, name: str) -> Enum:
    """The member of `kind` that `text` names.

    Raises:
        InputError: there is none; names the choices and the nearest one.
    """
    values = [str(member.value) for member in kind]
    for member in kind:
        if str(member.value) == text:
            return member
    near = difflib.get_close_matches(text.lower(), values, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else ""
    raise InputError(f"{name}={text}: must be {any_of(values)}", hint=hint)


LONGEST_RUN_NAME = 150
"""Bytes. Its files are called after it, and a file that is being written has a longer name yet; 255 is the end."""


def check_plain_name(name: str, *, hint: str) -> None:
    """Refuse a name of a run that cannot be the name of a folder.

    Raises:
        InputError: it is empty, hidden, a path, has control characters, or is too long.
    """
    if not name or Path(name).name != name or name.startswith(".") or any(ord(letter) < 32 for letter in name):
        raise InputError(f"{name!r} is not a name for a run", hint=hint)
    if len(os.fsencode(name)) > LONGEST_RUN_NAME:
        raise InputError(f"'{name[:40]}...' is too long a name for a run: at most {LONGEST_RUN_NAME} bytes", hint=hint)


def any_of(values: list[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def _check_range(name: str, value: float, described: Described) -> None:
    low, high, above = described.at_least, described.at_most, described.above
    # Written so that NaN fails too.
    if (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above):
        return
    least = f"at least {low:g}" if low is not None else f"above {above:g}" if above is not None else ""
    if low is not None and high is not None:
        span = f"from {low:g} to {high:g}"
    else:
        span = " and ".join(filter(None, (least, f"at most {high:g}" if high is not None else "")))
    raise InputError(f"{name}={value}: must be {span}")
