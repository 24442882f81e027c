"""Archives prove that they were read to their end: whatever is wrong with one is said, with the class and the byte."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ovforge.errors import ArchiveError, InputError, NothingDoneError, OvforgeError, WorkError
from ovforge.imagenet import prepare, stream
from ovforge.options.imagenet import ClassChoice, PrepareOptions, Resize
from ovforge.records.reporting import StepSummary
from ovforge.runs.executors.in_process import InProcessExecutor
from ovforge.runs.executors.local import LocalExecutor
from ovforge.sources.imagenet21k import ImageNet21k, why_unfinished

WNIDS = [f"n0000000{i}" for i in range(1, 7)]
SMALL = "imagenet21k_small_classes"
Pack = Callable[[bytes], bytes]
COMPRESSED: list[Any] = [pytest.param(lambda data: data, id="tar"), pytest.param(gzip.compress, id="tar.gz")]


def jpeg(width: int = 40, height: int = 30) -> bytes:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


IMAGE = jpeg()


def tar(files: list[tuple[str, bytes]], **how: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **how) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def class_tar(wnid: str, count: int = 3) -> bytes:
    return tar([(f"{wnid}_{i}.JPEG", IMAGE) for i in range(count)])


def whole(folder: str = "", wnids: list[str] = WNIDS) -> bytes:
    return tar([(f"{folder}{wnid}.tar", class_tar(wnid)) for wnid in wnids])


def run(source: Path, out: Path, workers: int = 0, **options: Any) -> StepSummary:
    executor = LocalExecutor(workers) if workers else InProcessExecutor()
    return prepare(PrepareOptions(source=source, out=out, **options), executor)


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def classes(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*/n*"))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def hole(data: bytes, member: str) -> bytes:
    at = data.index(member.encode())
    return data[:at] + bytes(1024) + data[at + 1024 :]


FOURTH = whole().index(b"n00000004.tar")
DAMAGES: dict[str, tuple[bytes, str]] = {
    "a bit of a header": (
        flipped(whole(), FOURTH + 5),
        r"byte [\d,]+: is damaged .*behind n00000003\.tar: bad checksum",
    ),
    "a header's checksum": (flipped(whole(), FOURTH + 150), r"behind n00000003\.tar"),
    "a hole of zeros": (hole(whole(), "n00000004.tar"), r"continues beyond its end .*behind n00000003\.tar"),
    "two archives in one": (whole(wnids=WNIDS[:3]) + whole(wnids=WNIDS[3:]), r"continues beyond its end .*n00000003"),
    "cut between members": (whole()[:FOURTH], r"cut short"),
    "cut in a header": (whole()[: FOURTH + 100], r"cut short|damaged"),
    "cut in a member": (whole()[: FOURTH + 2000], r"cut short|unexpected end of data"),
    "a class twice": (
        tar([(f"{w}.tar", class_tar(w)) for w in [*WNIDS, WNIDS[1]]]),
        r"n00000002\.tar'?: byte [\d,]+: has class n00000002 twice",
    ),
    "cut in the first header": (whole()[:511], r"byte 511: is cut short"),
    "no closing zeros": (whole()[: len(whole().rstrip(b"\0")) // 512 * 512 + 512], r"cut short|damaged|twice|closing"),
}


@pytest.mark.parametrize("pack", COMPRESSED)
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_archive_is_never_half_a_result_in_silence(tmp_path: Path, kind: str, pack: Pack) -> None:
    data, problem = DAMAGES[kind]
    out = tmp_path / "out"
    source = put(tmp_path / "a.tar", pack(data))
    with pytest.raises(ArchiveError, match=problem) as caught:
        run(source, out)
    assert caught.value.exit_code == 2
    assert str(source) in caught.value.message
    assert not (out / "prepare_report.json").exists()
    if classes(out):
        assert "is unfinished" in why_unfinished(out)
        assert classes(out) == WNIDS[: len(classes(out))]  # those before the damage, whole
        assert all(len(list(folder.iterdir())) == 3 for folder in out.glob("*/n*"))
    with pytest.raises(ArchiveError, match=problem):  # and not at the second try either
        run(source, out)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_whole_before_the_damage_is_done(tmp_path: Path, workers: int) -> None:
    source = put(tmp_path / "a.tar.gz", gzip.compress(DAMAGES["a bit of a header"][0]))
    with pytest.raises(ArchiveError) as caught:
        run(source, tmp_path / "out", workers)
    assert classes(tmp_path / "out") == WNIDS[:3]
    assert "3 classes are done and stay" in caught.value.hint


def test_a_checksum_of_the_compressed_data_that_fails_is_found_at_its_end(tmp_path: Path) -> None:
    plain = whole()
    packed = bytearray(gzip.compress(plain, compresslevel=0))
    at = bytes(packed).index(IMAGE[200:260])
    packed[at + 10] ^= 1  # in an image, where the tar itself has no checksum
    with pytest.raises(ArchiveError, match=r"behind n00000006\.tar: CRC check failed"):
        run(put(tmp_path / "a.tar.gz", bytes(packed)), tmp_path / "out")
    assert "is unfinished" in why_unfinished(tmp_path / "out")


@pytest.mark.parametrize("behind", [b"<html>advertisement</html>", b"\0" * 5000 + b"x", os.urandom(9000), b"\x1f\x8c"])
def test_bytes_behind_the_end_of_the_compressed_data_do_no_harm(tmp_path: Path, behind: bytes) -> None:
    summary = run(put(tmp_path / "a.tar.gz", gzip.compress(whole()) + behind), tmp_path / "out")
    assert summary.counts["classes"] == 6
    assert any("other data follows the end" in note for note in summary.notes)
    assert why_unfinished(tmp_path / "out") == ""


def test_zeros_behind_the_end_and_several_compressed_members_are_ordinary(tmp_path: Path) -> None:
    plain = whole()
    data = gzip.compress(plain[:7000]) + gzip.compress(plain[7000:]) + bytes(10_000)
    summary = run(put(tmp_path / "a.tar.gz", data), tmp_path / "out")
    assert summary.counts["classes"] == 6
    assert summary.notes == ()


@pytest.mark.parametrize("pack", COMPRESSED)
@pytest.mark.parametrize(
    "field", [b"-0000001000\0", b"-0000010000\0", b"zzzzzzzzzzz\0", b"00000002738\0", b"\xff" * 10 + b"\xfe\0"]
)
def test_a_header_whose_size_is_none_is_damaged_and_never_leads_backwards(
    tmp_path: Path, pack: Pack, field: bytes
) -> None:
    """Its checksum fits, as a broken writer makes it."""
    header = bytearray(whole())
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    with pytest.raises(ArchiveError, match="is damaged"):
        run(put(tmp_path / "a.tar", pack(bytes(header))), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pack", COMPRESSED)
def test_the_official_resized_archive_keeps_its_parts(tmp_path: Path, pack: Pack) -> None:
    files = [
        (f"imagenet21k_resized/{part}/{wnid}/{wnid}_{part[-5:]}_{i}.JPEG", IMAGE)
        for part in ("imagenet21k_train", "imagenet21k_val", SMALL)
        for wnid in (WNIDS[:2] if part != SMALL else WNIDS[2:4])
        for i in range(3)
    ]
    out = tmp_path / "out"
    summary = run(put(tmp_path / "imagenet21k_resized", pack(tar(files))), out, small_limit=1, val_images=1)
    assert summary.counts == {"classes": 4, "train": 6, "val": 6, SMALL: 6}
    tree = ImageNet21k(out)
    assert tree.names() == sorted(
        name.replace("imagenet21k_resized/", "").replace("imagenet21k_train", "train").replace("imagenet21k_val", "val")
        for name, _ in files
    )
    assert why_unfinished(out) == ""
    again = run(tmp_path / "imagenet21k_resized", out, small_limit=1, val_images=1)
    assert again.counts == summary.counts


@pytest.mark.parametrize("pack", COMPRESSED)
def test_class_folders_in_an_archive_are_split_like_class_tars(tmp_path: Path, pack: Pack) -> None:
    files = [(f"{wnid}/{wnid}_{i}.JPEG", IMAGE) for wnid in WNIDS[:2] for i in range(5)]
    out = tmp_path / "out"
    summary = run(put(tmp_path / "a", pack(tar(files))), out, small_limit=3, val_images=2)
    assert summary.counts == {"classes": 2, "train": 6, "val": 4, SMALL: 0}
    assert not (out / ".prepare" / "spool").exists()


@pytest.mark.parametrize("pack", COMPRESSED)
def test_class_folders_that_are_interleaved_are_prepared_as_sorted_ones(tmp_path: Path, pack: Pack) -> None:
    """As archives are that somebody packed again: by time, or as a file system lists them."""
    names = [f"{wnid}/x_{i}.JPEG" for i in range(5) for wnid in WNIDS[:3]]
    images = {name: jpeg(30 + number) for number, name in enumerate(names)}
    files = [(name, images[name]) for name in (*names, names[3])]  # one of them twice
    out, expected = tmp_path / "out", tmp_path / "sorted"
    summary = run(put(tmp_path / "a", pack(tar(files))), out, small_limit=3, val_images=2)
    run(put(tmp_path / "b", pack(tar(sorted(images.items())))), expected, small_limit=3, val_images=2)
    assert summary.counts == {"classes": 3, "train": 9, "val": 6, SMALL: 0}
    assert [str(drop) for drop in summary.skipped] == ["1 file is in the archive twice; the first counts"]
    assert any("do not lie together" in note for note in summary.notes)
    trees = [{p.relative_to(r): p.read_bytes() for p in r.glob("*/n*/*")} for r in (out, expected)]
    assert trees[0] == trees[1]
    assert why_unfinished(out) == ""
    assert {path.name for path in (out / ".prepare").iterdir()} == {
        path.name for path in (expected / ".prepare").iterdir()
    }


def test_an_interleaved_archive_that_is_damaged_leaves_no_half_class(tmp_path: Path) -> None:
    data = tar([(f"{wnid}/x_{i}.JPEG", IMAGE) for i in range(4) for wnid in WNIDS[:2]])
    out = tmp_path / "out"
    with pytest.raises(ArchiveError, match="cut short"):
        run(put(tmp_path / "a", data[: len(data) // 2]), out)
    assert why_unfinished(out)
    assert not list(out.glob("*/n*/*"))
    assert not list((out / ".prepare" / "classes").glob("n*"))


@pytest.mark.parametrize("calls", [1, 2])
def test_an_interleaved_archive_whose_preparing_was_stopped_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    source = put(tmp_path / "a", tar([(f"{wnid}/x_{i}.JPEG", IMAGE) for i in range(4) for wnid in WNIDS[:2]]))
    out, prepare_class, count = tmp_path / "out", stream.prepare_class, iter(range(100))

    def stopped(*arguments: Any) -> Any:
        if next(count) == calls:  # the first is of the first reading, which finds out that classes are interleaved
            raise KeyboardInterrupt
        return prepare_class(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stream, "prepare_class", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(source, out, small_limit=3, val_images=1)
    assert why_unfinished(out)
    summary = run(source, out, small_limit=3, val_images=1)
    assert summary.counts == {"classes": 2, "train": 6, "val": 2, SMALL: 0}
    assert len(list(out.glob("*/n*/*"))) == 8


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 2, 1, 0)])
def test_a_class_tar_beside_a_folder_of_the_same_class_is_refused(tmp_path: Path, order: tuple[int, ...]) -> None:
    files = [(f"{WNIDS[0]}.tar", class_tar(WNIDS[0])), (f"{WNIDS[0]}/x.JPEG", IMAGE), (f"{WNIDS[1]}/x.JPEG", IMAGE)]
    source = put(tmp_path / "a.tar.gz", gzip.compress(tar([files[number] for number in order])))
    with pytest.raises(ArchiveError, match="has class n00000001 twice"):
        run(source, tmp_path / "out")


@pytest.mark.parametrize("pack", COMPRESSED)
def test_an_image_that_is_in_a_class_folder_twice_is_named(tmp_path: Path, pack: Pack) -> None:
    files = [(f"x/{w}/{name}.JPEG", jpeg(30 + i)) for w in WNIDS[:2] for i, name in enumerate("aba")]
    out = tmp_path / "out"
    for _ in range(2):
        summary = run(put(tmp_path / "a", pack(tar(files))), out)
        assert [str(drop) for drop in summary.skipped] == ["2 files are in the archive twice; the first counts"]
        assert (out / SMALL / WNIDS[1] / "a.JPEG").read_bytes() == jpeg(30)


@pytest.mark.parametrize("pack", COMPRESSED)
@pytest.mark.parametrize("folders_first", [False, True])
def test_an_archive_of_class_tars_and_class_folders_is_taken_whole(
    tmp_path: Path, pack: Pack, folders_first: bool
) -> None:
    class_tars, folders = (
        [(f"{WNIDS[0]}.tar", class_tar(WNIDS[0]))],
        [(f"{WNIDS[1]}/{i}.JPEG", IMAGE) for i in range(3)],
    )
    files = [*folders, *class_tars] if folders_first else [*class_tars, *folders]
    summary = run(put(tmp_path / "a", pack(tar(files))), tmp_path / "out")
    assert summary.counts == {"classes": 2, "train": 0, "val": 0, SMALL: 6}
    assert summary.skipped == ()


@pytest.mark.parametrize("pack", COMPRESSED)
@pytest.mark.parametrize("form", ["{0}/", ""])
def test_a_name_that_no_file_can_have_is_named_and_the_class_goes_on(tmp_path: Path, pack: Pack, form: str) -> None:
    folder = form.format(WNIDS[0])
    files = [(f"{folder}a.JPEG", IMAGE), (f"{folder}{'b' * 300}.JPEG", IMAGE), (f"{folder}c.JPEG", IMAGE)]
    data = tar(files if folder else [(f"{WNIDS[0]}.tar", tar(files))])
    summary = run(put(tmp_path / "a", pack(data)), tmp_path / "out")
    assert summary.counts[SMALL] == 2
    assert summary.skipped[0].count == 1


@pytest.mark.parametrize("pack", COMPRESSED)
def test_an_image_that_is_in_a_class_twice_is_named(tmp_path: Path, pack: Pack) -> None:
    inner = tar([("a.JPEG", IMAGE), ("b.JPEG", IMAGE), ("a.JPEG", jpeg(50))])
    out = tmp_path / "out"
    summary = run(put(tmp_path / "a", pack(tar([(f"{WNIDS[0]}.tar", inner)]))), out)
    assert (out / SMALL / WNIDS[0] / "a.JPEG").read_bytes() == IMAGE
    assert [str(drop) for drop in summary.skipped] == ["1 file is in the archive twice; the first counts"]


@pytest.mark.parametrize("pack", COMPRESSED)
@pytest.mark.parametrize("files", [[("README.txt", b"x")], [("photos/a.jpg", IMAGE)], []])
def test_an_archive_without_a_class_is_refused(tmp_path: Path, pack: Pack, files: list[tuple[str, bytes]]) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="no class tars or class folders"):
        run(put(tmp_path / "a", pack(tar(files))), out)
    assert not out.exists()  # nothing that refuses the mended archive
    assert run(put(tmp_path / "a", pack(whole())), out).counts["classes"] == 6


@pytest.mark.parametrize("pack", COMPRESSED)
def test_a_choice_of_classes_that_chooses_none_is_refused(tmp_path: Path, pack: Pack) -> None:
    with pytest.raises(InputError, match="none of its 6 classes is an LVIS class"):
        run(put(tmp_path / "a", pack(whole())), tmp_path / "out", classes=ClassChoice.LVIS)


@pytest.mark.parametrize("pack", COMPRESSED)
def test_classes_without_one_readable_image_are_an_error(tmp_path: Path, pack: Pack) -> None:
    inner = tar([("a.JPEG", b"<html>404</html>"), ("b.txt", b"x")])
    with pytest.raises(NothingDoneError, match="not one readable image in 1 classes"):
        run(put(tmp_path / "a", pack(tar([(f"{WNIDS[0]}.tar", inner)]))), tmp_path / "out")
    assert "holds no image" in why_unfinished(tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"<!DOCTYPE html><html><title>404</title></html>", "is a web page"),
        (b"<html>" * 500, "is a web page"),
        (b"PK\x03\x04" + bytes(2000), "is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (bytes(3000), "no class"),
        (b"", "is empty"),
        (gzip.compress(b"<html>gone</html>" * 200), "is a web page"),
        (gzip.compress(b""), "is empty"),
        (b"\x1f\x8b" + b"nonsense" * 100, "cut short or damaged"),
    ],
    ids=[
        "page",
        "page without doctype",
        "zip",
        "Git LFS",
        "zeros",
        "empty",
        "packed page",
        "packed nothing",
        "cut gzip",
    ],
)
def test_what_is_no_archive_is_named_as_what_it_is(tmp_path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        run(put(tmp_path / "fall11_whole.tar", data), tmp_path / "out")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


ODD = {
    "strip_wide": jpeg(300, 1),
    "strip_tall": jpeg(1, 300),
    "narrow": jpeg(4000, 2),
    "one_pixel": jpeg(1, 1),
    "cut": jpeg(500, 400)[:3000],
    "cut_too": jpeg(500, 400)[:3001],
    "page": b"<html>404</html>",
    "empty": b"",
    "undecodable": IMAGE.replace(b"\xff\xc0", b"\xff\xc3", 1),  # says that it is lossless, and is not
    "good": jpeg(600, 400),
}


def in_tar(folder: Path) -> Path:
    return put(folder / "a.tar", tar([(f"{WNIDS[0]}.tar", odd_tar()), (f"{WNIDS[1]}.tar", class_tar(WNIDS[1]))]))


def in_gz(folder: Path) -> Path:
    return put(folder / "a.tar.gz", gzip.compress(in_tar(folder).read_bytes()))


def in_folders_of_gz(folder: Path) -> Path:
    files = [(f"x/{WNIDS[0]}/{name}.JPEG", data) for name, data in ODD.items()]
    return put(folder / "b.tar.gz", gzip.compress(tar([*files, (f"x/{WNIDS[1]}/a.JPEG", IMAGE)])))


def in_class_tars(folder: Path) -> Path:
    (folder / "tars").mkdir()
    put(folder / "tars" / f"{WNIDS[0]}.tar", odd_tar())
    put(folder / "tars" / f"{WNIDS[1]}.tar", class_tar(WNIDS[1]))
    return folder / "tars"


def in_folder(folder: Path) -> Path:
    for wnid, images in ((WNIDS[0], ODD), (WNIDS[1], {"a": IMAGE})):
        (folder / "in" / wnid).mkdir(parents=True)
        for name, data in images.items():
            put(folder / "in" / wnid / f"{name}.JPEG", data)
    os.mkfifo(folder / "in" / WNIDS[0] / "pipe.JPEG")
    (folder / "in" / WNIDS[0] / "self.JPEG").symlink_to("self.JPEG")
    (folder / "in" / "latest").symlink_to("latest")
    (folder / "in" / WNIDS[2]).symlink_to(WNIDS[2])
    return folder / "in"


def odd_tar() -> bytes:
    return tar([(f"{name}.JPEG", data) for name, data in ODD.items()])


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("make", [in_tar, in_gz, in_folders_of_gz, in_class_tars, in_folder])
def test_one_odd_image_never_stops_a_run(tmp_path: Path, make: Callable[[Path], Path], resize: Resize) -> None:
    source, out = make(tmp_path), tmp_path / "out"
    summary = run(source, out, resize=resize)
    made = {path.stem for path in (out / SMALL / WNIDS[0]).iterdir()}
    reasons = dict(json.loads((out / "prepare_report.json").read_bytes())["left_out"])
    bad = {"cut", "cut_too", "page", "empty"}
    if resize is not Resize.OFF:
        bad.add("undecodable")
    if resize is Resize.SHORT_EDGE:
        bad |= {"strip_wide", "strip_tall", "narrow"}  # 256 pixels high they would be 76,800 to 512,000 wide
        assert reasons[f"{WNIDS[0]}/strip_wide.JPEG"] == "is too narrow for --resize=256"
    assert made == set(ODD) - bad
    assert {name.partition("/")[2].removesuffix(".JPEG") for name in reasons} - {"pipe", "self"} == bad
    assert reasons[f"{WNIDS[0]}/page.JPEG"] == "is a web page (HTML), not an image"
    assert "2 files are cut short" in [str(drop) for drop in summary.skipped]  # one line, counted
    if make is in_folder:
        assert reasons[f"{WNIDS[0]}/self.JPEG"] == "is a link to itself"
        assert "pipe" in reasons[f"{WNIDS[0]}/pipe.JPEG"]
        assert {WNIDS[2], "latest"} <= {name for drop in summary.drops for name in drop.examples}
    assert (out / SMALL / WNIDS[1]).is_dir()
    assert why_unfinished(out) == ""


@pytest.mark.parametrize("suffix", ["jpg", "JPG", "jpeg", "JPEG", "png"])
@pytest.mark.parametrize("make", [in_tar, in_folder])
def test_images_are_known_by_all_their_usual_endings(tmp_path: Path, suffix: str, make: Callable[[Path], Path]) -> None:
    names = {f"{WNIDS[0]}_{i}.{suffix}": IMAGE for i in range(3)}
    if make is in_folder:
        (tmp_path / "in" / WNIDS[0]).mkdir(parents=True)
        for name, data in names.items():
            put(tmp_path / "in" / WNIDS[0] / name, data)
        source = tmp_path / "in"
    else:
        source = put(tmp_path / "a.tar", tar([(f"{WNIDS[0]}.tar", tar(list(names.items())))]))
    assert run(source, tmp_path / "out").counts[SMALL] == 3


@pytest.mark.parametrize("pack", COMPRESSED)
def test_names_that_are_not_utf8_are_named_in_the_class_and_beside_it(tmp_path: Path, pack: Pack) -> None:
    how: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
    inner = tar([("a.JPEG", IMAGE), ("caf\udce9.JPEG", IMAGE), ("not\udce9.txt", b"x")], **how)
    data = tar([(f"{WNIDS[0]}.tar", inner), ("lies\udce9.txt", b"x")], **how)
    out = tmp_path / "out"
    summary = run(put(tmp_path / "a", pack(data)), out)
    assert {name for drop in summary.drops for name in drop.examples} == {
        r"lies\xe9.txt",
        rf"{WNIDS[0]}/caf\xe9.JPEG",
        rf"{WNIDS[0]}/not\xe9.txt",
    }
    assert [path.name for path in (out / SMALL / WNIDS[0]).iterdir()] == ["a.JPEG"]
    assert json.loads((out / "prepare_report.json").read_text())["classes"] == 1


def test_a_damaged_class_tar_fails_its_class_and_is_named(tmp_path: Path) -> None:
    inner = class_tar(WNIDS[1])
    bad = flipped(inner, inner.index(b"n00000002_2.JPEG") + 3)
    files = [(f"{w}.tar", bad if w == WNIDS[1] else class_tar(w)) for w in WNIDS]
    out = tmp_path / "out"
    for pack in (lambda data: data, gzip.compress):
        with pytest.raises(
            WorkError, match=r"1 class could not be prepared: n00000002: \S*/a: .*behind n00000002_1\.JPEG"
        ) as caught:
            run(put(tmp_path / "a", pack(tar(files))), out)
        assert ".prepare" not in caught.value.message  # the archive is named, not what was unpacked from it
        assert "1 class could not be prepared (n00000002)" in why_unfinished(out)
        assert classes(out) == [w for w in WNIDS if w != WNIDS[1]]
        out = tmp_path / "other"


def test_a_start_takes_the_record_of_completion_away_until_it_is_done(tmp_path: Path) -> None:
    source, out = put(tmp_path / "a.tar", whole()), tmp_path / "out"
    run(source, out)
    assert why_unfinished(out) == ""

    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(PrepareOptions(source=source, out=out), InProcessExecutor(), progress=interrupt)
    assert "was stopped" in why_unfinished(out)
    run(source, out)
    assert why_unfinished(out) == ""


def test_a_tree_of_others_has_no_record_and_needs_none(tmp_path: Path) -> None:
    (tmp_path / "train" / WNIDS[0]).mkdir(parents=True)
    assert why_unfinished(tmp_path) == ""


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("pack", COMPRESSED)
def test_random_damage_is_found_or_does_no_harm(tmp_path: Path, seed: int, pack: Pack) -> None:
    """Wherever an archive is cut, holed or flipped: either all classes are there, or it is an error."""
    rng = np.random.default_rng(seed)
    plain = tar([(f"{w}.tar", class_tar(w, 2)) for w in WNIDS[:3]])
    data = bytearray(pack(plain))
    at = int(rng.integers(0, len(data) - 600))
    match seed % 4:
        case 0:
            del data[at:]
        case 1:
            data[at : at + 512] = bytes(512)
        case 2:
            data[at] ^= 1 << int(rng.integers(8))
        case 3:
            del data[at : at + 512]
    out = tmp_path / "out"
    try:
        summary = run(put(tmp_path / "a", bytes(data)), out)
    except OvforgeError as error:
        assert error.message
        assert why_unfinished(out) or not (out / ".prepare").exists()
    else:
        found = summary.counts[SMALL] + sum(drop.count for drop in summary.skipped if drop.kind == "file")
        assert found == 6 or bytes(data) == pack(plain)
