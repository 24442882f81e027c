"""Options of steps: stated once, checked alike for Python and for the command line."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer

import ovforge.options
import ovforge.options.base
from ovforge.cli import main
from ovforge.cli.common import as_function, command, run_app
from ovforge.errors import InputError
from ovforge.options.annotations import RemoveRareOptions
from ovforge.options.base import Options, describe, given_words, option, option_names
from ovforge.wording import for_python


class Engine(str, Enum):
    """A choice."""

    WARP = "warp"
    DIFFUSION = "diffusion"


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


@dataclass(frozen=True)
class Example(Options):
    """Every kind of field."""

    name: str = option(help="The name.", argument=True)
    ann: Path = option(Path("a.json"), "Annotations.", "--ann", "--annotations")
    out: Path | None = option(None, "Output.", shown="beside the input")
    engine: Engine = option(Engine.WARP, "Engine.", panel="Engines")
    other: Engine | None = option(None, "Another engine.")
    count: int = option(3, "Count.", at_least=1, at_most=9)
    share: float = option(0.5, "Share.", above=0, at_most=1)
    batch: int | None = option(None, "Batch.", parse=lambda text: None if text == "auto" else int(text), shown="auto")
    width: int = option(768, "Size.", "--working-size", parse=_size, also=("height",), shown="768x512")
    height: int = option(512, hidden=True)
    flag: bool = option(False, "Flag.")
    square: bool = option(True, "Square.")
    check: bool = option(True, "No check.", off="--no-check")
    pair: tuple[str, ...] = option((), "Pairs.")
    secret: int = field(default=7)


@pytest.fixture
def app() -> tuple[typer.Typer, list[Any]]:
    app, seen = typer.Typer(rich_markup_mode=None), []
    app.callback()(lambda: None)

    @command(app, "go", example="go")
    def go(console: Any, options: Example, *, more: int = 1) -> None:
        """A command."""
        seen.append((options, more))

    return app, seen


def test_the_examples_in_the_docstrings() -> None:
    result = doctest.testmod(ovforge.options.base, optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_command_line_has_the_defaults_of_the_dataclass(app: tuple[typer.Typer, list[Any]]) -> None:
    assert run_app(app[0], ["go", "run"]) == 0
    assert app[1] == [(Example("run"), 1)]


def test_every_option_arrives_in_its_field(app: tuple[typer.Typer, list[Any]]) -> None:
    line = "go run --annotations b.json --out c --engine diffusion --other warp --count 9 --share 1 --batch 4"
    line += " --working-size 5x6 --flag --no-square --no-check --pair x --pair y --more 2"
    assert run_app(app[0], line.split()) == 0
    expected = Example(
        "run", Path("b.json"), Path("c"), Engine.DIFFUSION, Engine.WARP, 9, 1, 4, 5, 6, True, False, False, ("x", "y")
    )
    assert app[1] == [(expected, 2)]
    assert run_app(app[0], ["go", "run", "--batch", "auto"]) == 0
    assert app[1][1][0].batch is None


@pytest.mark.parametrize(
    "options",
    [
        Example("run"),
        Example(
            "a run", Path("b c.json"), Path("c"), Engine.DIFFUSION, None, 9, 1, 4, 5, 6, True, False, False, ("x", "y")
        ),
    ],
)
def test_options_as_words_of_a_command_line(app: tuple[typer.Typer, list[Any]], options: Example) -> None:
    assert run_app(app[0], ["go", *given_words(options)]) == 0
    assert app[1] == [(options, 1)]
    assert len(given_words(Example("run"))) == 1


def test_a_command_as_a_function(app: tuple[typer.Typer, list[Any]]) -> None:
    def go(console: Any, options: Example) -> tuple[Example, frozenset[str]]:
        return options, console.given

    called, given = as_function(go)(name="run", working_size="5x6", batch="auto", engine="diffusion", out="c")
    assert called == Example("run", width=5, height=6, engine=Engine.DIFFUSION, out=Path("c"))
    assert given == {"name", "working_size", "batch", "engine", "out"}
    assert as_function(go)(name="run", batch=4)[0].batch == 4
    with pytest.raises(TypeError, match="has no option width; it has name, "):
        as_function(go)(name="run", width=5)


@pytest.mark.parametrize(
    ("arguments", "keywords", "shell", "python"),
    [
        (["--engine", "wrap"], {"engine": "wrap"}, "error: --engine wrap: must be warp or diffusion\n"
         "  did you mean warp?\n", "engine='wrap': must be warp or diffusion\n  did you mean warp?"),
        (["--engine", "x"], {"engine": "x"}, "error: --engine x: must be warp or diffusion\n",
         "engine='x': must be warp or diffusion"),
        (["--count", "0"], {"count": 0}, "error: --count 0: must be from 1 to 9\n", "count=0: must be from 1 to 9"),
        (["--share", "nan"], {"share": float("nan")}, "error: --share nan: must be above 0 and at most 1\n",
         "share='nan': must be above 0 and at most 1"),
    ],
)  # fmt: skip
def test_python_and_the_command_line_are_told_the_same(
    app: tuple[typer.Typer, list[Any]],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    keywords: dict[str, Any],
    shell: str,
    python: str,
) -> None:
    assert run_app(app[0], ["go", "run", *arguments]) == 2
    assert capsys.readouterr().err == shell
    with pytest.raises(InputError) as caught:
        Example("run", **keywords)
    assert str(caught.value) == python


def test_python_callers_may_give_text_for_paths_and_choices() -> None:
    options = Example("run", ann="b.json", out="c", engine="diffusion")
    assert (options.ann, options.out, options.engine) == (Path("b.json"), Path("c"), Engine.DIFFUSION)
    assert Example("run").out is None


def test_the_help_states_defaults_choices_and_groups(
    app: tuple[typer.Typer, list[Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(app[0], ["go", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in (
        "Arguments: NAME", "--ann, --annotations PATH Annotations. [default: a.json]",
        "--out PATH Output. [default: beside the input]", "Size. [default: 768x512]", "[default: auto]",
        "Engines: --engine [warp|diffusion] Engine. [default: warp]", "--square / --no-square", "--no-check",
    ):  # fmt: skip
        assert part in text
    assert "secret" not in text
    assert "--height" not in text


def _all_options() -> Iterator[type[Options]]:
    for module in pkgutil.iter_modules(ovforge.options.__path__):
        for value in vars(importlib.import_module(f"ovforge.options.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Options) and dataclasses.is_dataclass(value):
                yield value


@pytest.mark.parametrize("kind", sorted(set(_all_options()), key=lambda kind: kind.__name__))
def test_hints_name_the_keywords_that_python_has(kind: type[Options]) -> None:
    for one in dataclasses.fields(kind):
        described = describe(one)
        assert described is not None, f"{kind.__name__}.{one.name} has no help: give it an option()"
        if described.hidden:
            continue
        assert described.help, f"{kind.__name__}.{one.name} has no help"
        if described.argument or described.off or described.also or len(option_names(one)[0]) == 2:
            continue
        # One of its spellings is the keyword in Python; hints use that one.
        assert f"{one.name}=..." in [for_python(f"{name}=X_X") for name in option_names(one)]


def _commands(app: typer.Typer, words: str = "ovforge") -> Iterator[tuple[str, Any]]:
    for one in app.registered_commands:
        yield f"{words} {one.name}", one.callback
    for group in app.registered_groups:
        yield from _commands(group.typer_instance, f"{words} {group.name}")


def test_every_command_takes_its_options_from_dataclasses() -> None:
    found = dict(_commands(main.app))
    assert {"ovforge pairs view", "ovforge exemplars view", "ovforge pairs status", "ovforge doctor"} <= found.keys()
    for words, callback in found.items():
        function = callback.function
        console, *others = inspect.signature(function, eval_str=True).parameters.values()
        assert console.name == "console"
        for parameter in others:
            assert isinstance(parameter.annotation, type), f"{words}: {parameter}"
            assert issubclass(parameter.annotation, Options), f"{words}: {parameter}"


@pytest.mark.parametrize("spelling", ["in.json", "folder/../in.json", "link.json"])
def test_an_input_is_never_an_output(tmp_path: Path, spelling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("in.json").write_text("{}")
    Path("link.json").symlink_to("in.json")
    with pytest.raises(InputError, match=r"out=\S*: is the file of `annotations`, an input"):
        RemoveRareOptions("in.json", out=spelling, overwrite=True)
    assert RemoveRareOptions("in.json", out="out.json", overwrite=True).out == Path("out.json")
