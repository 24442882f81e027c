"""A JSON file of several long lists that are filled at the same time, without holding any of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec


class JsonSections:
    """Collects the records of several lists; each goes to a file of its own until all are joined.

    Args:
        path: the file to write at last.
        sections: names of the lists, in the order of the file.
        head: what comes before them.
    """

    def __init__(self, path: Path, sections: Sequence[str], head: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._head = dict(head or {})
        self._parts: dict[str, BinaryIO] = {}
        self.counts = dict.fromkeys(sections, 0)
        """Records of each list."""
        path.parent.mkdir(parents=True, exist_ok=True)
        for section in sections:
            self._parts[section] = open(path.with_name(f".{path.name}.{section}"), "w+b")  # noqa: SIM115

    def add(self, section: str, record: Any) -> None:
        """Append a record to a list."""
        part = self._parts[section]
        part.write((b", " if self.counts[section] else b"") + msgspec.json.encode(record))
        self.counts[section] += 1

    def __enter__(self) -> JsonSections:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._join()
        finally:
            for part in self._parts.values():
                part.close()
                Path(part.name).unlink()

    def _join(self) -> None:
        with open(self._path, "wb") as out:
            out.write(b"{")
            before = b""
            for name, value in self._head.items():
                out.write(before + msgspec.json.encode(name) + b": " + msgspec.json.encode(value))
                before = b", "
            for name, part in self._parts.items():
                out.write(before + msgspec.json.encode(name) + b": [")
                part.seek(0)
                shutil.copyfileobj(part, out, 1 << 20)
                out.write(b"]")
                before = b", "
            out.write(b"}")
