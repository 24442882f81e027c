"""The review of a run on disk: several writers, writers that are killed, files that are not reviews."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

import ovforge
from ovforge.errors import InputError, MissingInputError, WorkError
from ovforge.files.review_file import change_review, read_review
from ovforge.records.review import Review, ReviewChange, ReviewEntry

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {source!r})
from ovforge.files.review_file import change_review
from ovforge.records.review import ReviewChange
path, prefix, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for number in range(first, last):
    verdict = "reject" if number % 3 else "keep"
    change_review(path, [ReviewChange(f"{{prefix}}{{number:05d}}_v0.jpg", verdict, add_tags=(prefix,))])
    print(number, flush=True)
"""


def writer(path: Path, prefix: str, first: int, last: int) -> subprocess.Popen[str]:
    code = WRITER.format(source=str(Path(ovforge.__file__).parents[1]))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), prefix, str(first), str(last)], stdout=subprocess.PIPE, text=True
    )


def test_missing_file_is_an_empty_review_or_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.review.json"
    assert read_review(path) == Review()
    with pytest.raises(MissingInputError, match="review"):
        read_review(path, required=True)


def test_changes_are_of_single_entries_and_say_what_was_before(tmp_path: Path) -> None:
    path = tmp_path / "run.review.json"
    change_review(path, [ReviewChange("a_v0.jpg", "reject", add_tags=("dark ", "odd"))])
    review, changed, refused = change_review(
        path, [ReviewChange("a_v0.jpg", remove_tags=("odd",)), ReviewChange("b_v0.jpg", "keep")]
    )
    assert read_review(path) == review
    assert review.pairs == {
        "a_v0.jpg": ReviewEntry("reject", ("dark",), 2),
        "b_v0.jpg": ReviewEntry("keep", (), 2),
    }
    assert [(one.name, one.before.tags) for one in changed] == [("a_v0.jpg", ("dark", "odd")), ("b_v0.jpg", ())]
    assert refused == []
    assert review.rejected == {"a_v0.jpg"}


def test_what_another_page_changed_since_is_not_undone(tmp_path: Path) -> None:
    path = tmp_path / "run.review.json"
    _, changed, _ = change_review(path, [ReviewChange("a_v0.jpg", "keep")])
    change_review(path, [ReviewChange("a_v0.jpg", "reject")])
    review, changed, refused = change_review(path, [ReviewChange("a_v0.jpg", "", expect=changed[0].after.revision)])
    assert (changed, [name for name, _ in refused]) == ([], ["a_v0.jpg"])
    assert review.pairs["a_v0.jpg"].verdict == "reject"


def test_nothing_is_lost_between_two_writers(tmp_path: Path) -> None:
    path = tmp_path / "run.review.json"
    writers = [writer(path, prefix, 0, 60) for prefix in ("x", "y")]
    for process in writers:
        process.communicate(timeout=120)
        assert process.returncode == 0
    review = read_review(path)
    assert len(review.pairs) == 120
    assert review.revision == 120


def test_review_of_1000_pairs_survives_kills_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "run.review.json"
    change_review(path, [ReviewChange(f"p{number:05d}_v0.jpg", "keep") for number in range(1000)])
    rng, done = random.Random(5), 0
    for _ in range(8):
        process = writer(path, "p", done, 1000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.random() * 0.15)
        os.kill(process.pid, signal.SIGKILL)
        said = process.communicate()[0].split()
        told = int(said[-1]) + 1 if said else done + 1
        review = read_review(path)
        assert len(review.pairs) == 1000
        for number in range(told):
            entry = review.pairs[f"p{number:05d}_v0.jpg"]
            assert (entry.verdict, entry.tags) == ("reject" if number % 3 else "keep", ("p",))
        done = told
    change_review(path, [ReviewChange("last_v0.jpg", "keep")])
    assert sorted(one.name for one in tmp_path.iterdir()) == [".run.review.json.lock", "run.review.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "ovforge review 9"}', b'{"pairs": {"a": 1}}'])
def test_what_is_no_review_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.review.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.review\.json"):
        read_review(path)
    with pytest.raises(InputError, match=r"run\.review\.json"):
        change_review(path, [ReviewChange("a_v0.jpg", "keep")])
    assert path.read_bytes() == content


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WorkError, match="cannot be written"):
            change_review(tmp_path / "run.review.json", [ReviewChange("a_v0.jpg", "keep")])
    finally:
        tmp_path.chmod(0o700)


def test_file_is_readable_json(tmp_path: Path) -> None:
    path = tmp_path / "run.review.json"
    change_review(path, [ReviewChange("a_v0.jpg", "reject", add_tags=("dark",))])
    assert msgspec.json.decode(path.read_bytes()) == {
        "format": "ovforge review 1",
        "revision": 1,
        "pairs": {"a_v0.jpg": {"verdict": "reject", "tags": ["dark"], "revision": 1}},
    }
