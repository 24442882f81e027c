"""The header reader against the decoders of record: what Pillow and OpenCV both decode is accepted, as they show it.

Images of every format, with what cameras, broken downloads and odd programs do to them, and with random damage. The
decoders are asked first; only where both are content, and agree on the size, is something demanded of the reader.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovforge.errors import ImageError
from ovforge.image_io.codec import decode_as_annotated, decode_rgb
from ovforge.image_io.header import ImageHeader, read_header, read_header_of_file

Image = pytest.importorskip("PIL.Image", reason="Pillow is the reference")
ImageOps = pytest.importorskip("PIL.ImageOps", reason="Pillow is the reference")

EXAMPLES = int(os.environ.get("OVFORGE_EXAMPLES", "150"))
"""Of the property tests; 10,000 were run once."""
WIDTH, HEIGHT = 48, 31


def gradient(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([across, down, 255 - across]).astype(np.uint8))


def save(form: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or gradient()).save(buffer, form, **options)
    return buffer.getvalue()


def tiff_block(orientation: int, *, order: str = "<", kind: int = 3, tag: int = 274) -> bytes:
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "L", 8: "h2x", 9: "l"}[kind], orientation)
    entries = struct.pack(order + "HHHL", 1, tag, kind, 1) + value
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8) + entries + b"\0" * 4


def app1(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def exif(orientation: int, **how: object) -> bytes:
    return app1(b"Exif\0\0" + tiff_block(orientation, **how))  # type: ignore[arg-type]


def xmp(orientation: int) -> bytes:
    return app1(
        b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>' % orientation
    )


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">L", len(payload)) + kind + payload + struct.pack(">L", zlib.crc32(kind + payload))


def segments(jpeg: bytes) -> list[int]:
    """Where the segments of a JPEG begin, the first scan's included."""
    position, found = 2, []
    while True:
        found.append(position)
        if jpeg[position + 1] == 0xDA:
            return found
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")


JPEG = save("JPEG", quality=90)
FRAMES = {
    "JPEG": JPEG,
    "progressive": save("JPEG", progressive=True),
    "grey JPEG": save("JPEG", gradient().convert("L")),
    "CMYK JPEG": save("JPEG", gradient().convert("CMYK")),
    "restart intervals": cv2.imencode(".jpg", np.asarray(gradient()), [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes(),
    "two images in one (MPO)": save("MPO", save_all=True, append_images=[gradient().rotate(9)]),
    "PNG": save("PNG"),
    "palette PNG": save("PNG", gradient().convert("P")),
    "1-bit PNG": save("PNG", gradient().convert("1")),
    "PNG with alpha": save("PNG", gradient().convert("RGBA")),
    "WebP": save("WEBP"),
    "lossless WebP": save("WEBP", lossless=True),
    "WebP with metadata": save("WEBP", exif=b"Exif\0\0" + tiff_block(1)),
    "animated WebP": save("WEBP", save_all=True, append_images=[gradient().rotate(9)], duration=50),
    "GIF": save("GIF"),
    "animated GIF": save("GIF", save_all=True, append_images=[gradient().rotate(9)]),
    "BMP": save("BMP"),
    "palette BMP": save("BMP", gradient().convert("P")),
    "TIFF": save("TIFF"),
    "LZW TIFF": save("TIFF", compression="tiff_lzw"),
    "PPM": save("PPM"),
    "PGM": save("PPM", gradient().convert("L")),
    "PBM": save("PPM", gradient().convert("1")),
    "JPEG 2000": save("JPEG2000"),
    "JPEG 2000 codestream": save("JPEG2000", no_jp2=True),
    "AVIF": save("AVIF"),
}
SCAN = segments(JPEG)[-1]
SIDEWAYS = {
    "EXIF, little-endian": JPEG[:2] + exif(6) + JPEG[2:],
    "EXIF, big-endian": JPEG[:2] + exif(8, order=">") + JPEG[2:],
    "EXIF as LONG": JPEG[:2] + exif(6, kind=4, order=">") + JPEG[2:],
    "EXIF behind the frame": JPEG[:SCAN] + exif(5) + JPEG[SCAN:],
    "EXIF behind XMP": JPEG[:2] + xmp(1) + exif(7) + JPEG[2:],
    "two EXIF blocks": JPEG[:2] + exif(6) + exif(1) + JPEG[2:],
    "two EXIF blocks, the second turned": JPEG[:2] + exif(1) + exif(6) + JPEG[2:],
    "an empty block first": JPEG[:2] + app1(b"Exif\0\0") + exif(6) + JPEG[2:],
    "a block without the tag first": JPEG[:2] + exif(3, tag=256) + exif(6) + JPEG[2:],
    "the mark twice": JPEG[:2] + app1(b"Exif\0\0Exif\0\0" + tiff_block(6)) + JPEG[2:],
    "an orientation of 99": JPEG[:2] + exif(99) + JPEG[2:],
    "99, and XMP": JPEG[:2] + exif(99) + xmp(6) + JPEG[2:],
    "EXIF as BYTE": JPEG[:2] + exif(6, kind=1) + JPEG[2:],
    "XMP only": JPEG[:2] + xmp(6) + JPEG[2:],
    "XMP beside EXIF without the tag": JPEG[:2] + exif(3, tag=256) + xmp(8) + JPEG[2:],
    "a cut block": JPEG[:2] + app1(b"Exif\0\0" + tiff_block(6)[:15]) + JPEG[2:],
    "MPO": FRAMES["two images in one (MPO)"][:2] + exif(6) + FRAMES["two images in one (MPO)"][2:],
    "PNG": save("PNG", exif=tiff_block(6)),
    "PNG, behind its pixels": FRAMES["PNG"][:-12] + png_chunk(b"eXIf", tiff_block(8)) + FRAMES["PNG"][-12:],
    "WebP": save("WEBP", exif=b"Exif\0\0" + tiff_block(6)),
    "TIFF": save("TIFF", tiffinfo={274: 6}),
    **{f"AVIF {value}": save("AVIF", exif=b"Exif\0\0" + tiff_block(value)) for value in range(2, 9)},
}


def ask_pillow(data: bytes) -> tuple[tuple[int, int], int] | None:
    """Stored size and orientation, None where Pillow does not decode all of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
        except Exception:  # it raises whatever its plugins raise
            return None
        try:
            orientation = image.getexif().get(274, 1)
        except Exception:
            orientation = 1
    if image.format == "TIFF":  # turned already
        orientation = 1
    return image.size, orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def ask_opencv(data: bytes) -> tuple[int, int] | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if image is None else (image.shape[1], image.shape[0])


def check(data: bytes, path: Path) -> ImageHeader | None:
    """The reader accepts what both decoders decode, with their size and Pillow's orientation; the same from a file."""
    pillow, opencv = ask_pillow(data), ask_opencv(data)
    path.write_bytes(data)
    try:
        header: ImageHeader | None = read_header(data, "x")
    except ImageError as error:
        header = None
        assert pillow is None or pillow[0] != opencv, f"{error.message}; the decoders read it"
    if header is not None:
        assert read_header_of_file(path) == header
        if pillow is not None and pillow[0] == opencv:
            assert (header.size, header.orientation) == pillow
    return header


@pytest.mark.parametrize("kind", FRAMES)
def test_every_format_is_read_as_decoders_read_it(kind: str, tmp_path: Path) -> None:
    header = check(FRAMES[kind], tmp_path / "image")
    assert header is not None
    assert header.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", SIDEWAYS)
def test_orientation_is_the_decoders(kind: str, tmp_path: Path) -> None:
    data = SIDEWAYS[kind]
    header = check(data, tmp_path / "image")
    assert header is not None
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image.convert("RGB") if image.format == "TIFF" else image).convert("RGB")
    shown = decode_rgb(data, "x", upright=True)
    assert header.shown_size == upright.size == (shown.shape[1], shown.shape[0])
    assert np.abs(shown.astype(int) - np.asarray(upright)).mean() < 6
    for size in (header.size, header.shown_size):
        assert decode_as_annotated(data, "x", *size).shape[1::-1] == size
    with pytest.raises(ImageError, match="another image"):
        decode_as_annotated(data, "x", WIDTH + 1, HEIGHT)


@pytest.mark.parametrize("value", range(1, 9))
def test_all_eight_orientations_turn_as_pillow_turns(value: int) -> None:
    data = JPEG[:2] + exif(value) + JPEG[2:]
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    difference = decode_rgb(data, "x", upright=True).astype(int) - np.asarray(upright)
    assert np.abs(difference).mean() < 2


def odd_jpegs() -> Iterator[tuple[str, bytes]]:
    for number, at in enumerate(segments(JPEG)[1:], start=1):  # what stands first decides whether it is a JPEG
        for stray in (b"\0", b"\x11" * 608, b"\0\xff", b"\xff\0", b"\xff" * 5, b"\xff\0\xff\xff"):
            yield f"{stray[:4]!r} before segment {number}", JPEG[:at] + stray + JPEG[at:]
    yield "zeros behind", JPEG + bytes(5000)
    yield "a page behind", JPEG + b"<html>advertisement</html>" * 200
    yield "an image behind", JPEG + save("JPEG", gradient(20, 10))
    yield "bytes before the end marker", JPEG[:-2] + b"\0\0" + JPEG[-2:]
    yield "a long profile", JPEG[:2] + (b"\xff\xe2\xff\xff" + bytes(0xFFFD)) * 3 + JPEG[2:]
    yield "a thumbnail", JPEG[:2] + app1(b"Exif\0\0" + tiff_block(6) + save("JPEG", gradient(20, 10))) + JPEG[2:]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in odd_jpegs()])
def test_what_decoders_skip_is_skipped(data: bytes, tmp_path: Path) -> None:
    header = check(data, tmp_path / "image")
    assert header is not None
    assert header.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", FRAMES)
def test_a_cut_image_is_refused_as_cut(kind: str, tmp_path: Path) -> None:
    data = FRAMES[kind]
    if kind.startswith("two images"):  # the second may be missing
        data = data[: data.index(b"\xff\xd9") + 2]
    stops = [len(data) // 4, len(data) // 2, len(data) * 9 // 10]
    if not kind.endswith("TIFF"):  # its last bytes may be those of a tag that is of no importance
        stops.append(len(data) - 1)
    for stop in stops:
        for source in (lambda cut: read_header(cut, "x"), lambda cut: write_and_read(tmp_path / "image", cut)):
            with pytest.raises(ImageError) as caught:
                source(data[:stop])
            assert caught.value.reason in ("is cut short", "is damaged"), caught.value.message


def write_and_read(path: Path, data: bytes) -> ImageHeader:
    path.write_bytes(data)
    return read_header_of_file(path)


def test_an_image_that_is_cut_and_goes_on_with_another_is_cut() -> None:
    half = JPEG[: (SCAN + len(JPEG)) // 2]
    progressive = FRAMES["progressive"]
    for data in (half + JPEG, half + bytes(100) + JPEG, progressive[: len(progressive) * 2 // 3] + JPEG):
        with pytest.raises(ImageError, match="cut short"):
            read_header(data, "x")


PAGES: dict[str, tuple[bytes, str]] = {
    "HTML": (b"<!DOCTYPE html><html><title>404</title></html>", "web page"),
    "HTML without a doctype": (b"\n\n  <HTML><BODY>gone</BODY></HTML>", "web page"),
    "HTML with a byte order mark": (b"\xef\xbb\xbf<!doctype HTML>\n<head>", "web page"),
    "HTML behind a comment": (b"<!-- saved from url -->\n<html>", "web page"),
    "XHTML with an image in it": (
        b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x.dtd">\n'
        b'<html xmlns="http://www.w3.org/1999/xhtml"><img src="gone.gif" width="500" height="374"/></html>',
        "web page",
    ),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="50"></svg>', "SVG"),
    "SVG behind an XML declaration": (b'<?xml version="1.0"?><svg width="100" height="50"/>', "SVG"),
    "another XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    "JSON": (b'{"error": "not found"}', "JSON"),
    "PDF": (b"%PDF-1.4\n", "PDF"),
    "gzip": (b"\x1f\x8b\x08\0\0\0", "gzip"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "Git LFS"),
    "text that begins like a PNM": (b"P2 is the second page of 12 and the 34 others\n", "known format"),
    "zeros": (bytes(5000), "zeros"),
    "nothing": (b"", "is empty"),
}


@pytest.mark.parametrize("kind", PAGES)
def test_what_is_no_image_is_named_as_what_it_is(kind: str, tmp_path: Path) -> None:
    data, words = PAGES[kind]
    for read in (lambda: read_header(data, "x.jpg"), lambda: write_and_read(tmp_path / "x.jpg", data)):
        with pytest.raises(ImageError, match=words):
            read()


@st.composite
def damaged(draw: Callable[..., object]) -> bytes:
    """One of the images, with a few small things done to it, mostly in its header."""
    data = bytearray(draw(st.sampled_from([*FRAMES.values(), *SIDEWAYS.values()])))  # type: ignore[call-overload]
    for _ in range(draw(st.integers(1, 3))):  # type: ignore[call-overload]
        reach = min(len(data), draw(st.sampled_from([40, 200, 700, len(data)])))  # type: ignore[type-var]
        at = draw(st.integers(0, max(reach - 1, 0)))
        action = draw(st.sampled_from(["flip", "set", "insert", "remove", "cut", "append", "repeat"]))
        if not data:
            break
        if action == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))  # type: ignore[operator]
        elif action == "set":
            data[at] = draw(st.sampled_from([0, 1, 2, 0xD8, 0xD9, 0xDA, 0xE1, 0xFF]))  # type: ignore[call-overload]
        elif action == "insert":
            data[at:at] = draw(st.one_of(st.binary(max_size=20), st.sampled_from([b"\xff" * 4, b"\0" * 9, exif(6)])))
        elif action == "remove":
            del data[at : at + draw(st.integers(1, 30))]  # type: ignore[operator]
        elif action == "cut":
            del data[len(data) - draw(st.integers(1, 300)) :]  # type: ignore[operator]
        elif action == "append":
            data += draw(st.binary(max_size=50))  # type: ignore[arg-type]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 300))]  # type: ignore[operator]
    return bytes(data)


@given(damaged())
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_images_are_read_as_decoders_read_them(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    pillow, opencv = ask_pillow(data), ask_opencv(data)
    try:
        header = read_header(data, "x")
    except ImageError as error:
        # Decoders may get by without a JPEG's end marker. TIFF and AVIF say twice where things are: one may be wrong.
        strict = error.detail.endswith("without an end marker") or data[4:8] == b"ftyp" or data[:2] in (b"II", b"MM")
        assert strict or pillow is None or pillow[0] != opencv, error.message
        return
    assert header.width > 0
    assert header.height > 0
    if pillow is not None and pillow[0] == opencv:
        assert (header.size, header.orientation) == pillow


@given(st.sampled_from(sorted(FRAMES)), st.floats(0, 0.98))
@settings(max_examples=EXAMPLES, deadline=None)
def test_no_cut_image_is_accepted_that_decoders_refuse(kind: str, keep: float) -> None:
    data = FRAMES[kind][: int(len(FRAMES[kind]) * keep)]
    try:
        read_header(data, "x")
    except ImageError:
        return
    assert ask_opencv(data) is not None or ask_pillow(data) is not None
