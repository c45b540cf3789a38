import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import builders
from osteon.errors import ImageTooLarge, InvalidImage, OsteonError
from osteon.files import Limits, read, read_pages

FRACATLAS = Path(__file__).parents[2].parent / "shared/data/fracatlas/images"

RASTER = {name: encode for name, encode in builders.EXACT.items() if not name.startswith("dicom")}
RASTER |= {name: encode for name, (encode, _) in builders.LOSSY.items() if not name.startswith("dicom")}
# Formats with a checksum or a length for their pixels; the others cannot know that they were cut.
CUT = ["jpeg", "jpeg progressive", "png", "png 16", "png rgb 16", "tiff", "tiff lzw", "tiff 16", "bmp", "webp", "gif"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(orientation: int, kind: str, picture: builders.Picture) -> None:
    (radiograph,) = read(builders.turned(picture, orientation, kind))
    np.testing.assert_array_equal(radiograph.pixels, picture)


def test_exif_orientation_agrees_with_opencv(picture: builders.Picture) -> None:
    for orientation in range(1, 9):
        data = builders.turned(picture, orientation, "JPEG", quality=90)
        reference = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(read(data)[0].pixels, reference)


def test_damaged_exif_does_not_cost_the_picture(picture: builders.Picture) -> None:
    data = builders.raster(picture, "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    np.testing.assert_array_equal(read(data)[0].pixels, picture)


def test_sixteen_bits_are_kept(picture: builders.Picture) -> None:
    values = (builders.deep(picture).astype(np.uint32) * 3 // 4 + 77).astype(np.uint16)
    for data in (builders.raster(values, "PNG"), builders.raster(values, "TIFF")):
        np.testing.assert_array_equal(read(data)[0].pixels, values)


def test_sixteen_bit_colour_keeps_its_depth() -> None:
    grey = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50) * 21
    for ending in (".png", ".tiff"):
        done, data = cv2.imencode(ending, np.repeat(grey[..., None], 3, axis=2))
        assert done
        np.testing.assert_array_equal(read(data.tobytes())[0].pixels, grey)


def test_colour_becomes_its_luma() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert read(builders.raster(colours, "PNG"))[0].pixels.tolist() == [[76, 150, 29, 255]]


def test_one_bit_is_black_and_white() -> None:
    bits = np.array([[0, 255, 0, 255, 255]], np.uint8)
    for kind in ("PNG", "TIFF", "BMP"):
        assert read(builders.raster(bits, kind, "1"))[0].pixels.tolist() == bits.tolist()


def test_transparent_parts_are_black(picture: builders.Picture) -> None:
    alpha = np.zeros_like(picture)
    alpha[:60] = 255
    alpha[60:80] = 128
    buffer = BytesIO()
    builders.with_alpha(picture, alpha).save(buffer, "PNG")
    pixels = read(buffer.getvalue())[0].pixels
    np.testing.assert_array_equal(pixels[:60], picture[:60])
    np.testing.assert_allclose(pixels[60:80], picture[60:80] * (128 / 255), atol=0.51)
    assert not pixels[80:].any()


def test_a_transparent_palette_entry_is_black() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("L").convert("P")
    image.putpalette([250, 250, 250, 100, 100, 100, 200, 200, 200])
    buffer = BytesIO()
    image.save(buffer, "PNG", transparency=0)
    assert read(buffer.getvalue())[0].pixels.tolist() == [[0, 100, 200]]


def test_cmyk_ink_is_dark_in_tiff_and_in_adobe_jpeg() -> None:
    ink = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (0, 0, 0, 200)])
    for kind in ("TIFF", "JPEG"):
        buffer = BytesIO()
        ink.save(buffer, kind)
        assert abs(int(read(buffer.getvalue())[0].pixels[8, 8]) - 55) <= 2


def test_wide_numbers_are_spread_from_smallest_to_greatest() -> None:
    values = np.array([[-1.0, 0.0, 1.0, np.nan]], np.float32)
    assert read(builders.raster(values, "TIFF"))[0].pixels.tolist() == [[0, 32768, 65535, 0]]
    whole = np.array([[-100, 0, 100]], np.int32)
    assert read(builders.raster(whole, "TIFF"))[0].pixels.tolist() == [[0, 32768, 65535]]


def test_each_page_of_a_tiff_is_a_radiograph(picture: builders.Picture) -> None:
    first, second, third = read(builders.pages(picture, picture[:50], builders.deep(picture[:, :40])), name="scan.tif")
    assert [page.source for page in (first, second, third)] == ["scan.tif", "scan.tif#2", "scan.tif#3"]
    assert [page.page for page in (first, second, third)] == [0, 1, 2]
    np.testing.assert_array_equal(second.pixels, picture[:50])
    np.testing.assert_array_equal(third.pixels, builders.deep(picture[:, :40]))
    assert len({page.sha256 for page in (first, second, third)}) == 1


def test_one_frame_of_an_animation_is_read(picture: builders.Picture) -> None:
    buffer = BytesIO()
    still, other = Image.fromarray(picture), Image.fromarray(picture[::-1].copy())
    still.save(buffer, "GIF", save_all=True, append_images=[other])
    (radiograph,) = read(buffer.getvalue())
    np.testing.assert_array_equal(radiograph.pixels, picture)


@pytest.mark.parametrize("encoding", CUT)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_file_is_refused_never_filled(encoding: str, share: float, picture: builders.Picture) -> None:
    data = RASTER[encoding](picture)
    with pytest.raises(InvalidImage) as caught:
        read(data[: int(len(data) * share)])
    assert caught.value.hint


def test_a_lying_ending_does_no_harm_and_lying_content_fails(tmp_path: Path, picture: builders.Picture) -> None:
    lying = tmp_path / "picture.jpg"
    lying.write_bytes(builders.raster(picture, "PNG"))
    np.testing.assert_array_equal(read(lying)[0].pixels, picture)
    with pytest.raises(InvalidImage, match="PNG picture"):
        read(b"\x89PNG\r\n\x1a\n" + np.random.default_rng(3).bytes(4000))


def test_pixels_are_limited_before_they_are_decoded() -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
        + _chunk(b"IEND", b"")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageTooLarge, match="60000x60000 px"):
            read(data)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_limits_on_bytes_pixels_sides_and_pages(picture: builders.Picture) -> None:
    data = builders.raster(picture, "PNG")
    for limits, found in (
        (Limits(max_bytes=len(data) - 1), "MiB"),
        (Limits(max_pixels=picture.size - 1), "120x90 px"),
        (Limits(max_side_px=119), "120x90 px"),
    ):
        with pytest.raises(ImageTooLarge, match=found):
            read(data, limits=limits)
    assert read(data, limits=Limits(max_bytes=len(data), max_pixels=picture.size, max_side_px=120))
    three = builders.pages(picture, picture, picture)
    assert len(read(three, limits=Limits(max_pages=3))) == 3
    with pytest.raises(ImageTooLarge, match="more than 2 pages"):
        next(read_pages(three, limits=Limits(max_pages=2)))


def test_more_pixels_than_pillow_would_open_are_a_matter_of_our_limits() -> None:
    buffer = BytesIO()
    Image.new("1", (19_000, 10_000)).save(buffer, "PNG")
    assert read(buffer.getvalue(), limits=Limits(max_pixels=200_000_000))[0].width_px == 19_000


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_pictures_raise_nothing_but_our_errors(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(RASTER)))
    mutated = builders.mutated(data, RASTER[name](builders.drawing(24, 20).pixels))
    try:
        read(mutated)
    except OsteonError as error:
        assert error.hint


@settings(max_examples=40, deadline=None)
@given(orientation=st.integers(1, 8), height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**16))
def test_orientation_there_and_back(orientation: int, height: int, width: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    np.testing.assert_array_equal(read(builders.turned(values, orientation))[0].pixels, values)


def test_fracatlas_truncated_and_rotated_files() -> None:
    if not FRACATLAS.is_dir():
        pytest.skip(f"FracAtlas is not at {FRACATLAS}")
    refused, rotated = 0, 0
    for path in FRACATLAS.rglob("*.jpg"):
        try:
            (radiograph,) = read(path)
        except InvalidImage as error:
            assert "truncated" in error.message
            refused += 1
            continue
        with Image.open(path) as image:
            rotated += image.getexif().get(0x0112, 1) != 1 and radiograph.pixels.shape != image.size[::-1]
    assert refused == 59
    assert rotated > 0


class TestChroma:
    """How colourful a picture is: films are grey however they are kept, skin and photographs are not."""

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
    def test_colour_is_told_in_every_format(self, form: str) -> None:
        buffer = BytesIO()
        Image.new("RGB", (200, 160), (210, 150, 120)).save(buffer, form)
        (picture,) = read(buffer.getvalue())
        assert picture.chroma == pytest.approx(90 / 255, abs=0.02)

    @pytest.mark.parametrize("encoding", builders.EXACT)
    def test_a_film_is_grey_in_every_encoding(self, encoding: str) -> None:
        (film,) = read(builders.EXACT[encoding](builders.drawing().pixels))
        assert film.chroma == 0

    def test_colour_of_a_palette_counts(self) -> None:
        buffer = BytesIO()
        Image.new("RGB", (90, 80), (200, 100, 100)).quantize(4).save(buffer, "PNG")
        assert read(buffer.getvalue())[0].chroma > 0.3
