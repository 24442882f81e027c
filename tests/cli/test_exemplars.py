"""`ovforge exemplars` and the originals' command lines for it, from the root of a user's data."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.exemplars import app

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SAMPLED = "lvis_image_exemplar_dict_K-{:03d}_own.json"


@pytest.fixture
def root(mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `datasets/` in the documents' layout, as working directory."""
    (tmp_path / "datasets").mkdir()
    for name in ("lvis", "coco", "imagenet", "VisualGenome"):
        (tmp_path / "datasets" / name).symlink_to(mini / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tool(name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(TOOLS / name), *arguments], capture_output=True, text=True, env=environment
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def expected(mini_expected: Path, name: str) -> str:
    return gzip.decompress((mini_expected / name).read_bytes()).decode()


def make_dictionary(mini_expected: Path) -> None:
    """The originals' own dictionary and categories, to sample from."""
    folder = Path("datasets/metadata")
    folder.mkdir()
    (folder / "exemplar_dict.json").write_text(
        expected(mini_expected, "collate_exemplar_dict/exemplar_dict.sorted.json.gz")
    )
    Path("min1.json").write_text(expected(mini_expected, "sample_exemplars/input_lvis_meta_min1.json.gz"))


class TestPrintedCommandLines:
    """As they stand in the originals' documents."""

    def test_collate(self, root: Path, mini_expected: Path) -> None:
        done = tool(
            "collate_exemplar_dict.py",
            "--lvis-dir",
            "datasets/lvis",
            "--imagenet-dir",
            "datasets/imagenet/imagenet21k_P",
            "--visual-genome-dir",
            "datasets/VisualGenome",
            "--output-path",
            "datasets/metadata/exemplar_dict.json",
        )
        assert "classes with fewer than 10  1,180" in done.stdout
        ours = json.loads((root / "datasets/metadata/exemplar_dict.json").read_text())
        original = json.loads(expected(mini_expected, "collate_exemplar_dict/exemplar_dict.sorted.json.gz"))
        assert {synset for synset in original if ours[synset] != original[synset]} == {"stop_sign.n.01"}

    def test_sample(self, root: Path, mini_expected: Path) -> None:
        make_dictionary(mini_expected)
        tool(
            "sample_exemplars.py",
            "--lvis-ann-path",
            "min1.json",
            "--exemplar-dict-path",
            "datasets/metadata/exemplar_dict.json",
            "-K",
            "5",
            "--out-path",
            "datasets/metadata/lvis_image_exemplar_dict_final_own.json",
        )
        ours = (root / "datasets/metadata/lvis_image_exemplar_dict_final_own.json").read_text()
        assert ours == expected(mini_expected, "sample_exemplars/lvis_image_exemplar_dict_K-005_ovmr_min1.json.gz")

    def test_sample_shortage_of_the_users_counts(self, root: Path, mini_expected: Path) -> None:
        make_dictionary(mini_expected)
        line = ["--lvis-ann-path", "min1.json", "-K", "5"]
        done = tool("sample_exemplars.py", *line, "--shortage", "error", check=False)
        assert done.returncode == 2
        assert "58 of the classes have fewer than 5 exemplars" in done.stderr
        tool("sample_exemplars.py", *line, "--nested")
        assert len(json.loads((root / "datasets/metadata" / SAMPLED.format(5)).read_text())) == 110

    def test_crop_and_index(self, root: Path, mini_expected: Path) -> None:
        make_dictionary(mini_expected)
        tool("sample_exemplars.py", "--lvis-ann-path", "min1.json", "-K", "3", "--out-path", "drawn.json")
        line = ["--ann-path", "drawn.json", "--num-augs", "5", "--nw", "8"]
        tool("save_LVIS_exemplars.py", *line, "--save_dir", "split", "--output-path", "x.npy")
        assert len(list((root / "split/all").iterdir())) == 110
        assert not (root / "x.npy").exists()
        done = tool("save_LVIS_exemplars_ovmr.py", *line, "--train_ann_path", "drawn.json", "--save_dir", "lists")
        assert "train and val are made from the same list" in done.stdout
        assert len(list((root / "lists/val").glob("*/*"))) == 330
        tool(
            "create_lvis_exemplar_dataset_json.py",
            "--lvis-exemplar-path",
            "lists",
            "--lvis-meta-path",
            "min1.json",
            "--out-path",
            "lists/annotations/lvis_exemplar_info.json",
        )
        listed = json.loads((root / "lists/annotations/lvis_exemplar_info.json").read_text())
        assert len(listed["images"]) == 330

    @pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
    def test_a_killed_crop_goes_on_to_the_same_files(self, root: Path, mini_expected: Path) -> None:
        make_dictionary(mini_expected)
        tool("sample_exemplars.py", "--lvis-ann-path", "min1.json", "-K", "4", "--out-path", "drawn.json")
        line = ["--ann-path", "drawn.json", "--save_dir"]
        tool("save_LVIS_exemplars_ovmr.py", *line, "whole")
        killed = subprocess.Popen(
            [sys.executable, str(TOOLS / "save_LVIS_exemplars_ovmr.py"), *line, "killed"],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
        while killed.poll() is None and len(list(Path("killed").glob("run/ledger/*.json"))) < 3:
            time.sleep(0.01)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
        assert not Path("killed/classes.json").exists()
        tool("save_LVIS_exemplars_ovmr.py", *line, "killed")

        def contents(folder: str) -> dict[str, bytes]:
            paths = [path for split in ("train", "val") for path in Path(folder, split).rglob("*") if path.is_file()]
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
            return {**files, "classes.json": Path(folder, "classes.json").read_bytes()}

        assert contents("killed") == contents("whole")


class TestCommands:
    """Exit codes, tables and messages of the package's own commands."""

    def test_all_four_in_a_row(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_app(app, ["collate"]) == 0
        printed = capsys.readouterr().out
        assert "under 10" in printed
        assert "and 1,172 more classes under 10: see the coverage report" in printed
        assert run_app(app, ["sample", "-k", "2", "--with-names"]) == 0
        drawn = f"datasets/metadata/{SAMPLED.format(2)}"
        assert run_app(app, ["crop", "--exemplars", drawn, "--out", "crops", "--form", "lists", "--sheet"]) == 0
        assert run_app(app, ["index", "--crops", "crops"]) == 0
        listed = json.loads((root / "crops/annotations/lvis_exemplar_info.json").read_text())
        assert len(listed["images"]) == 2 * len(list((root / "crops/sheets").iterdir()))

    def test_json_is_json_and_nothing_else(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_app(app, ["collate", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["counts"]["classes"] == 1203

    def test_require(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_app(app, ["collate", "--require", "10"]) == 2
        error = capsys.readouterr().err
        assert "1,180 of 1,203 classes have fewer than 10 exemplars" in error
        assert "exemplar_dict.coverage.json says why" in error
        assert Path("datasets/metadata/exemplar_dict.coverage.json").exists()
        assert not Path("datasets/metadata/exemplar_dict.json").exists()

    def test_existing_output(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_app(app, ["collate"]) == 0
        assert run_app(app, ["collate"]) == 2
        assert "already exists" in capsys.readouterr().err
        assert run_app(app, ["collate", "--overwrite"]) == 0

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (["collate", "--lvis-dir", "a", "--imagenet-dir", "b", "--visual-genome-dir", "c"], "not found"),
            (["sample"], "exemplar_dict.json: exemplar dictionary not found"),
            (["crop"], "sampled exemplars not found"),
            (["index", "--crops", "nothing"], "folder of cropped exemplars not found"),
            (["sample", "--shortage", "maybe"], "--shortage"),
            (["crop", "--form", "other"], "--form"),
        ],
    )
    def test_bad_usage_ends_with_2(
        self, root: Path, capsys: pytest.CaptureFixture[str], line: list[str], message: str
    ) -> None:
        assert run_app(app, line) == 2
        assert message in capsys.readouterr().err

    def test_help_loads_nothing_heavy(self) -> None:
        code = (
            "import sys; from ovforge.cli.common import run_app; from ovforge.cli.exemplars import app; "
            "run_app(app, ['--help']); run_app(app, ['crop', '--help']); "
            "sys.exit(', '.join({'numpy', 'cv2', 'h5py', 'torch'} & set(sys.modules)) or 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TOOLS.parent / "src")},
        )
        assert done.returncode == 0, done.stderr
        assert "--sheet" in done.stdout


def test_another_k_is_named_where_the_default_list_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets/metadata").mkdir(parents=True)
    (tmp_path / "datasets/metadata/lvis_image_exemplar_dict_K-005_own.json").write_text("[]")
    assert run_app(app, ["crop"]) == 2
    assert "--exemplars datasets/metadata/lvis_image_exemplar_dict_K-005_own.json" in capsys.readouterr().err
