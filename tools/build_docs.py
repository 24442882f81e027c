#!/usr/bin/env python3
"""Write docs/commands.md and docs/api.md from the code. A test compares them with what this script would write."""

from __future__ import annotations

import argparse
import inspect
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import _checkout  # noqa: F401
import typer.main

import ovforge
from ovforge.cli.main import app
from ovforge.options.base import Options, describe

DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMON = ("--json", "--quiet", "--verbose", "--debug", "--skipped", "--help", "--version")
ROOMS = ("lvis", "imagenet", "exemplars", "pairs", "exports", "sample_data", "workflow", "data")


API_HEAD = """# Python

Made by `python tools/build_docs.py` from the code. The functions are the commands: options are keywords, paths may be
text, and what comes back is a `StepSummary` with `counts`, `outputs`, `skipped`, `warnings`, `notes` and
`to_dataframe()`. Errors are `ovforge.errors.OvforgeError`s with `reason`, `place` and `remedy`: an `InputError` can be
mended in the call or its files, a `WorkError` is work that failed.

```python
import ovforge

summary = ovforge.lvis.remove_rare(annotations="datasets/lvis/lvis_v1_train.json", overwrite=True)
print(summary.counts["annotations out"], summary.outputs["annotations"])
```

With `from ovforge.files.skipped_file import write_skipped`, `with write_skipped("skipped.csv"):` around a call writes
every skipped item to a file, as `--skipped` does.

"""


def commands() -> dict[str, Any]:
    """Every command of `ovforge`, by its words."""
    found: dict[str, Any] = {}

    def walk(command: Any, words: str) -> None:
        for name, each in sorted(getattr(command, "commands", {}).items()):
            walk(each, f"{words} {name}")
        if not hasattr(command, "commands"):
            found[words] = command

    walk(typer.main.get_command(app), "ovforge")
    return found


def command_page() -> str:
    """docs/commands.md."""
    lines = [
        "# Commands",
        "",
        "Made by `python tools/build_docs.py` from the code. Every command also has `--json` (the summary as JSON),",
        "`--quiet` (no progress bars), `--debug` (the traceback of an error) and `--help`; those with a summary have",
        "`--verbose` (every reason and note) and `--skipped FILE.csv` (all skipped items, with reason and place).",
        "",
    ]
    for words, command in commands().items():
        text = inspect.cleandoc(command.help or "")
        lines += [f"## `{words}`", "", *text.splitlines(), ""]
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                lines.append(f"- `{parameter.metavar or parameter.name.upper()}`: {_flat(parameter.help)}")
            elif not set(parameter.opts) & set(COMMON):
                names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
                lines.append(f"- {names}: {_flat(parameter.help)}")
        lines.append("")
    return "\n".join(lines)


def api_page() -> str:
    """docs/api.md."""
    lines = API_HEAD.splitlines()
    for room in ROOMS:
        module = getattr(ovforge, room)
        lines += [f"## `ovforge.{room}`", "", _first(module), ""]
        for name in sorted(module.__all__):
            lines += _function(f"ovforge.{room}.{name}", getattr(module, name))
    return "\n".join(lines)


def _function(name: str, function: Any) -> list[str]:
    kind = _options_of(function)
    lines = [f"### `{name}`", "", _first(function), ""]
    for one in fields(kind) if kind is not None else ():
        described = describe(one)
        if described is None or described.hidden:
            continue
        default = "" if one.default is MISSING else f" = {_shown(one.default)}"
        lines.append(f"- `{one.name}{default}`: {_flat(described.help)}")
    return [*lines, ""] if kind is not None else lines


def _options_of(function: Any) -> type[Any] | None:
    wrapped = inspect.unwrap(function)
    if not inspect.isfunction(wrapped):
        return None
    kinds = [
        hint for hint in inspect.get_annotations(wrapped, eval_str=False).values() if str(hint).endswith("Options")
    ]
    kind = wrapped.__globals__.get(str(kinds[0])) if kinds else None
    return kind if isinstance(kind, type) and issubclass(kind, Options) else None


def _shown(value: Any) -> str:
    value = getattr(value, "value", value)
    return repr(str(value)) if isinstance(value, Path | str) else repr(value)


def _first(thing: Any) -> str:
    return _flat(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0])


def _flat(text: str | None) -> str:
    return " ".join((text or "").split())


PAGES = {"commands.md": command_page, "api.md": api_page}


def main() -> int:
    """Write the pages."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
