"""Lets the scripts of a plain checkout find the package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("ovforge") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
