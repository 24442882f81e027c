"""The index over a pairs JSON."""

from __future__ import annotations

import gzip
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ovforge.errors import AnnotationFileError, MissingInputError, WorkError
from ovforge.sources import pair_index
from ovforge.sources.pair_arrays import motion_row
from ovforge.sources.pair_index import PairIndex, open_pair_index


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def image(number: int, name: str, video: int, frame: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "width": 64, "height": 48, "file_name": name, "video_id": video, "frame_id": frame, **more}


def thing(number: int, of: int, track: int, area: float, **more: Any) -> dict[str, Any]:
    box = [1, 2, math.sqrt(area), math.sqrt(area)]
    return {"id": number, "image_id": of, "category_id": 7, "track_id": track, "bbox": box, "area": area, **more}


def small() -> dict[str, Any]:
    """An image on its own, then two pairs whose records stand in no helpful order; the first has two variants."""
    return {
        "images": [
            image(1, "a.jpg", 0, 0),
            image(14, "ä_v0.jpg", 2, 1),
            image(10, "a.jpg", 1, 0),
            image(12, "a_v1.jpg", 1, 2, caption="two"),
            image(13, "ä.jpg", 2, 0),
            image(11, "a_v0.jpg", 1, 1, caption="one", motion={"kind": "none"}),
        ],
        "annotations": [
            thing(1, 1, 0, 100),
            thing(4, 12, 5, 100, fidelity=0.25),
            thing(2, 10, 5, 100),
            thing(3, 11, 5, 400, fidelity=0.5),
            thing(6, 11, 6, 50, fidelity=0.75),
            thing(5, 10, 6, 50),
            thing(7, 13, 8, 900),
        ],
        "videos": [{"id": 0}, {"id": 1}, {"id": 2}],
        "categories": [{"id": 7, "name": "seven", "frequency": "r", "more": [1]}],
    }


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(content))
    return path


def rows(index: PairIndex) -> dict[str, tuple[str, list[int], list[int]]]:
    return {
        index.file_name(int(b)): (
            index.file_name(int(a)),
            index.track_id[index.objects(int(a))].tolist(),
            index.track_id[index.objects(int(b))].tolist(),
        )
        for a, b in index.pairs
    }


def test_who_belongs_together(tmp_path: Path) -> None:
    index = open_pair_index(write(tmp_path / "small.json", small()))
    assert rows(index) == {
        "a_v0.jpg": ("a.jpg", [5, 6], [5, 6]),
        "a_v1.jpg": ("a.jpg", [5, 6], [5]),
        "ä_v0.jpg": ("ä.jpg", [8], []),
    }
    assert [index.find(name) is not None for name in ("a_v0.jpg", "ä_v0.jpg", "a.jpg", "", "zz")] == [True, True] + [
        False
    ] * 3
    first, second, third = (index.find(name) for name in ("a_v0.jpg", "a_v1.jpg", "ä_v0.jpg"))
    assert index.pair_change[[first, second]].tolist() == pytest.approx([2.0, 1.0])
    assert np.isnan(index.pair_change[third])
    assert index.pair_fidelity[[first, second]].tolist() == [0.5, 0.25]
    assert index.pair_objects[[first, second, third]].tolist() == [2, 1, 0]
    assert index.image_fields(int(index.pairs[first, 1]))["caption"] == "one"
    assert index.object_fields(index.objects(int(index.pairs[second, 1])).start)["id"] == 4
    assert index.categories[0].name == "seven"


def test_the_second_opening_maps_what_the_first_wrote(tmp_path: Path) -> None:
    path = write(tmp_path / "small.json", small())
    first = open_pair_index(path)
    folder = tmp_path / ".small.json.index"
    written = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    second = open_pair_index(path)
    assert isinstance(second.box, np.memmap)
    assert rows(first) == rows(second)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == written


def test_a_changed_json_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "small.json", small())
    old = open_pair_index(path)
    changed = small()
    changed["annotations"] = changed["annotations"][:-1]
    write(path, changed)
    assert rows(open_pair_index(path))["ä_v0.jpg"] == ("ä.jpg", [], [])
    assert rows(old)["ä_v0.jpg"][1] == [8]
    with pytest.raises(AnnotationFileError, match="has changed since it was opened"):
        old.image_fields(0)


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "small.json", small())
    expected = rows(open_pair_index(path))
    (tmp_path / ".small.json.index/box.npy").write_bytes(b"cut")
    assert rows(open_pair_index(path)) == expected
    (tmp_path / ".small.json.index/header.json").unlink()
    assert rows(open_pair_index(path)) == expected


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "small.json", small())
    cache = tmp_path / "cache/small.index"
    # Inside a file nobody can write, root included.
    monkeypatch.setattr(pair_index, "_index_folders", lambda path: (path / "beside", cache))
    assert rows(open_pair_index(path))
    assert (cache / "header.json").exists()
    monkeypatch.setattr(pair_index, "_index_folders", lambda path: (path / "beside", path / "cache"))
    with pytest.raises(WorkError, match="XDG_CACHE_HOME"):
        open_pair_index(path)


def test_the_cache_folder_keeps_files_of_one_name_apart(tmp_path: Path) -> None:
    found = {pair_index._index_folders(tmp_path / name / "a.json")[1] for name in ("one", "two")}
    assert len(found) == 2
    assert all(tmp_path / "cache" in folder.parents for folder in found)


def test_a_file_in_the_way_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "data/small.json", small())
    (path.parent / ".small.json.index").write_text("in the way")
    assert rows(open_pair_index(path))
    assert sorted(file.name for file in path.parent.iterdir()) == [".small.json.index", "small.json"]


def _open(path: Path) -> int:
    return len(open_pair_index(path))


def test_many_processes_open_it_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "data/small.json", small())
    with ProcessPoolExecutor(4) as pool:
        assert list(pool.map(_open, [path] * 12)) == [3] * 12
    assert sorted(file.name for file in path.parent.iterdir()) == [".small.json.index", "small.json"]


@pytest.mark.parametrize("variant", ["no pairs", "nothing"])
def test_files_without_pairs(tmp_path: Path, variant: str) -> None:
    content = small()
    content["images"] = content["images"][:1] if variant == "no pairs" else []
    content["annotations"] = content["annotations"][:1] if variant == "no pairs" else []
    index = open_pair_index(write(tmp_path / "small.json", content))
    assert len(index) == 0
    assert index.find("a.jpg") is None
    assert len(open_pair_index(tmp_path / "small.json")) == 0


def test_refuses_what_is_no_pairs_json(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"pairs\.annotate"):
        open_pair_index(tmp_path / "nothing.json")
    content = small()
    del content["videos"]
    with pytest.raises(AnnotationFileError, match='no "videos"'):
        open_pair_index(write(tmp_path / "a.json", content))
    content = small()
    content["images"][2]["frame_id"] = 3
    with pytest.raises(AnnotationFileError, match="without a frame 0"):
        open_pair_index(write(tmp_path / "b.json", content))
    content = small()
    del content["annotations"][2]["track_id"]
    with pytest.raises(AnnotationFileError, match="track_id"):
        open_pair_index(write(tmp_path / "c.json", content))
    assert not list(tmp_path.glob(".*"))


def test_the_originals_own_json(mini_expected: Path, tmp_path: Path) -> None:
    packed = mini_expected / "generate_json_anno/ovtrack_mini.repeat_2.json.gz"
    path = tmp_path / "ovtrack_mini.json"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    written = msgspec.json.decode(path.read_bytes())
    index = open_pair_index(path)
    assert len(index) == 14
    tracks: dict[int, list[int]] = {}
    for entry in written["annotations"]:
        tracks.setdefault(entry["image_id"], []).append(entry["track_id"])
    for a, b in index.pairs:
        for row in (int(a), int(b)):
            assert index.track_id[index.objects(row)].tolist() == tracks.get(int(index.image_id[row]), [])
    assert np.isnan(index.pair_fidelity).all()
    assert set(index.pair_motion[:, 0].tolist()) == {0.0}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [-30, 0, 20])
def test_a_motion_in_numbers(flip: bool, degrees: float) -> None:
    turn = math.radians(degrees)
    # Counter-clockwise on the screen, where y points down; then mirrored.
    matrix = np.array([[math.cos(turn), math.sin(turn), 5], [-math.sin(turn), math.cos(turn), -3], [0, 0, 1]])
    matrix[:2, :2] *= 1.25
    if flip:
        matrix = np.array([[-1, 0, 63], [0, 1, 0], [0, 0, 1]]) @ matrix
    assert motion_row("affine", flip, matrix.tolist(), 64, 48) == pytest.approx((2, float(flip), 1.25, degrees))


def test_motions_that_say_little() -> None:
    assert motion_row("none", False, (), 64, 48) == (1, 0, 1, 0)
    assert motion_row("swirl", False, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], 64, 48) == (4, 0, 1, 0)
    assert np.isnan(motion_row("", False, (), 0, 0)[2])
    assert np.isnan(motion_row("perspective", False, [[1, 0, 0], [0, 1, 0], [0, 0, 0]], 64, 48)[2])
