"""Docs, `--help` and code say the same: generated pages are current, and what the others name exists."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PLACEHOLDER = re.compile(r"[A-Z|<>.…]")


@pytest.fixture(scope="module")
def builder() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        spec = importlib.util.spec_from_file_location("build_docs", ROOT / "tools" / "build_docs.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.mark.parametrize("name", ["commands.md", "api.md"])
def test_generated_pages_are_current(builder: Any, name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == builder.PAGES[name](), "run tools/build_docs.py"


def _command_lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
        lines = [line for block in blocks for line in block.splitlines()]
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
        for line in [*lines, *spans]:
            for part in re.split(r"&&|;|\||#|\$\(", line):
                words = part.strip().removeprefix("$ ")
                if words.startswith("ovforge "):
                    yield page.name, words


def test_every_command_and_option_that_is_named_exists(builder: Any) -> None:
    commands = builder.commands()
    groups = {" ".join(words.split()[:-1]) for words in commands}
    wrong, seen = [], 0
    for page, line in _command_lines():
        words = line.split()
        plain = [word for word in words if not word.startswith("-")]
        known = next((" ".join(plain[:n]) for n in (3, 2) if " ".join(plain[:n]) in commands), None)
        if known is None:
            is_group = " ".join(plain[:2]) in groups or plain[1:2] == [] or PLACEHOLDER.search(plain[1])
            if not is_group and not line.startswith("ovforge --"):
                wrong.append(f"{page}: {line}: no such command")
            continue
        seen += 1
        names = {name for parameter in commands[known].params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            option = re.match(r"--[a-z][\w-]*", word)
            if option and option[0] not in names | {"--help"}:
                wrong.append(f"{page}: {line}: {known} has no {option[0]}")
    assert wrong == []
    assert seen > 50


def test_every_option_has_help(builder: Any) -> None:
    for words, command in builder.commands().items():
        assert command.help, words
        for parameter in command.params:
            assert parameter.help, f"{words} {parameter.name}"


def test_every_python_name_that_is_mentioned_exists() -> None:
    missing, seen = [], 0
    for page in PAGES:
        for name in sorted(set(re.findall(r"\bovforge(?:\.[A-Za-z_]\w*)+", page.read_text(encoding="utf-8")))):
            if name.endswith((".py", ".git")) or ".whl" in name:
                continue
            seen += 1
            if not _exists(name):
                missing.append(f"{page.name}: {name}")
    assert missing == []
    assert seen > 20


def _exists(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


def test_every_function_of_the_package_is_on_the_page(builder: Any) -> None:
    import ovforge

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for room in builder.ROOMS:
        for name in getattr(ovforge, room).__all__:
            assert f"### `ovforge.{room}.{name}`" in page


def test_the_example_of_the_page_runs(
    sample_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sample_folder / "datasets", tmp_path / "datasets")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.S)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    written = [json.loads(path.read_text()) for path in names["summary"].paths.values()]
    assert sum(len(one["annotations"]) for one in written) == names["summary"].counts["annotations"] > 0
    assert "pairs annotate: done" in capsys.readouterr().out
    assert (tmp_path / "datasets/lvis/lvis_v1_train_norare.json").is_file()


def test_the_architecture_page_draws_every_room() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "src/ovforge").glob("*/__init__.py")}
    assert {room for room in rooms if f"`{room}`" not in page} == set()
    named = [name for name in re.findall(r"`(\w+\.[a-z_]+)[.`]", page) if name.partition(".")[0] in rooms]
    assert len(named) > 20
    for name in named:
        path = ROOT / "src/ovforge" / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), f"{name} is not there"
