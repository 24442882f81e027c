"""What every page of the viewer keeps to: known hosts only, nothing from elsewhere, writes by its own pages alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

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


@dataclass(frozen=True)
class Access:
    """Who is answered.

    Attributes:
        hosts: names in the Host header that are answered beside this machine's own.
        address: the address that is served at; its own name is answered, too.
        base_path: what a proxy puts before every path, `/user/me/proxy`; it is taken off where it is there.
        writable: the paths that take POST.
        from_elsewhere: whether POST is taken from others than this machine.
        command: what was started, for whoever is refused: `pairs view NAME`.
    """

    hosts: Collection[str] = ()
    address: str = "127.0.0.1"
    base_path: str = ""
    writable: Collection[str] = ()
    from_elsewhere: bool = False
    command: str = "pairs view NAME"


class Guard:
    """Refuses other hosts' names (a page elsewhere could otherwise reach this one through a name of its own that leads
    to 127.0.0.1), and methods other than GET and HEAD but for writes; adds HEADERS to every answer.

    `scope["ovforge.may_write"]` says whether a page that is answered may write.
    """

    def __init__(self, app: ASGIApp, access: Access | None = None) -> None:
        self._app = app
        self._access = access or Access()

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
        access = self._access
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = hosts[0] if len(hosts) == 1 else ""
        path: str = scope["path"]
        if access.base_path and (path == access.base_path or path.startswith(f"{access.base_path}/")):
            path = path[len(access.base_path) :] or "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        local = is_local(host) and _is_loopback((scope.get("client") or ("",))[0])
        may_write = bool(access.writable) and (local or access.from_elsewhere)
        scope = {**scope, "ovforge.may_write": may_write}
        methods = "GET, HEAD, POST" if may_write and path in access.writable else "GET, HEAD"
        if not host or not (is_local(host) or self._is_allowed(host)):
            answer = PlainTextResponse(_refusal(host, access.command), 421)
            await answer(scope, receive, send_with_headers)
        elif scope["method"] not in methods.split(", "):
            what = "This page can only be read.\n" if not may_write else "This address can only be read.\n"
            answer = PlainTextResponse(what, 405, {"Allow": methods})
            await answer(scope, receive, send_with_headers)
        elif scope["method"] == "POST" and not _is_own(scope, host):
            answer = PlainTextResponse("Only this page itself may write.\n", 403)
            await answer(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _is_allowed(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if name.lower() in {allowed.lower() for allowed in self._access.hosts}:
            return True
        address = self._access.address
        if address == "0.0.0.0":
            return _is_address(name)  # a page elsewhere cannot lend itself an address
        return name == address


def _refusal(host: str, command: str) -> str:
    name = host_name(host) or ""
    text = "This page answers to 127.0.0.1 and localhost only.\n"
    text += "From another machine: ssh -L 8765:127.0.0.1:8765 HOST, and open http://127.0.0.1:8765/ there.\n"
    if command.startswith("pairs"):
        text += "To send somebody a few pairs: ovforge pairs view NAME --export FILE.html\n"
    if name and all(letter.isalnum() or letter in ".-_" for letter in name):
        text += f"Behind a proxy that you trust: ovforge {command} --allow-host {name}\n"
    return text


def _is_own(scope: Scope, host: str) -> bool:
    """Whether a write comes from a page of this server, as far as the browser says.

    `Sec-Fetch-Site` is what the browser itself knows of the page; the origin may differ from the host where a proxy
    stands between, and counts for browsers that do not send the other.
    """
    origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
    site = [value for name, value in scope["headers"] if name == b"sec-fetch-site"]
    if site:
        return site == [b"same-origin"]
    return all(urlsplit(origin).netloc == host for origin in origins)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host: str) -> str | None:
    """A Host header without its port; None where it is malformed."""
    name, bracket, rest = host.partition("]")
    if bracket:
        name, port = name.removeprefix("["), rest
    else:
        name, colon, digits = host.partition(":")
        port = colon + digits
    if port and not (port.startswith(":") and port[1:].isascii() and port[1:].isdigit()):
        return None
    return name


def is_local(host: str) -> bool:
    """Whether a Host header names this machine: `localhost`, 127.0.0.1 or [::1], with any port."""
    name = host_name(host)
    if name is None:
        return False
    if name.lower() == "localhost":
        return "]" not in host
    try:
        return ipaddress.ip_address(name).is_loopback and ("[" in host) == (":" in name)
    except ValueError:
        return False
