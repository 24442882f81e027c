"""Pickle files of plain values: the `.pkl` of a pairs run, which OVTrack's scripts read with `pickle.load`.

Written are built-in types only: dictionaries, lists, tuples, strings, bytes, numbers, booleans, None. Read is nothing
else, whatever the file asks for; the one exception are the numpy numbers and arrays in the files of the original
scripts, which come back as plain numbers and lists without numpy's own unpickling taking part. A pickle that names
anything else is refused before it runs.

A long list is written batch by batch (`ListWriter`). Each batch is complete in itself, so lists that ovforge wrote are
joined without being unpickled (`ListWriter.append_written`).
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from ovforge.errors import DamagedError, InputError, MissingInputError, WorkError
from ovforge.files.atomic import atomic_file

_PROTOCOL = 3  # 4 and later put frames around what is written, so that batches could not be joined
_HEAD = b"\x80\x03]"  # protocol 3, an empty list
_END = b"."
_BATCH = 1000  # pickle's own batch size: a longer list would be written in several


def load(path: Path) -> Any:
    """Read a pickle file of plain values.

    Raises:
        MissingInputError: the file is not there.
        InputError: the file is cut short, is not a pickle, or names something that is not a plain value; says what.
    """
    if not path.is_file():
        raise MissingInputError(path, what="pickle file")
    with open(path, "rb") as file:
        try:
            return _PlainUnpickler(file, path).load()
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError) as error:
            problem = str(error) or type(error).__name__
        except (MemoryError, OverflowError):
            problem = "it asks for more memory than there is"
    raise DamagedError(
        f"{path}: not a whole pickle file ({problem})", hint="it was probably cut short; write or fetch it again"
    )


def load_list(path: Path) -> list[Any]:
    """Read a pickle file that must hold a list."""
    value = load(path)
    if not isinstance(value, list):
        raise InputError(f"{path}: holds a {type(value).__name__}, not a list")
    return value


def dump(path: Path, value: Any, *, overwrite: bool = False) -> None:
    """Write `value`, made of built-in types only, to a pickle file, whole or not at all.

    Raises:
        WorkError: something in `value` is not of a built-in type; names the type.
    """
    with atomic_file(path, overwrite=overwrite) as file:
        file.write(_dumps(value))


class ListWriter:
    """Writes one pickled list into an open file, batch by batch; memory does not grow with the list.

    `sha256` is, after `close`, that of what was written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._batch: list[Any] = []
        self._write(_HEAD)

    def extend(self, items: Iterable[Any]) -> None:
        """Append plain values to the list."""
        for item in items:
            self._batch.append(item)
            if len(self._batch) >= _BATCH:
                self._flush()

    def append_written(self, path: Path, sha256: str) -> None:
        """Append the list of a file that a `ListWriter` wrote, as it stands.

        Raises:
            InputError: the file is not the one with this SHA-256, so nothing is known of what is in it.
        """
        self._flush()
        found = hashlib.sha256()
        with open(path, "rb") as file:
            head = file.read(len(_HEAD))
            found.update(head)
            held = b""
            while block := file.read(1 << 20):
                found.update(block)
                block = held + block
                held = block[-len(_END) :]
                self._write(block[: -len(_END)])
        if head != _HEAD or held != _END or found.hexdigest() != sha256:
            raise DamagedError(
                f"{path}: checksum mismatch: its SHA-256 is not the one noted beside it",
                hint="make the partition again, or fetch it again from where it was made",
            )

    def close(self) -> None:
        """End the list. The file itself stays open."""
        self._flush()
        self._write(_END)

    @property
    def sha256(self) -> str:
        """SHA-256 of what has been written."""
        return self._hash.hexdigest()

    def _flush(self) -> None:
        if self._batch:
            self._write(_dumps(self._batch)[len(_HEAD) : -len(_END)])
            self._batch.clear()

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


class _PlainPickler(pickle.Pickler):
    """Refuses whatever pickle would write by naming a class or a function."""

    def reducer_override(self, value: Any) -> Any:
        raise WorkError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be pickled as a plain value")


def _dumps(value: Any) -> bytes:
    buffer = io.BytesIO()
    pickler = _PlainPickler(buffer, _PROTOCOL)
    # No back-references: equal values give equal bytes, whichever of their parts are one object in memory.
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()


class _PlainUnpickler(pickle.Unpickler):
    """Knows the few names that numpy's numbers and arrays are rebuilt with, and answers with functions of its own."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        found = _NUMPY_NAMES.get((module, name))
        if found is None:
            raise InputError(
                f"{self._path}: asks for {module}.{name}, which is not a plain value; the file was not read",
                hint="a pickle file can run programs; do not open this one with anything else",
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it points to something outside it ({pid!r})")


class _DType:
    """Stands for `numpy.dtype` while a pickle is read: numbers only."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code
        self.order: Literal["<", ">", "="] = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = "<" if state[1] == "<" else ">" if state[1] == ">" else "="

    def numbers(self, data: Any) -> Any:
        if len(self.code) > 4 or self.code[:1] not in ("i", "u", "f", "b"):
            raise ValueError(f"a numpy value of type {self.code!r}, not a number")
        if isinstance(data, str):  # bytes as Python 2 wrote them
            data = data.encode("latin1")
        if not isinstance(data, (bytes, bytearray)):
            raise TypeError(f"a numpy value made of a {type(data).__name__}")
        return np.frombuffer(data, np.dtype(self.code).newbyteorder(self.order))


class _Array(list[Any]):
    """Stands for `numpy.ndarray` while a pickle is read: a list, filled when its state comes."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_column, data = state
        self[:] = dtype.numbers(data).reshape(shape, order="F" if by_column else "C").tolist()


def _array(*_: Any) -> _Array:
    return _Array()


def _array_from_buffer(data: Any, dtype: _DType, shape: tuple[int, ...], order: str) -> Any:
    return dtype.numbers(data).reshape(shape, order=order).tolist()


def _scalar(dtype: _DType, data: Any) -> Any:
    return dtype.numbers(data)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


# Protocol 2 writes bytes as text through _codecs.encode. numpy 2 moved its modules: files of both ages are about.
_NUMPY_NAMES: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array_from_buffer for core in ("core", "_core")},
}
