"""Tars read in place: what is accepted, what is refused, and images by name."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest

from ovforge.errors import ArchiveError, MissingImageError, MissingInputError, StorageError
from ovforge.files.tar_archive import Member, read_members
from ovforge.image_io.tar_store import TarStore


def write_tar(
    path: Path, files: dict[str, bytes], *special: tarfile.TarInfo, format_: int = tarfile.USTAR_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=format_) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in special:
            archive.addfile(info)
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


FILES = {"b.JPEG": b"b" * 700, "a.JPEG": b"a", "empty.JPEG": b"", "c.JPEG": b"c" * 512}


def contents(path: Path, members: list[Member]) -> dict[str, bytes]:
    data = path.read_bytes()
    return {m.name: data[m.offset : m.offset + m.size] for m in members}


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_every_tar_format(tmp_path: Path, format_: int) -> None:
    files = FILES | {f"{'long' * 30}/{'name' * 20}é.JPEG": b"long"} if format_ != tarfile.USTAR_FORMAT else FILES
    path = write_tar(tmp_path / "x.tar", files, special("folder", tarfile.DIRTYPE), format_=format_)
    assert contents(path, read_members(path)) == files


def test_long_ustar_names_and_leading_dot(tmp_path: Path) -> None:
    name = "./" + "folder/" * 20 + "a.JPEG"
    path = write_tar(tmp_path / "x.tar", {name: b"a"})
    assert contents(path, read_members(path)) == {name[2:]: b"a"}


def test_pax_records_about_times_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.JPEG"
    file.write_bytes(b"a" * 600)
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.JPEG", "b.JPEG"):
            info = archive.gettarinfo(file, name)
            info.mtime = 1700000000.125  # exact times need a record
            with file.open("rb") as content:
                archive.addfile(info, content)
    monkeypatch.setattr(tarfile, "open", None)  # the quick way has to do
    assert contents(tmp_path / "x.tar", read_members(tmp_path / "x.tar")) == dict.fromkeys(
        ("a.JPEG", "b.JPEG"), b"a" * 600
    )


def test_a_tar_in_a_tar_is_read_in_place(tmp_path: Path) -> None:
    for format_ in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT):
        inner = write_tar(tmp_path / "inner.tar", FILES | {"x" * 150: b"x"} if format_ else FILES, format_=format_)
        outer = write_tar(tmp_path / "outer.tar", {"first": b"1", "inner.tar": inner.read_bytes(), "last": b"3"})
        place = next(m for m in read_members(outer) if m.name == "inner.tar")
        assert contents(outer, read_members(outer, place.offset, place.size)) == contents(inner, read_members(inner))


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "a.JPEG"),
        special("device", tarfile.CHRTYPE),
        special("block", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
        tarfile.TarInfo("/etc/cron.d/x"),
        tarfile.TarInfo("../x.JPEG"),
        tarfile.TarInfo("a/../../x.JPEG"),
        tarfile.TarInfo("..\\x.JPEG"),
    ],
    ids=lambda info: info.name,
)
@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_dangerous_members_are_refused_by_name(tmp_path: Path, member: tarfile.TarInfo, format_: int) -> None:
    files = FILES if format_ == tarfile.USTAR_FORMAT else FILES | {"x" * 150: b""}
    path = write_tar(tmp_path / "x.tar", files, member, format_=format_)
    with pytest.raises(ArchiveError, match="is refused") as caught:
        read_members(path)
    assert str(path) in caught.value.message
    assert repr(member.name) in caught.value.message


def test_cut_short_broken_and_missing(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "x.tar", FILES).read_bytes()
    for length in (100, 600, 1500):
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(ArchiveError, match="cut short"):
            read_members(tmp_path / "cut.tar")
    (tmp_path / "html.tar").write_bytes(b"<html>" * 500)
    with pytest.raises(ArchiveError, match="web page"):
        read_members(tmp_path / "html.tar")
    with pytest.raises(StorageError, match="No such file"):
        read_members(tmp_path / "none.tar")
    with pytest.raises(ArchiveError, match="cut short"):
        read_members(tmp_path / "x.tar", 0, len(whole) + 1)


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_cut_between_members_is_noticed(tmp_path: Path, format_: int) -> None:
    name = "a.JPEG" if format_ == tarfile.USTAR_FORMAT else "x" * 150
    path = write_tar(tmp_path / "x.tar", {name: b"a"}, format_=format_)
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(whole[: end + 512])  # one block of zeros will do
    assert [m.name for m in read_members(path)] == [name]
    path.write_bytes(whole[:end])
    with pytest.raises(ArchiveError, match="cut short"):
        read_members(path)


def test_store_reads_images_by_class_and_name(tmp_path: Path) -> None:
    write_tar(tmp_path / "n00000002.tar", FILES)
    write_tar(tmp_path / "n00000001.tar", {"n00000001/x.JPEG": b"first", "x.JPEG": b"second"})
    (tmp_path / "README.txt").write_text("no tar")
    with TarStore(tmp_path) as store:
        assert store.classes() == ["n00000001", "n00000002"]
        assert store.names() == ["n00000001/x.JPEG", *(f"n00000002/{name}" for name in sorted(FILES))]
        assert store.read("n00000002/b.JPEG") == FILES["b.JPEG"]
        assert store.read("n00000001/x.JPEG") == b"first"
        assert "n00000002/a.JPEG" in store
        assert "n00000002/none.JPEG" not in store
        assert "../n00000002/a.JPEG" not in store
        copy = pickle.loads(pickle.dumps(store))
        assert copy.read("n00000002/a.JPEG") == b"a"
        copy.close()
        with pytest.raises(MissingImageError):
            store.read("n00000009/a.JPEG")
        store.close()
        assert store.read("n00000002/a.JPEG") == b"a"


def test_store_keeps_few_files_open(tmp_path: Path) -> None:
    for i in range(100):
        write_tar(tmp_path / f"n{i:08d}.tar", {"a.JPEG": b"%d" % i})
    with TarStore(tmp_path) as store:
        for _ in range(2):
            assert [store.read(name) for name in store.names()] == [b"%d" % i for i in range(100)]


def test_store_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        TarStore(tmp_path / "none")


def test_a_name_that_two_members_have_is_told(tmp_path: Path) -> None:
    write_tar(tmp_path / "n00000001.tar", {"a.JPEG": b"first", "n00000001/a.JPEG": b"second", "b.JPEG": b"b"})
    with TarStore(tmp_path) as store:
        assert store.repeated("n00000001") == {"a.JPEG"}
        assert store.repeated("n00000002") == set()
        assert store.read("n00000001/a.JPEG") == b"first"
        assert pickle.loads(pickle.dumps(store)).repeated("n00000001") == {"a.JPEG"}
