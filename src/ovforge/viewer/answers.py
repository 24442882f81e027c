"""Answers that the two viewers have in common: pages, data, images, scripts, errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ovforge.errors import ImageError, InputError, OvforgeError
from ovforge.viewer.pages import ASSETS, asset, render
from ovforge.viewer.security import Access, Guard

Handler = Callable[[Request], Response]
Writer = Callable[[Request, bytes], Response]
MOST_BODY = 32 << 20
_KEEP_IMAGES = "private, max-age=3600"


def make_app(
    routes: dict[str, Handler], *, title: str, writes: dict[str, Writer] | None = None, access: Access | None = None
) -> Starlette:
    """An application of plain functions, each run in a thread; `OvforgeError`s become pages that say what is wrong.

    Args:
        writes: what answers to POST; gets the request and its body.
    """
    writes = writes or {}

    async def on_error(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            message, hint, status = str(error.detail), "", error.status_code
        elif isinstance(error, OvforgeError):
            message, hint = error.message, error.hint
            status = 404 if isinstance(error, ImageError) else 400 if isinstance(error, BadAddressError) else 500
        else:  # a defect of ovforge: the traceback is in the terminal
            message, hint, status = f"ovforge failed ({type(error).__name__})", "see the terminal for details", 500
        if request.url.path.startswith(
            ("/api/", "/image/", "/thumb/", "/mask/", "/crop/", "/assets/", "/export/", "/still")
        ):
            return data({"error": message, "hint": hint}, status)
        root = "../" * (request.url.path.count("/") - 1) or "./"
        page = render("error.html", title=title, message=message, hint=hint, status=status, root=root)
        return HTMLResponse(page, status)

    app = Starlette(
        routes=[
            Route("/assets/{name}", _asset, methods=["GET"]),
            *(Route(path, _writing(handler), methods=["POST"]) for path, handler in writes.items()),
            *(Route(path, _threaded(handler), methods=["GET"]) for path, handler in routes.items()),
        ],
        exception_handlers={HTTPException: on_error, OvforgeError: on_error, Exception: on_error},
    )
    app.add_middleware(Guard, access=replace(access or Access(), writable=frozenset(writes)))
    return app


class BadAddressError(InputError):
    """The page's address asks for something that there is not."""


def data(value: Any, status: int = 200) -> Response:
    """JSON, never kept."""
    return Response(msgspec.json.encode(value), status, {"Cache-Control": "no-store"}, "application/json")


def page(template: str, **values: Any) -> Response:
    """A page, never kept."""
    return HTMLResponse(render(template, **values), headers={"Cache-Control": "no-store"})


def image(content: bytes, kind: str) -> Response:
    """An image, kept by this browser for a while: its address has another generation when it changes."""
    return Response(content, 200, {"Cache-Control": _KEEP_IMAGES}, kind)


def number(request: Request, key: str, default: int, most: int) -> int:
    """A whole number of the address, from 0 to `most`.

    Raises:
        BadAddressError: none.
    """
    text = request.query_params.get(key) or str(default)
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadAddressError(f"{key}={text[:40]!r}: not a whole number")
    return min(int(text), most)


def download(content: bytes | str | Iterator[bytes], name: str, kind: str) -> Response:
    """A file to be saved under `name`."""
    quoted = quote(name, safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quoted}", "Cache-Control": "no-store"}
    if isinstance(content, bytes | str):
        return Response(content, 200, headers, kind)
    return StreamingResponse(content, 200, headers, kind)


def _writing(handler: Writer) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MOST_BODY:
                return data({"error": "the request is too long", "hint": ""}, 413)
        return await run_in_threadpool(handler, request, bytes(body))

    return endpoint


def _threaded(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(handler, request)

    return endpoint


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        return PlainTextResponse("no such file\n", 404)
    return Response(asset(name), 200, {"Cache-Control": "private, max-age=86400", "Content-Type": ASSETS[name]})
