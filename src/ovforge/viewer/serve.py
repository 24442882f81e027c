"""Serving a page until somebody presses Ctrl+C."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from ovforge.errors import InputError, WorkError
from ovforge.options.viewer import ServeOptions


def serve(app: Starlette, options: ServeOptions, *, announce: Callable[[str], None]) -> None:
    """Serve `app` at an address and port; port 0 takes any free one. `announce` gets the address once it can be opened.

    Raises:
        InputError: the port is taken or may not be used, or this machine has not the address.
    """
    with listen(options.host, options.port) as bound:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            lifespan="off",
            proxy_headers=False,  # who asks is told by the connection, never by a header
        )
        host = "127.0.0.1" if options.host == "0.0.0.0" else options.host
        address = f"http://{host}:{bound.getsockname()[1]}/"
        announce(address)
        if options.browser and _has_browser():
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[bound])


def listen(host: str, port: int) -> socket.socket:
    """A socket that already takes connections."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: has to be from 0 to 65535")
    # With the protocol named, asyncio turns Nagle's delay off; without, every answer waits 40 ms for its last packet.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            hint = "--host=127.0.0.1 serves this machine only, --host=0.0.0.0 all that reach it"
            raise InputError(f"--host={host}: is not an address of this machine", hint=hint) from None
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            why = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
            raise InputError(f"port {port} {why}", hint="choose another with --port=N, or --port 0 for any") from None
        raise WorkError(f"{host}:{port} cannot be listened on ({error.strerror})") from error
    return bound


def _has_browser() -> bool:
    """Whether there is somebody at a screen: not in scripts, over ssh, or without a display."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
