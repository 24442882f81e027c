"""Changing a few fields of many raw JSON records at once, in the one buffer that holds them.

Taking a record apart costs more than all the rest of copying it. Where the bytes allow no other reading, it is not
needed: in text without a backslash every quote opens or closes a string, so all strings are known, and a name that a
record has just once and before a colon is a key of it; brackets outside strings are known, and with them where a value
ends. All that is worked out for a thousand records in a few numpy calls. Wherever something else could be hit,
`Unsure` is raised, and `record_edit.edit_record` does the same with each record by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import msgspec
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_NONE = np.zeros(0, np.int64)
BETWEEN = b", "
"""What stands between two records of a list, and two fields of a record, as `json.dump` writes them."""
_MOST_DIGITS = 19
_AFTER_A_VALUE = np.isin(np.arange(256), list(b",} \t\r\n"))
_DIGIT = np.isin(np.arange(256), list(b"0123456789"))
_OPENING, _CLOSING = (np.isin(np.arange(256), list(brackets)) for brackets in (b"[{", b"]}"))


class NotPlainError(Exception):
    """The records have to be taken apart one by one."""


class BatchEdit:
    """Edits of the records data[starts[i]:stops[i]], which stand in the order of the buffer.

    Every edit replaces a range of bytes; nothing is copied before `result`. Edits of one batch must be of different
    fields.

    Raises:
        Unsure: there is an escape other than of a backslash. So does every method where a record is not plain enough.
    """

    def __init__(self, data: bytes, starts: Ints, stops: Ints) -> None:
        # An escaped backslash, as RLEs have them, is no other character's escape: two plain bytes in its place leave
        # every quote and bracket where it is.
        seen = data.replace(b"\\\\", b"__") if b"\\" in data else data
        if b"\\" in seen:
            raise NotPlainError
        self._data = data
        self._codes = np.frombuffer(seen, np.uint8)
        self._starts, self._stops = starts, stops
        self._at: list[Ints] = []
        self._end: list[Ints] = []
        self._texts: list[Sequence[bytes]] = []
        wide = np.flatnonzero(starts[1:] - stops[:-1] != len(BETWEEN))
        plain = (self._codes[stops[:-1]] == BETWEEN[0]) & (self._codes[starts[1:] - 1] == BETWEEN[1])
        wide = np.union1d(wide, np.flatnonzero(~plain))
        self._replace(stops[:-1][wide], starts[1:][wide], [BETWEEN] * len(wide))

    def set_numbers(self, rows: Ints, field: str, values: Ints) -> None:
        """Set an integer field that the records `rows` have."""
        at = self._values(self._keys(rows, field), field)
        end = at.copy()
        for _ in range(_MOST_DIGITS):
            more = _DIGIT[self._codes[end]]
            if not more.any():
                break
            end += more
        # What is no plain number: a minus, a fraction, an exponent.
        if not np.all((end > at) & _AFTER_A_VALUE[self._codes[end]]):
            raise NotPlainError
        self._replace(at, end, _decimals(values))

    def set_texts(self, rows: Ints, field: str, texts: Sequence[bytes]) -> None:
        """Set a field of the records `rows` to raw JSON values; where it is new it comes last."""
        keys = self._keys(rows, field, all_have_it=False)
        old = keys >= 0
        if old.any():
            at = self._values(keys[old], field)
            self._replace(at, self._value_ends(at), [text for text, there in zip(texts, old, strict=True) if there])
        if not old.all():
            new = [
                b"%b%b: %b" % (BETWEEN, _quoted(field), text)
                for text, there in zip(texts, old, strict=True)
                if not there
            ]
            self.append(rows[~old], new)

    def append(self, rows: Ints, texts: Sequence[bytes]) -> None:
        """Put more fields, as JSON that begins with a comma, at the end of the records `rows`, which have others."""
        at = self._stops[rows] - 1
        self._replace(at, at, texts)

    def append_numbers(self, rows: Ints, columns: Sequence[tuple[str, Ints]]) -> None:
        """Put new integer fields, (name, values), at the end of the records `rows`, which have others but not these."""
        for name, _ in columns:
            if (self._keys(rows, name, all_have_it=False) >= 0).any():
                raise NotPlainError
        form = b"".join(b"%b%b: %%b" % (BETWEEN, _quoted(name)) for name, _ in columns)
        values = zip(*(_decimals(values) for _, values in columns), strict=True)
        self.append(rows, list(map(partial(bytes.__mod__, form), values)))

    def rename(self, rows: Ints, old: str, new: str) -> None:
        """Give the field `old` another name in those of the records `rows` that have it, which must not have `new`."""
        keys = self._keys(rows, old, all_have_it=False)
        has_it = keys >= 0
        if (self._keys(rows[has_it], new, all_have_it=False) >= 0).any():
            raise NotPlainError
        at = keys[has_it]
        self._values(at, old)
        name = _quoted(new)
        self._replace(at, at + len(_quoted(old)), [name] * len(at))

    def convert(self, rows: Ints, field: str, convert: Callable[[int, bytes], bytes | None]) -> None:
        """Set the field of those of the records `rows` that have it to `convert(row, raw value)`; None: stays."""
        keys = self._keys(rows, field, all_have_it=False)
        rows, keys = rows[keys >= 0], keys[keys >= 0]
        if not len(rows):
            return
        at = self._values(keys, field)
        end = self._value_ends(at)
        values = [
            convert(row, self._data[start:stop])
            for row, start, stop in zip(rows.tolist(), at.tolist(), end.tolist(), strict=True)
        ]
        new = np.array([value is not None for value in values], np.bool_)
        self._replace(at[new], end[new], [value for value in values if value is not None])

    def remove(self, rows: Ints, field: str) -> None:
        """Take a field out of those of the records `rows` that have it."""
        keys = self._keys(rows, field, all_have_it=False)
        at = keys[keys >= 0]
        end = self._value_ends(self._values(at, field))
        codes = self._codes
        comma, space = BETWEEN
        goes_on = (codes[end] == comma) & (codes[np.minimum(end + 1, len(codes) - 1)] == space)
        follows = (codes[at - 2] == comma) & (codes[at - 1] == space)
        if not np.all(goes_on | follows):
            raise NotPlainError
        self._replace(np.where(goes_on, at, at - 2), np.where(goes_on, end + 2, end), [b""] * len(at))

    def result(self, before: bytes = b"") -> bytes:
        """The records with all edits made and a comma between each two, after `before`."""
        at, end = (np.concatenate([_NONE, *places]) for places in (self._at, self._end))
        texts = [text for some in self._texts for text in some]
        if len(self._at) > 1:
            order = np.lexsort((end, at))
            at, end = at[order], end[order]
            texts = list(map(texts.__getitem__, order.tolist()))
        if (at[1:] < end[:-1]).any():
            raise NotPlainError
        data = self._data
        pieces: list[bytes] = [b""] * (2 * len(texts) + 2)
        pieces[0] = before
        begins, ends = [int(self._starts[0]), *end.tolist()], [*at.tolist(), int(self._stops[-1])]
        pieces[1::2] = [data[begin:stop] for begin, stop in zip(begins, ends, strict=True)]
        pieces[2::2] = texts
        return b"".join(pieces)

    def _replace(self, at: Ints, end: Ints, texts: Sequence[bytes]) -> None:
        if not len(at):
            return
        self._at.append(at)
        self._end.append(end)
        self._texts.append(texts)

    def _keys(self, rows: Ints, field: str, *, all_have_it: bool = True) -> Ints:
        """Where the quoted name stands in each record, -1 where it does not."""
        places = self._strings_that_are(field)
        first = np.searchsorted(places, self._starts[rows])
        count = np.searchsorted(places, self._stops[rows]) - first
        if (count > 1).any() or (all_have_it and not count.all()):
            raise NotPlainError
        return np.where(count == 1, np.append(places, -1)[first], -1)

    def _strings_that_are(self, text: str) -> Ints:
        quoted = _quoted(text)
        opening, closing = self._quotes[0::2], self._quotes[1::2]
        places: Ints = opening[closing - opening == len(quoted) - 1]
        for offset, code in enumerate(quoted):
            places = places[self._codes[places + offset] == code]
        return places

    def _values(self, keys: Ints, field: str) -> Ints:
        """Where the values of these keys start: after a colon and a space, or after the colon."""
        colon = keys + len(_quoted(field))
        if (self._codes[colon] != ord(":")).any():
            raise NotPlainError
        value: Ints = colon + 1 + (self._codes[colon + 1] == ord(" "))
        return value

    def _value_ends(self, at: Ints) -> Ints:
        """Where strings, lists and objects that start at these places end."""
        kind = self._codes[at]
        end = np.empty_like(at)
        is_string = kind == ord('"')
        if is_string.any():
            end[is_string] = self._quotes[np.searchsorted(self._quotes, at[is_string], "right")] + 1
        nested = ~is_string
        if nested.any():
            if not _OPENING[kind[nested]].all():
                raise NotPlainError
            places, depth = self._brackets
            back = places[depth == 1]  # in the record, and out of all its fields
            end[nested] = back[np.searchsorted(back, at[nested])] + 1
        return end

    @cached_property
    def _quotes(self) -> Ints:
        """The places of all quotes: in turns before and after a string."""
        return np.flatnonzero(self._codes == ord('"'))

    @cached_property
    def _brackets(self) -> tuple[Ints, Ints]:
        """The places of all brackets outside strings, and how many are open after each."""
        # What `[`, `]`, `{` and `}` have in common, with few other characters.
        places = np.flatnonzero((self._codes & 0xD9) == 0x59)
        kinds = self._codes[places]
        outside = np.searchsorted(self._quotes, places) % 2 == 0
        is_bracket = (_OPENING[kinds] | _CLOSING[kinds]) & outside
        return places[is_bracket], np.cumsum(np.where(_OPENING[kinds[is_bracket]], 1, -1))


def _decimals(values: Ints) -> list[bytes]:
    return msgspec.json.encode(values.tolist())[1:-1].split(b",") if len(values) else []


_quoted: Callable[[str], bytes] = msgspec.json.encode
