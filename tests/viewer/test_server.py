"""What the server answers, and what it refuses; over the applications themselves and over the real process."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from ovforge.errors import pip_line
from ovforge.viewer.security import is_local


@pytest.fixture(scope="module")
def demo(demo: str) -> str:
    """Host and port of the run `demo`."""
    return urlsplit(demo).netloc


def ask(place: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(place, timeout=60)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def test_listens_on_this_machine_only(demo: str) -> None:
    port = int(demo.rpartition(":")[2])
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, port)) != 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "0.0.0.0", "", "10.0.0.1"]
)
def test_refuses_other_hosts(demo: str, host: str) -> None:
    for path in ("/", "/api/pairs", "/image/0", "/assets/pairs.js"):
        status, _, body = ask(demo, path, Host=host)
        assert status == 421
        assert b"demo" not in body


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost:8765", True),
        ("127.0.0.1:1", True),
        ("[::1]:8765", True),
        ("::1", False),
        ("localhost:evil.example", False),
        ("localhost@evil.example", False),
        ("[localhost]", False),
        ("127.0.0.1:80:80", False),
    ],
)
def test_hosts_that_are_this_machine(host: str, local: bool) -> None:
    assert is_local(host) is local


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_only_reads(demo: str, method: str) -> None:
    status, headers, _ = ask(demo, "/api/pairs", method)
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


def test_head_has_no_body(demo: str) -> None:
    status, headers, body = ask(demo, "/image/0", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 1000


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/assets/../step.py",
        "/assets/..%2fstep.py",
        "/assets/%2e%2e/step.py",
        "/assets//etc/passwd",
        "/image/..%2f..%2fdemo.pkl",
        "/image/demo.pkl",
        "/image/-1",
        "/image/1e3",
        "/thumb/999999999999999999999",
        "/mask/9999",
        "/demo.h5",
        "//etc/passwd",
        "/templates/pairs.html",
    ],
)
def test_nothing_else_can_be_read(demo: str, path: str) -> None:
    status, _, body = ask(demo, path)
    assert status in (400, 404)
    assert b"root:" not in body
    assert b"import" not in body


@pytest.mark.parametrize(
    "path",
    [
        "/api/pairs?offset=-1",
        "/api/pairs?limit=x",
        "/api/pairs?size_from=abc",
        "/api/pairs?verdict=nan",
        "/api/pairs?motion=round",
        "/api/pairs?sort=random",
        "/api/pairs?objects_to=1e999",
        "/api/pair?pair=..%2f..%2fdemo.pkl",
        "/api/pair?pair=%00",
        "/still?kind=image&reason=..%2f..%2fdemo.pkl",
        "/api/pair",
    ],
)
def test_bad_questions_are_told_as_such(demo: str, path: str) -> None:
    status, _, body = ask(demo, path)
    assert status == 400
    assert msgspec.json.decode(body)["error"]


def test_every_answer_carries_the_headers(demo: str) -> None:
    for path in ("/", "/statistics", "/api/state", "/image/0", "/nothing", "/assets/style.css"):
        _, headers, _ = ask(demo, path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_images_are_the_stored_bytes(demo: str, pairs_folder: Path) -> None:
    from ovforge.image_io.hdf5 import ImageReader

    pair = msgspec.json.decode(ask(demo, "/api/pair?pair=000000900004_v1.jpg")[2])
    with ImageReader(pairs_folder / "demo.h5") as reader:
        for row, view in zip(pair["rows"], pair["views"], strict=True):
            status, headers, body = ask(demo, f"/image/{row}")
            assert (status, headers["content-type"]) == (200, "image/jpeg")
            assert body == reader.read(view["name"])


def test_limits_of_one_answer(demo: str) -> None:
    found = msgspec.json.decode(ask(demo, "/api/pairs?limit=100000000&offset=30")[2])
    assert (found["total"], len(found["items"])) == (32, 2)
    assert msgspec.json.decode(ask(demo, "/api/pairs?offset=99999999999")[2])["items"] == []


def test_names_in_the_data_cannot_end_the_script(tmp_path: Path) -> None:
    from ovforge.viewer.pages import as_json

    assert "<" not in as_json({"a": "</script><script>alert(1)</script>&amp;<!--"})


def test_bytes_that_are_no_image_are_not_handed_out(pairs_folder: Path, tmp_path: Path, serve: Any) -> None:
    from ovforge.image_io.hdf5 import ImageReader, ImageWriter

    (tmp_path / "annotations").mkdir()
    shutil.copy(pairs_folder / "annotations/demo.json", tmp_path / "annotations")
    with ImageReader(pairs_folder / "demo.h5") as reader, ImageWriter(tmp_path / "demo.h5") as writer:
        for name in reader.names():
            writer.add(name, b"<html><script>alert(1)</script>" if name == "000000900001.jpg" else reader.read(name))
    place = urlsplit(serve("pairs", "view", "demo", "--folder", tmp_path)).netloc
    for path in ("/image/0", "/thumb/0"):
        status, headers, body = ask(place, path)
        assert status == 404
        assert headers["content-type"] == "application/json"
        assert b"<script>" not in body


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pairs", "view", "nothing"], "nothing: there is no run of this name in data/tao/ovtrack"),
        (["pairs", "view", "../demo"], "'../demo' is not a name for a run"),
        (["exemplars", "view", "nothing.json"], "nothing.json: exemplars not found"),
    ],
)
def test_commands_refuse_what_is_not_there(
    tmp_path: Path, viewer_command: Any, arguments: list[str], told: str
) -> None:
    done = subprocess.run(viewer_command(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_told(demo: str, viewer_command: Any, pairs_folder: Path) -> None:
    port = demo.rpartition(":")[2]
    done = subprocess.run(
        viewer_command("pairs", "view", "demo", "--folder", str(pairs_folder), "--port", port),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"port {port} is taken" in done.stderr


def test_without_the_extra(viewer_command: Any, pairs_folder: Path) -> None:
    code = "import sys; sys.modules['starlette'] = None\n" + viewer_command()[2]
    command = [*viewer_command("pairs", "view", "demo", "--folder", str(pairs_folder))]
    command[2] = code
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert pip_line("viewer") in done.stderr


def test_help_is_true(viewer_command: Any) -> None:
    done = subprocess.run(viewer_command("pairs", "view", "--help"), capture_output=True, text=True, check=True)
    assert {"--port", "--export", "--count", "--seed", "--pair", "--folder"} <= set(
        re.findall(r"--[a-z-]+", done.stdout)
    )


def test_ctrl_c_ends_it(viewer_command: Any, pairs_folder: Path) -> None:
    import signal

    process = subprocess.Popen(
        viewer_command("pairs", "view", "demo", "--folder", str(pairs_folder), "--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode in (0, 130)
    assert "Traceback" not in errors
