"""The review over the real server: who may write, what is exported, and what a killed server leaves behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from ovforge.files.review_file import change_review, read_review
from ovforge.records.review import ReviewChange

CUP = "000000900002_v0.jpg"


def ask(place: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(place, timeout=60)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(
        "POST" if body is not None else "GET", path, json.dumps(body) if body is not None else None, names
    )
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    with contextlib.suppress(msgspec.DecodeError):
        return answer.status, msgspec.json.decode(told)
    return answer.status, told.decode()


def token(place: str, **headers: str) -> str:
    found = re.search(r'"token":"([^"]*)"', ask(place, "/", **headers)[1])
    assert found is not None
    return found[1]


def change(name: str = CUP, **fields: Any) -> dict[str, Any]:
    return {"changes": [{"name": name, **fields}]}


def test_write_needs_the_pages_own_token(to_judge: str, run_folder: Path) -> None:
    place = urlsplit(to_judge).netloc
    path = run_folder / "demo.review.json"
    for headers, status in (
        ({}, 403),
        ({"X_Ovforge_Token": "guess"}, 403),
        ({"X_Ovforge_Token": token(place), "Origin": "http://evil.example"}, 403),
        ({"X_Ovforge_Token": token(place), "Sec_Fetch_Site": "cross-site"}, 403),
        ({"X_Ovforge_Token": token(place), "Host": "evil.example"}, 421),
    ):
        assert ask(place, "/api/review", change(verdict="reject"), **headers)[0] == status, headers
        assert not path.exists()
    own = {"X_Ovforge_Token": token(place), "Origin": f"http://{place}", "Sec_Fetch_Site": "same-origin"}
    status, told = ask(place, "/api/review", change(verdict="reject", add_tags=["dark"]), **own)
    assert (status, told["rejected"], told["tags"]) == (200, 1, {"dark": 1})
    assert read_review(path).rejected == {CUP}


@pytest.mark.parametrize(
    "body",
    [
        change("nothing_v0.jpg", verdict="keep"),
        change(verdict="maybe"),
        change(verdict=3),
        {"changes": [{"verdict": "keep"}]},
        {"first": 0, "last": 3, "verdict": "maybe"},
        {"first": 0, "last": 10**9, "verdict": "keep"},
        {"first": 0, "last": 3, "query": {"sort": "no"}, "verdict": "keep"},
        {"unknown": 1},
        [],
    ],
)
def test_bad_changes_are_refused(demo: str, pairs_folder: Path, body: Any) -> None:
    place = urlsplit(demo).netloc
    status, told = ask(place, "/api/review", body, X_Ovforge_Token=token(place))
    assert status == 400
    assert told["error"]
    assert not (pairs_folder / "demo.review.json").exists()


def test_read_only_pages_take_no_writes(serve: Any, run_folder: Path) -> None:
    place = urlsplit(serve("pairs", "view", "demo", "--folder", run_folder, "--read-only")).netloc
    assert token(place) == ""
    assert ask(place, "/api/review", change(verdict="keep"))[0] == 405
    assert not (run_folder / "demo.review.json").exists()


def test_other_addresses_read_only_unless_told_otherwise(serve: Any, run_folder: Path) -> None:
    arguments = ("pairs", "view", "demo", "--folder", run_folder, "--allow-host", "lab.example")
    place = urlsplit(serve(*arguments)).netloc
    assert token(place) != ""
    assert token(place, Host="lab.example") == ""
    assert ask(place, "/api/review", change(verdict="keep"), Host="lab.example", X_Ovforge_Token=token(place))[0] == 405
    place = urlsplit(serve(*arguments, "--writable")).netloc
    own = token(place, Host="lab.example:80")
    behind = {"Host": "lab.example", "Origin": "https://hub.example", "X_Ovforge_Token": own}
    assert ask(place, "/api/review", change(verdict="keep"), **behind)[0] == 403
    assert ask(place, "/api/review", change(verdict="keep"), **behind, Sec_Fetch_Site="same-origin")[0] == 200
    assert ask(place, "/api/review", change(verdict="keep"), Host="lab.example", X_Ovforge_Token=own)[0] == 200


def test_refused_host_says_which_option_allows_it(to_judge: str, run_folder: Path) -> None:
    place = urlsplit(to_judge).netloc
    status, told = ask(place, "/", Host="hub.example:8000")
    assert status == 421
    assert "--allow-host hub.example\n" in told
    assert "ssh -L" in told
    assert "<" not in ask(place, "/", Host="<script>")[1]


def test_base_path_of_a_proxy_is_taken_off(serve: Any, run_folder: Path) -> None:
    arguments = ("pairs", "view", "demo", "--folder", run_folder, "--base-path", "/user/me/proxy/")
    place = urlsplit(serve(*arguments)).netloc
    for base in ("", "/user/me/proxy"):
        assert ask(place, f"{base}/api/state")[1]["total"] == 32
        assert ask(place, f"{base}/assets/pairs.js")[0] == 200
    assert ask(place, "/user/api/state")[0] == 404
    assert not re.search(r'(?:href|src)="/', ask(place, "/user/me/proxy/")[1])


def test_a_range_of_a_filter_is_changed_at_once(to_judge: str, run_folder: Path) -> None:
    place = urlsplit(to_judge).netloc
    listed = [item["name"] for item in ask(place, "/api/pairs?class=cup")[1]["items"]]
    body = {"query": {"class": "cup"}, "first": 5, "last": 2, "verdict": "reject"}
    told = ask(place, "/api/review", body, X_Ovforge_Token=token(place))[1]
    assert [one["name"] for one in told["changed"]] == listed[2:6]
    assert read_review(run_folder / "demo.review.json").rejected == set(listed[2:6])
    for query, count in (
        ("verdict=reject", 4),
        ("verdict=none", 28),
        ("verdict=keep", 0),
        ("class=cup&verdict=none", 4),
    ):
        assert ask(place, f"/api/pairs?{query}")[1]["total"] == count, query


def test_exports_of_a_filter_leave_rejected_pairs_out(to_judge: str, run_folder: Path, tmp_path: Path) -> None:
    change_review(run_folder / "demo.review.json", [ReviewChange(CUP, "reject", add_tags=("dark",))])
    place = urlsplit(to_judge).netloc
    cups = [item["name"] for item in ask(place, "/api/pairs?class=cup")[1]["items"]]
    names = ask(place, "/export/list.txt?class=cup")[1].split()
    assert names == [name for name in cups if name != CUP]
    assert ask(place, "/export/list.txt?verdict=reject")[1].split() == [CUP]
    assert ask(place, "/export/list.txt?tag=DARK&verdict=keep")[0] == 400
    coco = ask(place, "/export/coco.json?class=cup")[1]
    assert coco["info"]["rejected_left_out"] == 1
    assert {image["file_name"] for image in coco["images"]} == {*names, *(f"{name[:12]}.jpg" for name in names)}
    path = tmp_path / "coco.json"
    path.write_bytes(msgspec.json.encode(coco))
    from pycocotools.coco import COCO

    read = COCO(str(path))
    assert all(read.annToMask(one).any() for one in coco["annotations"])
    written = msgspec.json.decode((run_folder / "annotations/demo.json").read_bytes())
    in_run = {image["id"]: image["file_name"] for image in written["images"]}
    ours = {image["id"]: image["file_name"] for image in coco["images"]}
    key = lambda one, names: (names[one["image_id"]], one["category_id"], *(round(side) for side in one["bbox"]))  # noqa: E731
    assert {key(one, ours) for one in coco["annotations"]} <= {key(one, in_run) for one in written["annotations"]}
    html = ask(place, "/export/pairs.html?class=cup")[1]
    assert names[0] in html
    assert CUP not in html


def test_damaged_review_is_told_and_left_alone(to_judge: str, run_folder: Path) -> None:
    path = run_folder / "demo.review.json"
    place = urlsplit(to_judge).netloc
    own = token(place)
    path.write_text("{cut")
    status, text = ask(place, "/")
    assert status == 500
    assert "demo.review.json" in text
    assert ask(place, "/api/review", change(verdict="keep"), X_Ovforge_Token=own)[0] == 500
    assert path.read_text() == "{cut"


def test_review_of_1000_pairs_survives_kills_of_the_server(viewer_command: Any, many_folder: Path) -> None:
    """Killed at moments of no choice: what was confirmed is there, the batch in flight whole or not at all."""
    names = [f"{number:012d}_v0.jpg" for number in range(1000)]
    path = many_folder / "many.review.json"
    said: dict[str, str] = {}
    rng, place = random.Random(7), 0
    for kill in range(4):
        process = subprocess.Popen(
            viewer_command("pairs", "view", "many", "--folder", str(many_folder), "--port", "0"),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[1]).netloc
        own = token(address)
        timer = threading.Timer(0.05 + 0.4 * rng.random(), process.send_signal, (signal.SIGKILL,))
        if kill < 3:
            timer.start()
        deadline = time.monotonic() + 60
        while place < 1000 and time.monotonic() < deadline:
            batch = names[place : place + 7]
            verdict = "reject" if place % 2 else "keep"
            try:
                body = {"changes": [{"name": name, "verdict": verdict} for name in batch]}
                status, _ = ask(address, "/api/review", body, X_Ovforge_Token=own)
            except (OSError, http.client.HTTPException):
                break  # killed: the batch may be there or not, but whole
            assert status == 200
            said |= dict.fromkeys(batch, verdict)
            place += 7
        timer.cancel()
        process.kill()
        process.communicate(timeout=30)
        found = read_review(path).pairs if path.exists() else {}
        assert {name: found[name].verdict for name in said} == said
        assert len(found) - len(said) in (0, len(names[place : place + 7]))
    assert len(said) == 1000
