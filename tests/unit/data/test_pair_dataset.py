"""The PyTorch data set over a merged run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from ovforge.errors import AnnotationFileError, ImageError, MissingExtraError, MissingInputError
from ovforge.image_io.hdf5 import ImageWriter

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")

from ovforge.data import PairDataset, collate_pairs  # noqa: E402
from ovforge.data.pair_dataset import matches  # noqa: E402

PAIRS = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve pairs: image i is filled with the value 10 * i, its second view with 10 * i + 5 (PNG, exact)."""
    folder = tmp_path_factory.mktemp("pairs")
    images, annotations = [], []
    with ImageWriter(folder / "run.h5") as writer:
        for i in range(PAIRS):
            for frame, name in enumerate((f"{i:03d}.jpg", f"{i:03d}_v0.jpg")):
                image = np.full((40 + i, 60, 3), 10 * i + 5 * frame, np.uint8)
                image[..., 0] = 255  # red, to tell RGB from BGR
                writer.add(name, cv2.imencode(".png", image[..., ::-1])[1].tobytes())
                number = 100 + 2 * i + frame
                images.append(
                    {"id": number, "width": 60, "height": 40 + i, "file_name": name, "video_id": i, "frame_id": frame}
                )
                # The second view has its objects in another order, and lacks track 3i + 1.
                for track in (3 * i + 2, 3 * i) if frame else (3 * i, 3 * i + 1, 3 * i + 2):
                    x = 5 + track % 3
                    labelled = {"size": [40 + i, 60], "counts": [0, 40 + i, (40 + i) * 59]}
                    annotations.append(
                        {
                            "id": len(annotations),
                            "image_id": number,
                            "category_id": 1 + track % 3,
                            "bbox": [x, 6, 10, 20],
                            "area": 200,
                            "track_id": track,
                            **(
                                {"fidelity": 0.5, "segmentation": labelled}
                                if frame
                                else {"segmentation": [[x, 6, x + 10, 6, x + 10, 26, x, 26], [1, 2, 3, 4]]}
                            ),
                        }
                    )
        writer.add("plain", b"bytes as they are")
    content = {
        "images": images,
        "annotations": annotations,
        "videos": [{"id": i} for i in range(PAIRS)],
        "categories": [{"id": c, "name": str(c)} for c in (1, 2, 3)],
    }
    (folder / "run.json").write_bytes(msgspec.json.encode(content))
    return folder / "run.h5", folder / "run.json"


def test_a_sample(run: tuple[Path, Path]) -> None:
    dataset = PairDataset(*run)
    assert len(dataset) == PAIRS
    first, second, targets = dataset[4]
    assert first.shape == second.shape == (3, 44, 60)
    assert first.dtype == torch.uint8
    assert (first[:, 0, 0].tolist(), second[:, 0, 0].tolist()) == ([255, 40, 40], [255, 45, 45])
    assert targets["file_names"] == ("004.jpg", "004_v0.jpg")
    assert targets["image_ids"] == (108, 109)
    assert targets["a"]["track_ids"].tolist() == [12, 13, 14]
    assert targets["b"]["track_ids"].tolist() == [14, 12]
    assert targets["match"].tolist() == [1, -1, 0]
    assert targets["a"]["boxes"].tolist() == [[5, 6, 15, 26], [6, 6, 16, 26], [7, 6, 17, 26]]
    assert targets["a"]["labels"].tolist() == [1, 2, 3]
    assert targets["b"]["fidelity"].tolist() == [0.5, 0.5]
    assert torch.isnan(targets["a"]["fidelity"]).all()
    kinds = {key: value.dtype for key, value in targets["b"].items()}
    assert kinds == {
        "boxes": torch.float32,
        "labels": torch.int64,
        "track_ids": torch.int64,
        "areas": torch.float32,
        "fidelity": torch.float32,
        "visibility": torch.float32,
        "ignore": torch.float32,
    }
    assert "masks" not in targets["a"]
    assert targets["a"]["ignore"].shape == (0, 4)


def test_ignore_regions_are_no_objects(run: tuple[Path, Path], tmp_path: Path) -> None:
    content = msgspec.json.decode(run[1].read_bytes())
    region = {"category_id": 1, "bbox": [1, 2, 30, 20], "area": 600, "iscrowd": 1, "fidelity": 0.0}
    content["annotations"] += [
        {**region, "id": 900 + frame, "image_id": 108 + frame, "track_id": 77} for frame in range(2)
    ]
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(content))
    with_regions, without = PairDataset(run[0], tmp_path / "run.json", masks=True), PairDataset(*run, masks=True)
    for position in range(PAIRS):
        found, expected = with_regions[position][2], without[position][2]
        assert torch.equal(found["match"], expected["match"])
        for view in "ab":
            assert found[view]["ignore"].tolist() == ([[1, 2, 31, 22]] if position == 4 else [])
            for key in ("boxes", "labels", "track_ids", "areas", "masks"):
                assert torch.equal(found[view][key], expected[view][key])


def test_what_is_hardly_visible_is_an_ignore_region(run: tuple[Path, Path], tmp_path: Path) -> None:
    content = msgspec.json.decode(run[1].read_bytes())
    for annotation in content["annotations"]:
        if annotation["image_id"] == 109:
            annotation["visibility"] = 0.25 if annotation["track_id"] == 14 else 0.5
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(content))
    whole = PairDataset(run[0], tmp_path / "run.json", masks=True)[4][2]
    assert whole["a"]["visibility"].tolist() == [1, 1, 1]
    assert whole["b"]["visibility"].tolist() == [0.25, 0.5]
    targets = PairDataset(run[0], tmp_path / "run.json", masks=True, min_visibility=0.5)[4][2]
    assert targets["b"]["track_ids"].tolist() == [12]
    assert targets["b"]["visibility"].tolist() == [0.5]
    assert targets["b"]["ignore"].tolist() == [[7, 6, 17, 26]]
    assert targets["b"]["masks"].shape[0] == 1
    assert targets["match"].tolist() == [0, -1, -1]
    assert targets["a"]["track_ids"].tolist() == [12, 13, 14]


def test_indices_as_of_a_list(run: tuple[Path, Path]) -> None:
    dataset = PairDataset(*run)
    assert dataset[-1][2]["file_names"] == dataset[PAIRS - 1][2]["file_names"]
    for wrong in (PAIRS, -PAIRS - 1):
        with pytest.raises(IndexError):
            dataset[wrong]


def test_masks_of_polygons_and_run_lengths(run: tuple[Path, Path]) -> None:
    targets = PairDataset(*run, masks=True)[0][2]
    assert targets["a"]["masks"].shape == (3, 40, 60)
    assert targets["a"]["masks"][0, 10].nonzero().flatten().tolist() == list(range(5, 15))
    assert targets["b"]["masks"][0].nonzero()[:, 1].unique().tolist() == [0]
    assert targets["b"]["masks"].dtype == torch.uint8


@pytest.mark.parametrize(
    "labelled",
    [None, [], [[1, 2, 3, 4]], {"size": [3, 3], "counts": [9]}, {"counts": "abc"}],
)
def test_objects_without_a_usable_mask_have_zeros(run: tuple[Path, Path], tmp_path: Path, labelled: Any) -> None:
    content = msgspec.json.decode(run[1].read_bytes())
    for entry in content["annotations"]:
        entry["segmentation"] = labelled
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(content))
    _, _, targets = PairDataset(run[0], tmp_path / "run.json", masks=True)[0]
    assert targets["a"]["masks"].sum() == 0
    assert targets["a"]["masks"].shape == (3, 40, 60)


def test_a_damaged_mask_is_named(run: tuple[Path, Path], tmp_path: Path) -> None:
    content = msgspec.json.decode(run[1].read_bytes())
    content["annotations"][0]["segmentation"] = {"size": [40, 60], "counts": 5}
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(content))
    with pytest.raises(AnnotationFileError, match="annotation 0 has no readable mask"):
        PairDataset(run[0], tmp_path / "run.json", masks=True)[0]


def test_get_takes_bare_names_and_paths(run: tuple[Path, Path]) -> None:
    dataset = PairDataset(*run)
    expected = dataset.get("003.jpg")
    assert expected.startswith(b"\x89PNG")
    for path in ("data/lvis/train2017/003.jpg", Path("/somewhere/003.jpg"), "a\\b\\003.jpg"):
        assert dataset.get(path) == expected
    assert dataset.get("plain") == b"bytes as they are"
    for wrong in ("nothing.jpg", "", "folder/", "..", "a/.."):
        with pytest.raises(ImageError):
            dataset.get(wrong)


def test_get_reads_the_originals_byte_strings(run: tuple[Path, Path], tmp_path: Path) -> None:
    import h5py

    data = PairDataset(*run).get("003.jpg")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.create_dataset("003.jpg", data=np.void(data))
        file.create_dataset("004.jpg", data=np.frombuffer(data, np.uint8))
        file.create_dataset("005.jpg", data=np.bytes_(data))
    dataset = PairDataset(tmp_path / "old.h5", run[1])
    assert dataset.get("003.jpg") == dataset.get("004.jpg") == data
    assert dataset.get("005.jpg") == data.rstrip(b"\0")


def _double(first: Any, second: Any, targets: dict[str, Any]) -> Any:
    return first.float() * 2, second, {**targets, "process": os.getpid()}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_data_loader(run: tuple[Path, Path], workers: int, start: str) -> None:
    dataset = PairDataset(*run, transform=_double)
    dataset[0]  # the parent has its file open: workers must not share it
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=3,
        num_workers=workers,
        collate_fn=collate_pairs,
        multiprocessing_context=multiprocessing.get_context(start) if workers else None,
    )
    for _ in range(2):
        names, processes = [], set()
        for first, second, targets in loader:
            assert len(first) == len(second) == 3
            for a, target in zip(first, targets, strict=True):
                number = int(target["file_names"][0][:3])
                assert a[1].unique().tolist() == [20.0 * number]
                processes.add(target["process"])
            names += [target["file_names"][1] for target in targets]
        assert names == [f"{i:03d}_v0.jpg" for i in range(PAIRS)]
        assert len(processes - {os.getpid()}) == workers


def test_pickles_small_and_opens_again(run: tuple[Path, Path]) -> None:
    dataset = PairDataset(*run)
    dataset[0]
    packed = pickle.dumps(dataset)
    assert len(packed) < 1000
    again = pickle.loads(packed)
    assert torch.equal(again[5][1], dataset[5][1])


def test_works_in_threads(run: tuple[Path, Path]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    dataset = PairDataset(*run)
    with ThreadPoolExecutor(8) as pool:
        samples = list(pool.map(dataset.__getitem__, list(range(PAIRS)) * 10))
    assert [s[2]["file_names"][0] for s in samples[:PAIRS]] == [f"{i:03d}.jpg" for i in range(PAIRS)]


def test_what_is_missing(run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingInputError):
        PairDataset(tmp_path / "no.h5", run[1])
    with pytest.raises(MissingInputError, match=r"pairs\.annotate"):
        PairDataset(run[0], tmp_path / "no.json")
    with ImageWriter(tmp_path / "half.h5") as writer:
        writer.add("000.jpg", b"\xff\xd8cut")
    dataset = PairDataset(tmp_path / "half.h5", run[1])
    with pytest.raises(ImageError, match=r"000\.jpg"):
        dataset[0]
    with pytest.raises(ImageError, match=r"001\.jpg"):
        dataset[1]
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match="torch"):
        PairDataset(*run)


def test_matches() -> None:
    find = partial(np.array, dtype=np.int64)
    assert matches(find([3, 1, 2]), find([2, 3])).tolist() == [1, -1, 0]
    assert matches(find([3]), find([])).tolist() == [-1]
    assert matches(find([]), find([1])).tolist() == []
