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
from ovforge.cli import pairs, pairs_score
from ovforge.cli.main import app
from ovforge.options.base import Options, describe, keyword

DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMON = ("--json", "--quiet", "--verbose", "--debug", "--skipped", "--help", "--version")
ROOMS = (
    "lvis", "importing", "imagenet", "exemplars", "vision", "pairs", "exports", "sample_data", "workflow", "data",
)  # fmt: skip

COMMANDS = {
    "ovforge.pairs.generate": pairs.generate,
    "ovforge.pairs.check": pairs.check,
    "ovforge.pairs.score": pairs_score.score,
    "ovforge.pairs.sheet": pairs.sheet,
}
"""Functions that hand their keywords to a command."""


API_HEAD = """# Python

Made by `python tools/build_docs.py` from the code. The functions are the commands: options are keywords, paths may be
text, and what comes back is a `StepSummary` with `counts`, `paths`, `skipped`, `warnings`, `notes` and `to_dataframe()`
(a row for each reason why something was skipped; needs pandas), which prints as on the command line. Errors are
`ovforge.errors.OvforgeError`s with `reason`, `place` and `remedy`: an `InputError` can be mended in the call or its
files, a `WorkError` is work that failed. The notebook `tools/notebook_scripts/visualize_generated_fake_images.ipynb`
makes pairs and looks at them. In a script, work stands under `if __name__ == "__main__":`, for workers are processes
that read the script, too.

```python
import ovforge as of

of.lvis.remove_rare(annotations="datasets/lvis/lvis_v1_train.json", overwrite=True)

of.pairs.generate("shop", images="datasets/coco/train2017", annotations="datasets/lvis/lvis_v1_train.json", out="runs")
of.pairs.merge("shop", folder="runs")
summary = of.pairs.annotate("shop", folder="runs")
print(summary)
print(summary.counts["tracks"], summary.paths["annotations"])
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
    kinds = _options_of(name, function)
    lines = [f"### `{name}`", "", _first(function), ""]
    for one in (one for kind in kinds for one in fields(kind)):
        described = describe(one)
        if described is None or described.hidden:
            continue
        shown = described.shown if described.also else one.default
        default = "" if one.default is MISSING else f" = {_shown(shown)}"
        lines.append(f"- `{keyword(one)}{default}`: {_flat(described.help)}")
    return [*lines, ""] if kinds else lines


def _options_of(name: str, function: Any) -> list[type[Any]]:
    """The options dataclasses whose fields are its keywords."""
    wrapped = inspect.unwrap(COMMANDS.get(name, function))
    if not inspect.isfunction(wrapped):
        return []
    hints = inspect.get_annotations(getattr(wrapped, "function", wrapped), eval_str=False).values()
    kinds = [getattr(wrapped, "function", wrapped).__globals__.get(str(hint)) for hint in hints]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Options)]


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
