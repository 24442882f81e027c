"""What every page of the viewer keeps to: this machine only, reading only, nothing from elsewhere."""

from __future__ import annotations

import ipaddress

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class LocalOnly:
    """Refuses other hosts' names (a page elsewhere could otherwise reach this one through a name of its own that leads
    to 127.0.0.1), and methods other than GET and HEAD; adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if scope["type"] != "http":
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not is_local(hosts[0]):
            answer = PlainTextResponse("This page answers to 127.0.0.1 and localhost only.\n", 421)
            await answer(scope, receive, send_with_headers)
        elif scope["method"] not in ("GET", "HEAD"):
            answer = PlainTextResponse("This page can only be read.\n", 405, {"Allow": "GET, HEAD"})
            await answer(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def is_local(host: str) -> bool:
    """Whether a Host header names this machine: `localhost`, 127.0.0.1 or [::1], with any port."""
    name, bracket, rest = host.partition("]")
    if bracket:
        name, port = name.removeprefix("["), rest
    else:
        name, colon, digits = host.partition(":")
        port = colon + digits
    if port and not (port.startswith(":") and port[1:].isascii() and port[1:].isdigit()):
        return False
    if name.lower() == "localhost":
        return not bracket
    try:
        return ipaddress.ip_address(name).is_loopback and ("[" in host) == (":" in name)
    except ValueError:
        return False
