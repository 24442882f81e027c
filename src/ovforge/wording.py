"""Texts that name options and commands, said to the command line or to a Python caller.

Texts are written once, with options as the command line has them: `--overwrite` for a switch, `--out=PATH` or
`--out PATH` for an option with a value; whole commands, and options whose value is not the point, between backquotes.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

_OPTION = re.compile(
    r"(?<![\w-])--([a-z][a-z0-9_-]*)"
    r"(?:=(?P<value>\S*?)(?=[,;:.)]*(?:\s|$))| (?P<metavar>[A-Z][A-Z_/]+)\b| (?P<number>-?\d[\d.,/]*\d|-?\d))?"
)
_OPTION_NAME = re.compile(r"--([a-z][a-z0-9_-]*)")
_QUOTED = re.compile(r"(`[^`]*`)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_/]+")

PYTHON_NAMES = {
    "accept-version": "accept_versions",
    "ann": "annotations",
    "ann-out": "annotations_out",
    "exclude-ann": "exclude",
    "for": "reader",
    "imagenet-img-dir": "imagenet_images",
    "imagenet-path": "imagenet",
    "lvis-img-dir": "lvis_images",
    "lvis-meta-path": "lvis",
    "visual-genome-img-dir": "visual_genome_images",
    "working-size": "working_size",
}
"""Options of the command line whose keyword in Python is not the same word."""

FUNCTIONS = {
    **{
        f"lvis {name}": f"lvis.{name.replace('-', '_')}"
        for name in ("add-frequencies", "base-classes", "category-info", "merge-coco", "pack-images", "remove-rare")
    },
    **{f"imagenet {name}": f"imagenet.{name}" for name in ("index", "prepare")},
    **{f"exemplars {name}": f"exemplars.{name}_exemplars" for name in ("collate", "crop", "index", "sample")},
    **{f"exemplars {name}": f"vision.{name}_exemplars" for name in ("check", "embed")},
    "exemplars classifier": "vision.make_classifier",
    **{
        f"pairs {name}": f"pairs.{name}"
        for name in ("annotate", "check", "export", "generate", "merge", "replay", "score", "sheet", "status")
    },
    "doctor": "workflow.doctor",
    "import": "importing.import_annotations",
    "prepare": "workflow.prepare",
}
"""Commands that are functions, too -> the function below `ovforge`."""
_FOR_THE_TERMINAL = {"--json", "--quiet", "--verbose", "--debug", "--skipped", "--help", "--watch"}


def printable(text: str) -> str:
    r"""The text with the bytes of names that are not UTF-8 written as \xNN, so that it can be printed and stored.

    >>> printable("caf\udce9.JPEG")
    'caf\\xe9.JPEG'
    """
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # halves of characters, as JSON may have them
        return text.encode("utf-8", "backslashreplace").decode()


def named_options(text: str) -> set[str]:
    """The options that a text names.

    >>> sorted(named_options("--overwrite replaces it, or --out=PATH (`git --version` is a command)"))
    ['--out', '--overwrite']
    """
    return {f"--{match[1]}" for part in _QUOTED.split(text)[::2] for match in _OPTION.finditer(part)}


def for_command_line(text: str) -> str:
    """A text that names options, as the command line prints it.

    >>> for_command_line("give --device=cpu")
    'give --device cpu'
    """
    return _replaced(text, lambda match: f"--{match[1]}" + (f" {value}" if (value := _value(match)) else ""))


def for_python(text: str) -> str:
    """A text that names options and commands, as a Python caller reads it.

    >>> for_python("give --overwrite, --ann=FILE, --device=cpu or --batch-size 1; `git --version` stays")
    "give overwrite=True, annotations=..., device='cpu' or batch_size=1; `git --version` stays"
    >>> for_python("`ovforge pairs merge shop --folder 'my runs'` makes it")
    "`ovforge.pairs.merge('shop', folder='my runs')` makes it"
    """

    def keyword(match: re.Match[str]) -> str:
        value = _value(match) if match["number"] or match["metavar"] or match["value"] is not None else None
        return _keyword(match[1], "" if match["value"] == "" else value)

    parts = _QUOTED.split(_replaced(text, keyword))
    parts[1::2] = [f"`{as_call(part[1:-1])}`" for part in parts[1::2]]
    return "".join(parts)


def as_call(command: str) -> str:
    """A command of ovforge as the call of its function, an option alone as its keyword; else the text itself.

    >>> as_call("ovforge exemplars crop --exemplars 'a b.json' --overwrite --quality 90")
    "ovforge.exemplars.crop_exemplars(exemplars='a b.json', overwrite=True, quality=90)"
    >>> as_call("ovforge pairs view shop")
    'ovforge pairs view shop'
    >>> as_call("--batch-size")
    'batch_size'
    """
    if alone := _OPTION_NAME.fullmatch(command):
        return PYTHON_NAMES.get(alone[1], alone[1].replace("-", "_"))
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    length = next((n for n in (3, 2) if " ".join(words[1:n]) in FUNCTIONS), 0)
    if words[:1] != ["ovforge"] or not length or _FOR_THE_TERMINAL & set(words):
        return command
    arguments, rest = [], words[length:]
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            arguments.append(repr(word))
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and rest and not rest[0].startswith("--"):
            equals, value = "=", rest.pop(0)
        arguments.append(_keyword(name, value if equals else None))
    return f"ovforge.{FUNCTIONS[' '.join(words[1:length])]}({', '.join(arguments)})"


def _keyword(option: str, value: str | None) -> str:
    """`name=value` for an option; None for a switch."""
    name = PYTHON_NAMES.get(option, option.replace("-", "_"))
    if value is None:
        return f"{name}=True"
    if _NUMBER.fullmatch(value):
        return f"{name}={value}"
    return f"{name}=..." if _PLACEHOLDER.fullmatch(value) else f"{name}={value!r}"


def _value(match: re.Match[str]) -> str:
    value = match["value"] if match["value"] is not None else match["metavar"] or match["number"]
    return "''" if value == "" else value or ""


def _replaced(text: str, replacement: Any) -> str:
    parts = _QUOTED.split(text)
    parts[::2] = [_OPTION.sub(replacement, part) for part in parts[::2]]
    return "".join(parts)
