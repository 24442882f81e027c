"""What decoding a JSON file may raise, in one place: bytes that are not UTF-8 are no error of msgspec's own."""

from __future__ import annotations

import msgspec

JSON_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Not JSON, not of the type that is wanted, not UTF-8, nested too deeply."""
