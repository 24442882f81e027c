"""Templates, scripts and styles; they are part of the package and read once."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

ASSETS = {
    "style.css": "text/css; charset=utf-8",
    "clip.js": "text/javascript; charset=utf-8",
    "pairs.js": "text/javascript; charset=utf-8",
    "exemplars.js": "text/javascript; charset=utf-8",
}


SCRIPTS = ("clip.js", "pairs.js")
"""Those of the pages of pairs and clips, in their order."""


@cache
def asset(name: str) -> str:
    """One of ASSETS."""
    return (files("ovforge.viewer") / "assets" / name).read_text("utf-8")


@cache
def asset_url(name: str) -> str:
    """Where a page at the root finds it; another address whenever it changes."""
    return f"assets/{name}?{hashlib.sha256(asset(name).encode()).hexdigest()[:10]}"


def render(template: str, **values: Any) -> str:
    """A page."""
    return _environment().get_template(template).render(**values)


def as_json(value: Any) -> Markup:
    """Data for a `<script type="application/json">`: no text in it can end the element."""
    text = msgspec.json.encode(value).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ovforge.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset_url"] = asset_url
    environment.filters["as_json"] = as_json
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment
