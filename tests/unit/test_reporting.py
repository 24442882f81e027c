"""What steps skip and warn of: counted, named, written out in full, said in sentences."""

from __future__ import annotations

import csv
import doctest
import multiprocessing
from pathlib import Path

import msgspec
import numpy as np
import pytest

import ovforge.records.reporting
from ovforge.errors import InputError
from ovforge.files.skipped_file import COLUMNS, write_skipped
from ovforge.records.reporting import EXAMPLES_KEPT, Drop, Drops, StepSummary, sentence
from ovforge.records.summary_text import LINES_SHOWN, as_text


def rows(path: Path) -> list[tuple[str, ...]]:
    with open(path, newline="", encoding="utf-8") as file:
        found = [tuple(row) for row in csv.reader(file)]
    assert found[0] == COLUMNS
    return found[1:]


def test_the_examples_in_the_docstrings() -> None:
    result = doctest.testmod(ovforge.records.reporting)
    assert result.attempted > 0
    assert result.failed == 0


def test_counts_with_the_first_names() -> None:
    drops = Drops()
    for number in range(100):
        drops.add("image", "is missing", f"{number}.jpg")
    drops.add("image", "is missing", count=7)
    (drop,) = drops.freeze()
    assert (drop.count, len(drop.examples), drop.examples[0]) == (107, EXAMPLES_KEPT, "0.jpg")


def test_many_at_once_from_an_array() -> None:
    drops = Drops()
    drops.add_all("annotation", "has no box", np.arange(1000))
    drops.add_all("annotation", "has no area", np.arange(0))
    (drop,) = drops.freeze()
    assert (drop.count, drop.examples[-1]) == (1000, "19")


def test_what_is_kept_is_a_warning_and_not_skipped() -> None:
    drops = Drops()
    drops.warn("image", "has no object", "a.jpg")
    drops.add("image", "is missing", "b.jpg")
    summary = StepSummary("step", drops=drops.freeze())
    assert [drop.reason for drop in summary.skipped] == ["is missing"]
    assert [drop.reason for drop in summary.warnings] == ["has no object"]
    assert msgspec.json.decode(msgspec.json.encode(summary), type=StepSummary) == summary
    text = as_text(summary)
    assert "  skipped: 1 image is missing (b.jpg)\n" in text
    assert "  warning: 1 image has no object (a.jpg)\n" in text


class TestTheList:
    """`write_skipped` gets everything, whatever way it was counted."""

    def test_all_names_and_not_only_the_first(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "skipped.csv"
        with write_skipped(path):
            drops = Drops()
            for number in range(100):
                drops.add("image", "is missing", f"{number}.jpg", place="folder")
            drops.add_all("annotation", "has no box", np.arange(50), place="a.json")
            drops.warn("image", "has no object", 'odd, "name"\n.jpg')
        found = rows(path)
        assert len(found) == 151
        assert found[99] == ("skipped", "image", "is missing", "99.jpg", "folder")
        assert found[149] == ("skipped", "annotation", "has no box", "49", "a.json")
        assert found[150] == ("warning", "image", "has no object", 'odd, "name"\n.jpg', "")
        assert len(drops.freeze()[0].examples) == EXAMPLES_KEPT

    def test_what_shards_report_is_listed_when_it_is_merged_and_once(self, tmp_path: Path) -> None:
        with write_skipped(tmp_path / "a.csv"):
            shard = Drops(keep_names=True)
            for number in range(100):
                shard.add("image", "is missing", f"{number}.jpg", place=number)
            report = msgspec.json.decode(msgspec.json.encode(shard.freeze()), type=tuple[Drop, ...])
            run = Drops()
            run.merge(report)
            step = Drops()
            step.merge(run)
            whole = Drops()
            whole.merge(step.freeze(), listed=True)
        assert [(row[3], row[4]) for row in rows(tmp_path / "a.csv")] == [(f"{n}.jpg", str(n)) for n in range(100)]
        assert whole.freeze() == step.freeze() == run.freeze()

    def test_workers_do_not_write_to_it(self, tmp_path: Path) -> None:
        with write_skipped(tmp_path / "a.csv"):
            process = multiprocessing.get_context("fork").Process(target=Drops().add, args=("image", "is missing", "a"))
            process.start()
            process.join()
            Drops().add("image", "is missing", "b")
        assert process.exitcode == 0
        assert [row[3] for row in rows(tmp_path / "a.csv")] == ["b"]

    def test_it_is_there_after_a_failure_too(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), write_skipped(tmp_path / "a.csv"):
            Drops().add("image", "is missing", "a.jpg")
            raise ZeroDivisionError
        assert len(rows(tmp_path / "a.csv")) == 1
        Drops().add("image", "is missing", "later.jpg")
        assert len(rows(tmp_path / "a.csv")) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]

    def test_an_earlier_list_is_replaced_and_nothing_else(self, tmp_path: Path) -> None:
        for names in ("ab", "c"):
            with write_skipped(tmp_path / "a.csv"):
                Drops().add_all("image", "is missing", names)
        assert [row[3] for row in rows(tmp_path / "a.csv")] == ["c"]
        other = tmp_path / "lvis_v1_train.json"
        other.write_text("{}")
        with pytest.raises(InputError, match="is not a list of skipped items"), write_skipped(other):
            pass
        with pytest.raises(InputError, match="cannot be written"), write_skipped(tmp_path):
            pass
        assert other.read_text() == "{}"

    def test_names_that_are_not_utf8(self, tmp_path: Path) -> None:
        with write_skipped(tmp_path / "a.csv"):
            Drops().add("image", "is missing", "caf\udce9.jpg")
        assert rows(tmp_path / "a.csv")[0][3] == r"caf\xe9.jpg"


@pytest.mark.parametrize(
    ("count", "kind", "reason", "text"),
    [
        (1, "class", "has no readable images", "class has no readable images"),
        (2, "class", "has no readable images", "classes have no readable images"),
        (2, "image", "cannot be decoded", "images cannot be decoded"),
        (2, "exemplar", "its image is missing", "exemplars: their image is missing"),
        (1, "exemplar", "its image is missing", "exemplar: its image is missing"),
        (3, "image", "has no object: its second view is the image itself",
         "images have no object: their second view is the image itself"),
    ],
)  # fmt: skip
def test_sentences(count: int, kind: str, reason: str, text: str) -> None:
    assert sentence(count, kind, reason) == text


def test_the_summary_fits_one_screen() -> None:
    drops = tuple(Drop("image", f"is bad in way {number}", number + 1, ("a.jpg",)) for number in range(30))
    notes = tuple(f"note {number}" for number in range(30))
    summary = StepSummary("step", drops=drops, notes=notes)
    short, long = as_text(summary), as_text(summary, verbose=True)
    assert short.count("\n") < 25
    assert "  skipped: 30 images are bad in way 29 (a.jpg, ...)\n" in short  # the most frequent first
    assert f"  skipped: {sum(range(1, 31 - LINES_SHOWN)):,} more for {30 - LINES_SHOWN} other reasons" in short
    assert "  and 22 more notes, shown with --verbose\n" in short
    assert "is bad in way 0 " in long
    assert "--verbose" not in long


def test_names_cannot_break_lines() -> None:
    text = as_text(StepSummary("step", drops=(Drop("image", "is missing", 1, ("a\nb\x1b[2J.jpg",)),)))
    assert "(a\\nb\\x1b[2J.jpg)" in text


def test_a_procedure_is_told_in_a_few_lines() -> None:
    drops = Drops()
    drops.add("image", "is missing", "a.jpg")
    drops.warn("box", "has no area", count=2)
    first = StepSummary("one", outputs={"annotations": "a.json", "names": "a.txt"}, drops=drops.freeze(), notes=("n",))
    second = StepSummary("second step", outputs={"images": "b.h5"}, counts={"images": 5})
    summary = StepSummary(
        "all", counts={"steps run": 2}, drops=drops.freeze(), notes=("three: waits for c",), parts=(first, second)
    )
    told = [
        "all: done",
        "  steps run    2",
        "  1 skipped, 2 warnings, 1 note: shown with --verbose",
        "  note: three: waits for c",
        "  one          a.json",
        "  second step  b.h5",
    ]
    assert as_text(summary).splitlines() == told
    everything = as_text(summary, verbose=True).splitlines()
    assert everything[:5] == [
        "one: done",
        "  skipped: 1 image is missing (a.jpg)",
        "  warning: 2 boxes have no area",
        "  note: n",
        "  annotations  a.json",
    ]
    assert everything[-5:] == [told[0], told[1], *told[3:]]
    assert msgspec.json.decode(msgspec.json.encode(summary), type=StepSummary) == summary
