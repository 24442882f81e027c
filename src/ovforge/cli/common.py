"""What every command shares: `--json`, `--quiet`, `--debug`, progress bars, errors, and how a summary is shown."""

from __future__ import annotations

import contextlib
import functools
import inspect
import shlex
import sys
import time
import traceback
import typing
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ovforge.cli.from_options import GroupedCommand, expand
from ovforge.cli.output import (
    ForgivingStream,
    discard_stdout,
    prepare_streams,
    signals_as_interrupts,
    stdout_is_broken,
    write_error,
    write_out,
)
from ovforge.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, OvforgeError
from ovforge.options.base import convert, simple_type

if TYPE_CHECKING:
    from ovforge.records.reporting import Progress, StepSummary

PANEL = "What is printed"
_WIDE = {"max_content_width": 120}


def _switch(*names: str, help: str) -> Any:
    return Annotated[bool, typer.Option(*names, rich_help_panel=PANEL, help=help, show_default=False)]


JsonOption = _switch("--json", help="Print the summary as JSON.")
QuietOption = _switch("--quiet", "-q", help="No progress bars.")
VerboseOption = _switch("--verbose", "-v", help="Every reason and note.")
DebugOption = _switch("--debug", help="Show the traceback of an error.")
SkippedOption = Annotated[
    Path | None,
    typer.Option(
        "--skipped",
        rich_help_panel=PANEL,
        metavar="FILE.csv",
        help="Write all skipped items to FILE.csv, with reason and place.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Console:
    """How a command talks: progress to stderr, results to stdout."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    given: frozenset[str] = frozenset()
    """The parameters that stood on the command line; the others have their defaults."""
    verbose: bool = False
    callback: Progress | None = None
    """Told of the progress in the place of bars, for a caller in Python."""

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress callback: bars on stderr, a line a minute where that is not a terminal, nothing with `--quiet`."""
        from ovforge.records.reporting import no_progress

        if self.callback is not None:
            yield self.callback
            return
        if self.quiet:
            yield no_progress
            return
        if not sys.stderr.isatty():
            yield _ProgressLines()
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text(f"{speed:.1f}/s" if speed else "")

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
        with Bars(*columns, console=RichConsole(file=ForgivingStream(sys.stderr))) as bars:  # type: ignore[arg-type]
            tasks: dict[str, Any] = {}

            def show(stage: str, done: int, total: int) -> None:
                if stage not in tasks:  # what is done already is no measure of speed
                    tasks[stage] = bars.add_task(stage, total=total or None, completed=done)
                bars.update(tasks[stage], completed=done, total=total or None)

            yield show

    def show(self, summary: StepSummary) -> None:
        """Print a step's summary to stdout."""
        if self.json:
            self.print_json(summary)
        else:
            from ovforge.records.summary_text import as_text

            write_out(as_text(summary, verbose=self.verbose))

    def print_json(self, value: Any) -> None:
        """Print a record to stdout as indented JSON."""
        import json

        import msgspec

        try:
            text = msgspec.json.format(msgspec.json.encode(value)).decode()
            text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
        except UnicodeEncodeError:  # a name or a terminal that is not UTF-8: escapes are valid everywhere
            text = json.dumps(msgspec.to_builtins(value), indent=2)
        write_out(text + "\n")


class _InterruptedError(Exception):
    """A command was interrupted. Not a KeyboardInterrupt: typer would end with that and say nothing."""

    def __init__(self, interrupt: KeyboardInterrupt) -> None:
        self.interrupt = interrupt


def command(
    app: typer.Typer, name: str, *, example: str, verbose: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register `function(console, ...) -> StepSummary | None` as a command.

    The decorator adds the common options, for a command with a summary also `--verbose` and `--skipped`, hands in
    the `Console`, prints the summary that comes back, and appends `example` to the help text.

    Args:
        verbose: a command without a summary has `--verbose`, too.
    """

    has_verbose = verbose

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(function, eval_str=True)
        own, collect = expand(list(signature.parameters.values())[1:])

        @functools.wraps(function)
        def run(
            *,
            context_: typer.Context,
            json_: bool,
            quiet: bool,
            debug: bool,
            verbose: bool = False,
            skipped: Path | None = None,
            **options: Any,
        ) -> None:
            console = Console(json=json_, quiet=quiet, debug=debug, given=_given(context_), verbose=verbose)
            try:
                with _skipped_to(skipped):
                    summary = function(console, **collect(options))
            except OvforgeError as error:
                if debug:
                    traceback.print_exc()
                _print_error(error, _option_names(own))
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt as error:
                raise _InterruptedError(error) from error
            if summary is not None:
                console.show(summary)

        run.function = function  # type: ignore[attr-defined]
        shared: dict[str, Any] = {"json_": JsonOption, "quiet": QuietOption, "debug": DebugOption}
        if signature.return_annotation is not None:
            shared |= {"verbose": VerboseOption, "skipped": SkippedOption}
        elif has_verbose:
            shared["verbose"] = VerboseOption
        common = [
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=None if key == "skipped" else False,
                annotation=kind,
            )
            for key, kind in shared.items()
        ]
        keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        context = inspect.Parameter("context_", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [*keyword_only, context, *common]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        del run.__wrapped__  # typer would read the original's signature through it
        epilog = f"Example:  {example}"
        return app.command(name, epilog=epilog, cls=GroupedCommand, context_settings=_WIDE)(run)

    return decorate


def as_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command, or the function that it was made from, as a function of Python: its options as keywords."""
    function = getattr(function, "function", function)
    own, collect = expand(list(inspect.signature(function, eval_str=True).parameters.values())[1:])
    return functools.partial(_call, function, own, collect)


class _ProgressLines:
    """Progress for a log: a line a minute at most, with speed and time left."""

    every = 60.0

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, int]] = {}
        self._next = time.monotonic() + self.every

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        since, before = self._told.setdefault(stage, (now, done))
        if now < self._next or not total:
            return
        self._next = now + self.every
        rate = (done - before) / (now - since) if now > since else 0.0
        left = f", {rate:.2g}/s, {timedelta(seconds=round((total - done) / rate))} left" if rate > 0 else ""
        write_error(f"{stage}: {done:,} of {total:,}{left}\n")


def _call(
    function: Callable[..., Any],
    parameters: list[inspect.Parameter],
    collect: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    progress: Progress | None = None,
    **keywords: Any,
) -> Any:
    """A command as a function of Python: its options as keywords, its summary as the result."""
    known = {parameter.name: parameter for parameter in parameters}
    if unknown := sorted(set(keywords) - set(known)):
        raise TypeError(f"{function.__name__}() has no option {', '.join(unknown)}; it has {', '.join(known)}")
    values = {}
    for name, parameter in known.items():
        value = keywords.get(name, parameter.default)
        if value is inspect.Parameter.empty:
            raise TypeError(f"{function.__name__}() needs the option {name}")
        kind, _ = simple_type(typing.get_args(parameter.annotation)[0])
        parse = getattr(_option_of(parameter), "parser", None)
        if isinstance(value, str) and parse is not None:
            value = parse(value)
        values[name] = convert(value, kind, f"--{name.replace('_', '-')}")
    console = Console(quiet=True, given=frozenset(keywords), callback=progress)
    return function(console, **collect(values))


def _option_of(parameter: inspect.Parameter) -> Any:
    """What typer knows of an option or argument."""
    return next(iter(getattr(parameter.annotation, "__metadata__", ())), None)


def _given(context: typer.Context) -> frozenset[str]:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and "DEFAULT" not in source.name)


def _skipped_to(path: Path | None) -> contextlib.AbstractContextManager[None]:
    if path is None:
        return contextlib.nullcontext()
    from ovforge.files.skipped_file import write_skipped

    return write_skipped(path)


def run_app(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 bad usage or input, 130 interrupted."""
    prepare_streams()
    try:
        with signals_as_interrupts():
            result = app(args=arguments, standalone_mode=False)
    except (KeyboardInterrupt, _InterruptedError) as error:
        interrupt = error.interrupt if isinstance(error, _InterruptedError) else error
        command_line = shlex.join(["ovforge", *(sys.argv[1:] if arguments is None else arguments)])
        what = getattr(interrupt, "message", "") or f"{str(interrupt) or 'interrupted'}: nothing is half-written"
        write_error(f"{what}\n  the same command resumes: {command_line}\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        discard_stdout()
        return EXIT_DONE
    except SystemExit as error:
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        discard_stdout()  # typer, too, ends so where nobody reads its help, but with 1
        return EXIT_DONE
    except typer.Abort:
        return EXIT_INTERRUPTED
    except OvforgeError as error:
        _print_error(error)
        return error.exit_code
    except Exception as error:
        if isinstance(error, OSError) and stdout_is_broken():  # what typer prints itself, as the help
            discard_stdout()
            return EXIT_DONE
        # Typer's usage errors carry their own one-line message and exit code; anything else is a defect of ovforge.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its message is the help
            write_out(f"{error.format_message()}\n" if error.format_message() else "")
            return EXIT_USAGE
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "ovforge"
        write_error(f"error: {error.format_message()} (see '{where} --help')\n")
        return EXIT_USAGE
    return result if isinstance(result, int) else EXIT_DONE


def _print_error(error: OvforgeError, options: Collection[str] | None = None) -> None:
    """What is wrong and what to do next; `options` are those of the command, as nothing else helps there."""
    write_error(f"error: {error.message}\n")
    if hint := error.hint_for(options):
        write_error(f"  {hint}\n")


def _option_names(parameters: Iterable[inspect.Parameter]) -> set[str]:
    """Every spelling of every option among a command's parameters."""
    names: set[str] = set()
    for parameter in parameters:
        for given in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(given, typer.models.OptionInfo):
                # In an `Annotated` type, the first spelling stands in the place of the default.
                spellings = [text for text in (given.default, *(given.param_decls or ())) if isinstance(text, str)]
                names.update(spellings or (f"--{parameter.name.replace('_', '-')}",))
    return names
