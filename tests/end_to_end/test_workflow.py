"""`ovforge doctor` and `ovforge prepare` on the sample data set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ovforge.cli.common import run_app
from ovforge.cli.main import app
from ovforge.errors import WorkError
from ovforge.options import layout
from ovforge.options.workflow import Reader, WorkflowOptions
from ovforge.synthesis.run_list import PairsRun
from ovforge.workflow.doctor import DoctorReport, _next_of_runs, doctor
from ovforge.workflow.prepare import prepare
from ovforge.workflow.steps import StepStatus

DETECTION = (
    layout.LVIS_TRAIN_NORARE,
    layout.LVIS_TRAIN_CATEGORY_INFO,
    layout.IMAGENET_LVIS_INFO,
    layout.EXEMPLAR_DICT,
    layout.exemplars_of(5),
    layout.EXEMPLAR_CROPS / "classes.json",
)
TRACKING = (
    layout.TRACKING_MERGED,
    layout.TRACKING_BASE,
    layout.TRACKING_PACKED,
    layout.PAIRS_DIR / "my_pairs.h5",
    layout.PAIRS_DIR / "annotations/my_pairs.json",
)


@pytest.fixture
def root(sample_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_folder, tmp_path / "root", symlinks=True))


def _statuses(report: DoctorReport) -> dict[str, StepStatus]:
    return {step.name: step.status for step in report.steps}


def _input(report: DoctorReport, key: str) -> Any:
    return next(state for state in report.inputs if state.key == key)


def test_an_empty_folder_lacks_everything_and_says_where_to_get_it(tmp_path: Path) -> None:
    report = doctor(WorkflowOptions(root=tmp_path))
    assert not any(state.present for state in report.inputs)
    assert all(state.site and state.download and state.place for state in report.inputs)
    assert set(_statuses(report).values()) == {StepStatus.BLOCKED}
    assert "lvis remove-rare" in report.blocks["lvis-train"]
    # The crops need the exemplars, which need the dictionary, which needs the file: blocked through all of them.
    assert "exemplars crop" in report.blocks["lvis-train"]
    assert "lvis_v1_train.json" in report.next_command


def test_the_sample_data_is_recognised(root: Path) -> None:
    report = doctor(WorkflowOptions(root=root))
    assert _input(report, "lvis-train").looks_like == "LVIS v1"
    assert _input(report, "coco-train-images").files == 16
    assert "synsets" in _input(report, "visual-genome-objects").looks_like
    assert report.next_command == f"ovforge prepare --root {root}"
    assert not _input(report, "diffusion-model").present


def test_prepare_runs_what_is_due_once(root: Path) -> None:
    options = WorkflowOptions(root=root, workers=1)
    first = prepare(options)
    assert first.counts["steps run"] == 12
    made = (*DETECTION, *TRACKING)
    assert all((root / path).exists() for path in made)
    written = {path: (root / path).read_bytes() for path in made}
    second = prepare(options)
    assert second.counts["steps run"] == 0
    assert written == {path: (root / path).read_bytes() for path in made}


def test_prepare_makes_stale_outputs_anew(root: Path) -> None:
    options = WorkflowOptions(root=root, workers=1)
    prepare(options)
    train = root / layout.LVIS_TRAIN
    content = json.loads(train.read_text())
    content["annotations"] = content["annotations"][:-1]
    train.write_text(json.dumps(content))
    assert _statuses(doctor(options))["lvis remove-rare"] is StepStatus.STALE
    prepare(options)
    assert set(_statuses(doctor(options)).values()) & {StepStatus.STALE, StepStatus.READY} <= {StepStatus.READY}
    counted = json.loads((root / layout.LVIS_TRAIN_CATEGORY_INFO).read_text())
    assert sum(category["instance_count"] for category in counted) == len(content["annotations"])


def test_prepare_goes_without_a_source_that_is_missing(root: Path) -> None:
    shutil.rmtree(root / layout.IMAGENET_DIR)
    shutil.rmtree(root / layout.VISUAL_GENOME_DIR)
    options = WorkflowOptions(root=root, workers=1)
    report = doctor(options)
    assert _statuses(report)["imagenet index"] is StepStatus.BLOCKED
    assert _statuses(report)["exemplars collate"] is StepStatus.READY
    prepare(options)
    assert (root / layout.EXEMPLAR_CROPS / "classes.json").exists()


def test_exemplars_of_the_paper_are_taken_where_they_are(root: Path) -> None:
    options = WorkflowOptions(root=root, workers=1)
    prepare(options)
    given = root / layout.METADATA_DIR / "lvis_image_exemplar_dict_K-005_author.json"
    (root / layout.exemplars_of(5)).rename(given)
    shutil.rmtree(root / layout.EXEMPLAR_CROPS)
    step = next(step for step in doctor(options).steps if step.name == "exemplars sample -k 5")
    assert (step.status, step.output) == (StepStatus.DONE, str(given.relative_to(root)))
    prepare(options)
    assert (root / layout.EXEMPLAR_CROPS / "classes.json").exists()
    assert not (root / layout.exemplars_of(5)).exists()


def test_a_step_that_fails_does_not_stop_the_others(root: Path) -> None:
    objects = root / layout.VISUAL_GENOME_DIR / "objects.json"
    objects.write_bytes(objects.read_bytes()[:-200])
    with pytest.raises(WorkError, match=r"exemplars collate: .*objects\.json"):
        prepare(WorkflowOptions(root=root, workers=1))
    assert (root / layout.LVIS_TRAIN_NORARE).exists()
    assert (root / layout.IMAGENET_LVIS_INFO).exists()


def test_unusable_inputs_say_why(root: Path) -> None:
    (root / layout.LVIS_TRAIN).write_bytes(b'{"categories": [{"id": 1')
    objects = root / layout.VISUAL_GENOME_DIR / "objects.json"
    objects.write_text('[{"image_id": 1, "objects": [{"names": ["cup"]}]}]')
    link = root / layout.TRACKING_CAPTIONS
    link.unlink()
    link.symlink_to(root / "nowhere.json")
    report = doctor(WorkflowOptions(root=root))
    assert not _input(report, "lvis-train").present
    assert "lvis_v1_train.json" in _input(report, "lvis-train").problem
    assert "synsets" in _input(report, "visual-genome-objects").problem
    assert _input(report, "tracking-captions").problem == "a link that leads nowhere"


def test_the_commands_print_a_checklist_and_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, ["doctor", "--root", str(root), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["next_command"] == f"ovforge prepare --root {root}"
    assert run_app(app, ["doctor", "--root", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "saved_models/stable-diffusion-v1-4" in shown.replace("\n", "")
    assert run_app(app, ["prepare", "--root", str(root), "--workers", "1"]) == 0
    assert "prepare: done" in capsys.readouterr().out
    assert run_app(app, ["doctor", "--root", str(root / "nowhere")]) == 2
    assert "folder not found" in capsys.readouterr().err


def test_the_run_to_look_at_next_is_the_one_that_was_prepared() -> None:
    runs = tuple(PairsRun(name, 1, "fill", 1, 1, 0, 0, True, True) for name in ("a", "my_pairs", "shop"))
    assert _next_of_runs(runs, WorkflowOptions(), has_jobs=True) == "ovforge pairs view my_pairs"
    assert _next_of_runs(runs, WorkflowOptions(name="a"), has_jobs=True) == "ovforge pairs view a"
    assert _next_of_runs(runs[::2], WorkflowOptions(), has_jobs=False) == "ovforge pairs view shop"


def test_steps_are_typed_as_they_are_run(root: Path) -> None:
    """Every command that doctor names is one that the command line knows."""
    for step in doctor(WorkflowOptions(root=root)).steps:
        words = step.command.split()
        assert words[0] == "ovforge"
        assert run_app(app, [*words[1:3], "--help"]) == 0


@pytest.mark.parametrize("reader", Reader)
def test_prepare_goes_to_the_last_file_of_a_reader(root: Path, reader: Reader) -> None:
    options = WorkflowOptions(root=root, reader=reader, workers=1)
    before = doctor(options)
    assert before.files
    assert all(file.made_by or file.source or file.present for file in before.files)
    prepare(options)
    after = doctor(options)
    assert [file.path for file in after.files if not file.present and not file.source] == []
    assert prepare(options).counts["steps run"] == 0


@pytest.mark.parametrize(("reader", "folder"), [(Reader.DETIC, "ImageNet-LVIS"), (Reader.OVMR, "imagenet_l")])
def test_the_index_fits_the_image_root_of_each_reader(root: Path, reader: Reader, folder: str) -> None:
    prepare(WorkflowOptions(root=root, reader=reader, workers=1))
    listed = json.loads((root / layout.IMAGENET_LVIS_INFO).read_text())["images"]
    assert listed
    assert all((root / layout.IMAGENET_DIR / folder / image["file_name"]).is_file() for image in listed)


def test_ovmr_counts_classes_from_nought(root: Path) -> None:
    prepare(WorkflowOptions(root=root, reader=Reader.OVMR, workers=1))
    crops = root / layout.EXEMPLAR_CROPS_OVMR_READ
    categories = json.loads((root / layout.LVIS_TRAIN).read_text())["categories"]
    sampled = json.loads((root / layout.exemplars_of(5)).read_text())
    place = next(number for number, records in enumerate(sampled) if records)
    assert categories[place]["id"] == place + 1 == sampled[place][0]["category_id"]
    assert len(list((crops / "val" / str(place)).iterdir())) == 5
    assert len(list((crops / "train" / str(place)).iterdir())) == 30


def test_what_a_reader_does_not_read_is_not_asked_for(root: Path) -> None:
    inputs = {state.key for state in doctor(WorkflowOptions(root=root, reader=Reader.OVTRACK)).inputs}
    assert inputs == {"tracking-lvis", "tracking-coco", "tracking-images"}
