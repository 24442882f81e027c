"""Serving a page on this machine until somebody presses Ctrl+C."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from ovforge.errors import InputError, WorkError


def serve(app: Starlette, port: int, *, announce: Callable[[str], None]) -> None:
    """Serve `app` on 127.0.0.1. Port 0 takes any free one; `announce` gets the address once it can be opened.

    Raises:
        InputError: the port is taken or may not be used.
    """
    with listen(port) as bound:
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, date_header=False, lifespan="off"
        )
        announce(f"http://127.0.0.1:{bound.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[bound])


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1 that already takes connections."""
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: has to be from 0 to 65535")
    # With the protocol named, asyncio turns Nagle's delay off; without, every answer waits 40 ms for its last packet.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            why = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
            raise InputError(f"port {port} {why}", hint="choose another with --port=N, or --port 0 for any") from None
        raise WorkError(f"127.0.0.1:{port} cannot be listened on ({error.strerror})") from error
    return bound
