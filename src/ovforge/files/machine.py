"""Which machine and process wrote something, told apart also on a shared file system."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket
from pathlib import Path


@functools.cache
def machine_name() -> str:
    """The host's name and six digits of its boot and process space: `node7-3fa2c1`.

    Containers may share a host name and count their processes from 1, and a rebooted machine gives old numbers
    to new processes: neither may be taken for the machine that left a file behind.
    """
    host = re.sub(r"[^A-Za-z0-9_.]", "_", host_name()) or "unknown"
    parts = [host]
    for source in (_boot, _process_space):
        try:
            parts.append(source())
        except OSError:  # not Linux: the host's name has to do
            parts.append("")
    return f"{host}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:6]}"


def host_name() -> str:
    """The host's name, for people."""
    return socket.gethostname().split(".", maxsplit=1)[0]


def process_start(pid: int) -> str:
    """When process `pid` started, in ticks since boot; empty where that cannot be told or it has ended.

    With the number it names a process for good: numbers are used again, pairs of number and start are not.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()  # the name in brackets may hold spaces
    return "" if fields[0] in "ZX" else fields[19]


def process_is_alive(pid: int, start: str = "") -> bool:
    """Whether process `pid` of this machine lives; with `start`, whether it is still the same process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, and is someone else's
    if not Path("/proc/self/stat").exists():
        return True
    now = process_start(pid)  # empty for a zombie
    return bool(now) and (not start or now == start)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _process_space() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)
