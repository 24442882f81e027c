"""Errors: their fields make their text, in the words of the command line or of Python."""

from __future__ import annotations

import doctest
import json
import pickle
from pathlib import Path

import pytest

import ovforge.errors
import ovforge.wording
from ovforge.errors import (
    AnnotationFileError,
    ArchiveError,
    ImageError,
    InputError,
    MissingExtraError,
    MissingImageError,
    MissingInputError,
    OutputExistsError,
    OvforgeError,
    StorageError,
    WorkError,
    pip_line,
)
from ovforge.wording import as_call, for_command_line, for_python, named_options


def test_the_examples_in_the_docstrings() -> None:
    for module in (ovforge.errors, ovforge.wording):
        assert doctest.testmod(module).attempted > 0
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("two and two are five"), "two and two are five"),
        (MissingInputError("a.json", what="annotation file"), "a.json: annotation file not found"),
        (
            AnnotationFileError("a.json", "has no bbox", record="annotation number 6", byte=18204),
            "a.json: annotation number 6 (byte 18,204) has no bbox",
        ),
        (AnnotationFileError("a.json", "is empty"), "a.json: is empty"),
        (AnnotationFileError("a.json", "cannot be read", byte=1000), "a.json: byte 1,000: cannot be read"),
        (ImageError("a.jpg", "is cut short", detail="10 bytes"), "a.jpg: is cut short (10 bytes)"),
        (MissingImageError("a.jpg", "train2017"), "a.jpg: is missing (not in train2017)"),
        (MissingImageError("a.jpg"), "a.jpg: is missing"),
        (ArchiveError("a.tar", "is refused: a link", member="x"), "a.tar: member 'x': is refused: a link"),
        (
            StorageError("disk", OSError(116, "Stale file handle")),
            "disk: cannot be read or written now (Stale file handle)",
        ),
    ],
)
def test_the_message_is_made_of_the_fields(error: OvforgeError, text: str) -> None:
    assert error.message == text


def test_images_that_fail_alike_have_one_reason() -> None:
    errors = [ImageError(f"{n}.jpg", "is cut short", detail=f"{n} bytes (of 7: more)") for n in range(3)]
    assert {error.reason for error in errors} == {"is cut short"}
    assert len({error.message for error in errors}) == 3


def test_a_missing_image_is_an_image_error_of_its_own() -> None:
    with pytest.raises(ImageError):
        raise MissingImageError("a.jpg", Path("folder"))
    assert MissingImageError("a.jpg", "a").reason == MissingImageError("b.jpg", "b").reason


@pytest.mark.parametrize(
    "error",
    [
        MissingInputError("a.json", what="annotation file", hint="give --ann=FILE"),
        AnnotationFileError("a.json", "has no bbox", record="annotation number 6", byte=1),
        OutputExistsError("out.json"),
        MissingExtraError("viewer", needed_for="pairs view"),
        StorageError("disk", OSError(5, "Input/output error")),
        MissingImageError("a.jpg", "b"),
    ],
)
def test_errors_survive_the_way_to_another_process(error: OvforgeError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert str(back) == str(error)


def test_options_are_named_in_the_words_of_the_one_who_reads() -> None:
    error = OutputExistsError("out.json")
    assert error.hint == "--overwrite replaces it, or --out PATH writes elsewhere"
    assert str(error) == "out.json: already exists\n  overwrite=True replaces it, or out=... writes elsewhere"


def test_a_command_is_told_of_no_option_that_it_has_not() -> None:
    error = OutputExistsError("out.json")
    assert error.hint_for({"--overwrite", "--json"}) == "--overwrite replaces it"
    assert error.hint_for({"--overwrite", "--out"}) == error.hint


def test_a_single_remedy_is_told_to_every_command() -> None:
    assert InputError("no", hint="give --ann=FILE").hint_for({"--json"}) == "give --ann FILE"


@pytest.mark.parametrize(
    ("text", "shell", "python"),
    [
        ("--quality 101: too high", "--quality 101: too high", "quality=101: too high"),
        ("--device=cuda:7: not here", "--device cuda:7: not here", "device='cuda:7': not here"),
        ("--guidance=7.5.", "--guidance 7.5.", "guidance=7.5."),
        ("give --images=PATH, or fewer", "give --images PATH, or fewer", "give images=..., or fewer"),
        ("--working-size=768x512 helps", "--working-size 768x512 helps", "working_size='768x512' helps"),
        ("--r_thresh 10 is above", "--r_thresh 10 is above", "r_thresh=10 is above"),
        ("a -- b, x--y and `git --all`", "a -- b, x--y and `git --all`", "a -- b, x--y and `git --all`"),
        ("--shards=: not of the form", "--shards '': not of the form", "shards='': not of the form"),
        ("--overwrite and --shards=PART/PARTS", "--overwrite and --shards PART/PARTS", "overwrite=True and shards=..."),
    ],
)
def test_options_in_text(text: str, shell: str, python: str) -> None:
    assert for_command_line(text) == shell
    assert for_python(text) == python


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("ovforge pairs merge 'my pairs'", "ovforge.pairs.merge('my pairs')"),
        ("ovforge lvis pack-images --ann 'a b.json'", "ovforge.lvis.pack_images(annotations='a b.json')"),
        ("ovforge pairs annotate shop --reject RULE", "ovforge.pairs.annotate('shop', reject=...)"),
        (
            "ovforge exemplars index --crops c --split val",
            "ovforge.exemplars.index_exemplars(crops='c', split='val')",
        ),
        ("ovforge exemplars sample -k 5", "ovforge.exemplars.sample_exemplars(k=5)"),
        ("ovforge exemplars classifier d.json --out X.npy", "ovforge.vision.make_classifier('d.json', out='X.npy')"),
        ("ovforge import tao a --out b", "ovforge.importing.import_annotations('tao', 'a', out='b')"),
        ("ovforge prepare --for ovtrack", "ovforge.workflow.prepare(reader='ovtrack')"),
        *[(text, text) for text in ("ovforge doctor --json", "ovforge pairs view shop", "git log", "cd 'a")],
    ],
)
def test_commands_as_calls(command: str, call: str) -> None:
    assert as_call(command) == call


def test_every_function_that_a_command_is_called_as_exists() -> None:
    for command, function in ovforge.wording.FUNCTIONS.items():
        room, name = function.split(".")
        assert callable(getattr(getattr(ovforge, room), name)), command


def test_the_options_that_a_text_names() -> None:
    assert named_options("--a=X, --b-c or `ovforge --d`") == {"--a", "--b-c"}


def test_another_next_step_leaves_the_rest_as_it_was() -> None:
    error = AnnotationFileError("a.json", "is empty", hint="one").with_hint("two")
    assert type(error) is AnnotationFileError
    assert (error.message, error.hint) == ("a.json: is empty", "two")


def test_exit_codes() -> None:
    assert InputError("x").exit_code == 2
    assert WorkError("x").exit_code == 1
    assert StorageError("x", "y").exit_code == 1


class TestPipLine:
    """`pip install` works from where this copy of ovforge came from."""

    @pytest.fixture
    def installed_from(self, monkeypatch: pytest.MonkeyPatch):
        def pretend(record: dict[str, object] | None) -> None:
            class Distribution:
                def read_text(self, name: str) -> str | None:
                    assert name == "direct_url.json"
                    return None if record is None else json.dumps(record)

            monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution())

        return pretend

    def test_from_an_index(self, installed_from) -> None:
        installed_from(None)
        assert pip_line("viewer") == "pip install 'ovforge[viewer]'"

    def test_from_a_checkout(self, installed_from, tmp_path: Path) -> None:
        installed_from({"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
        assert pip_line("viewer") == f"pip install -e '{tmp_path}[viewer]'"

    def test_from_a_wheel(self, installed_from, tmp_path: Path) -> None:
        wheel = tmp_path / "a b" / "ovforge-0.1-py3-none-any.whl"
        wheel.parent.mkdir()
        wheel.touch()
        installed_from({"url": wheel.as_uri(), "archive_info": {}})
        assert pip_line("ray") == f"pip install '{wheel}[ray]'"

    def test_from_a_repository(self, installed_from) -> None:
        installed_from({"url": "https://example.org/ovforge.whl", "archive_info": {}})
        assert pip_line("ray") == "pip install 'ovforge[ray] @ https://example.org/ovforge.whl'"
