"""The commands as functions: keywords, text for paths, and the same checks."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import ovforge
from ovforge.errors import InputError, OutputExistsError
from ovforge.options.annotations import RemoveRareOptions
from ovforge.records.reporting import Drop, StepSummary


def test_options_are_keywords_or_an_object(mini: Path, tmp_path: Path) -> None:
    source = mini / "lvis/lvis_v1_train.json"
    first = ovforge.lvis.remove_rare(annotations=str(source), out=str(tmp_path / "a.json"))
    second = ovforge.lvis.remove_rare(RemoveRareOptions(source, tmp_path / "b.json"))
    assert first.counts == second.counts
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    with pytest.raises(OutputExistsError, match="overwrite=True replaces it"):
        ovforge.lvis.remove_rare(annotations=source, out=tmp_path / "a.json")


def test_the_generating_command_is_a_function(mini: Path, tmp_path: Path) -> None:
    seen = []
    summary = ovforge.pairs.generate(
        name="run",
        out=str(tmp_path),
        images=str(mini / "coco/train2017"),
        annotations=str(mini / "lvis/lvis_v1_train.json"),
        engine="warp",
        workers=1,
        limit=2,
        progress=lambda *told: seen.append(told),
    )
    assert summary.counts["images"] == 2
    assert seen
    assert summary.paths["partitions"].parent == tmp_path / "run"
    assert str(summary).splitlines()[-1] == f"  next: ovforge.pairs.merge('run', folder='{tmp_path}')"
    checked = ovforge.pairs.check(name="run", out=str(tmp_path), workers=1)
    assert "the run that is there would be resumed" in checked.notes
    assert checked.next_command == f"ovforge pairs generate run --out {tmp_path} --workers 1"
    assert [(run.name, run.images, run.merged) for run in ovforge.pairs.list_runs(str(tmp_path))] == [("run", 2, False)]
    assert ovforge.pairs.status("run", folder=tmp_path).done == 1
    with pytest.raises(InputError, match=r"generate\(\'other\'|no run of this name") as caught:
        ovforge.pairs.merge("other", folder=tmp_path)
    assert "folder=..." in str(caught.value)
    merged = ovforge.pairs.merge("run", folder=str(tmp_path))
    assert merged.counts["images"] == 2
    with pytest.raises(InputError, match=r"engine='wrap'.*\n.*did you mean warp"):
        ovforge.pairs.generate(name="run", engine="wrap")
    with pytest.raises(TypeError, match="has no option imagse"):
        ovforge.pairs.generate(name="run", imagse="a")


def test_a_run_needs_no_name_and_a_folder_is_called_out(mini: Path, tmp_path: Path) -> None:
    inputs = {"images": mini / "coco/train2017", "annotations": mini / "lvis/lvis_v1_train.json"}
    summary = ovforge.pairs.generate(**inputs, out=tmp_path, engine="warp", workers=1, limit=1)
    assert [run.name for run in ovforge.pairs.list_runs(tmp_path)] == ["my_pairs"]
    assert summary.paths["partitions"].parent == tmp_path / "my_pairs"
    with pytest.raises(InputError, match=r"out=\.\.\. writes elsewhere|name"):
        ovforge.pairs.generate("a/b", out=tmp_path)


def test_whole_procedures_are_functions_too(tmp_path: Path) -> None:
    report = ovforge.workflow.doctor(root=str(tmp_path))
    assert report.root == str(tmp_path)
    with pytest.raises(InputError, match=r"folder not found\n  give the folder .* by root=\.\.\."):
        ovforge.workflow.prepare(root=tmp_path / "nowhere")


def test_importing_loads_no_heavy_library() -> None:
    code = (
        "import sys, ovforge; dir(ovforge);"
        "print([m for m in ('numpy', 'cv2', 'h5py', 'torch', 'ray', 'typer', 'loky') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


ROOMS = sorted(module.name for module in pkgutil.iter_modules(ovforge.__path__) if module.ispkg)


@pytest.mark.parametrize("name", ["lvis", "pairs", *ROOMS])
def test_every_room_is_a_module_that_exports_what_it_says(name: str) -> None:
    room = importlib.import_module(f"ovforge.{name}")
    assert room.__doc__, f"{name} does not say what it is for"
    if name in ("cli", "options", "records"):  # one module for each room or format: nothing to hand on
        return
    assert room.__all__
    for exported in room.__all__:
        if exported == "RayExecutor":
            pytest.importorskip("ray", reason="ray is not installed")
        assert getattr(room, exported) is not None, exported


def test_the_rooms_of_the_package_are_its_modules() -> None:
    """`ovforge.annotations` is also the name of what `from __future__ import annotations` would leave there."""
    for name in ovforge._ROOMS:
        assert inspect.ismodule(getattr(ovforge, name)), name
        assert getattr(ovforge, name).__name__ == f"ovforge.{name}"
        assert name in dir(ovforge)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'pears'"):
        _ = ovforge.pears


def test_a_summary_speaks_python() -> None:
    summary = StepSummary(
        "step", outputs={"annotations": "a.json"}, counts={"images": 1200}, notes=("--captions=FILE gives another",),
        next_command="ovforge pairs annotate shop --annotations 'a b.json'",
    )  # fmt: skip
    assert str(summary).splitlines() == [
        "step: done",
        "  images       1,200",
        "  note: captions=... gives another",
        "  annotations  a.json",
        "  next: ovforge.pairs.annotate('shop', annotations='a b.json')",
    ]
    assert summary.paths == {"annotations": Path("a.json")}


def test_without_pandas_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pandas, which is not installed\n  `pip install pandas`, or read `drops`"):
        StepSummary("step").to_dataframe()


def test_a_summary_as_a_data_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    summary = StepSummary("step", drops=(Drop("image", "is missing", 2, ("a", "b")),))
    assert summary.to_dataframe().to_dict("records") == [
        {"outcome": "skipped", "kind": "image", "reason": "is missing", "count": 2, "examples": ("a", "b")}
    ]
