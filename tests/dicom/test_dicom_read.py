"""DICOM as the modality meant it to be seen, and what is told of objects that are no picture."""

import shutil
import struct
import subprocess
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import dcmread
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

import builders
from osteon.errors import ImageTooLarge, InvalidImage, OsteonError, UnsupportedDicom
from osteon.files import Limits, read, read_pages

DICOM = {name: encode for name, encode in builders.EXACT.items() if name.startswith("dicom")}
DICOM |= {name: encode for name, (encode, _) in builders.LOSSY.items() if name.startswith("dicom")}


def grey(data: Dataset | bytes) -> np.ndarray[Any, Any]:
    (radiograph,) = read(data if isinstance(data, bytes) else builders.written(data))
    return radiograph.pixels


def test_what_the_file_tells_is_kept(picture: builders.Picture) -> None:
    data = builders.written(builders.grey12(picture, ImagerPixelSpacing=[0.2, 0.1]))
    (radiograph,) = read(data, name="wrist.dcm")
    assert radiograph.source == "wrist.dcm"
    assert radiograph.spacing_mm == (0.2, 0.1)
    assert (radiograph.modality, radiograph.body_part) == ("DX", "WRIST")
    assert (radiograph.view, radiograph.laterality) == ("PA", "L")
    assert radiograph.pixels.dtype == np.uint16


def test_calibrated_spacing_is_preferred_and_nonsense_ignored(picture: builders.Picture) -> None:
    both = builders.grey12(picture, ImagerPixelSpacing=[0.2, 0.2], PixelSpacing=[0.15, 0.15])
    assert read(builders.written(both))[0].spacing_mm == (0.15, 0.15)
    assert read(builders.written(builders.grey12(picture, PixelSpacing=[0, 0])))[0].spacing_mm is None


def test_free_text_in_a_code_is_dropped(picture: builders.Picture) -> None:
    data = builders.grey12(picture)
    data.add_new((0x0018, 0x0015), "LO", "hand of Jane Doe, 12 years")
    assert read(builders.written(data))[0].body_part == ""


def test_monochrome1_becomes_bone_bright(picture: builders.Picture) -> None:
    values = 4095 - builders.stored(picture)
    negative = builders.dataset(values, BitsStored=12, PhotometricInterpretation="MONOCHROME1", **builders.window())
    np.testing.assert_array_equal(grey(negative), grey(builders.grey12(picture)))


def test_an_inverse_presentation_lut_shape_inverts_once(picture: builders.Picture) -> None:
    values = 4095 - builders.stored(picture)
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        shape = {"PhotometricInterpretation": photometric, "PresentationLUTShape": "INVERSE"}
        data = builders.dataset(values, BitsStored=12, **shape, **builders.window())
        np.testing.assert_array_equal(grey(data), grey(builders.grey12(picture)))


def test_monochrome1_is_inverted_though_its_lut_shape_says_identity(picture: builders.Picture) -> None:
    shape = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}
    data = builders.dataset(4095 - builders.stored(picture), BitsStored=12, **shape, **builders.window())
    np.testing.assert_array_equal(grey(data), grey(builders.grey12(picture)))


def test_the_window_follows_the_standard() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    shares = {}
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        attributes = {"WindowCenter": 2000.0, "WindowWidth": 1000.0, "VOILUTFunction": function}
        shares[function] = grey(builders.dataset(values, BitsStored=12, **attributes)).ravel() / 65535
    x = values.ravel().astype(float)
    linear = np.clip((x - 1999.5) / 999 + 0.5, 0, 1)
    exact = np.clip((x - 2000) / 1000 + 0.5, 0, 1)
    sigmoid = 1 / (1 + np.exp(-4 * (x - 2000) / 1000))
    for function, expected in (("LINEAR", linear), ("LINEAR_EXACT", exact), ("SIGMOID", sigmoid)):
        np.testing.assert_allclose(shares[function], expected, atol=1e-5)


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": 50000.0, "WindowWidth": 10.0},
        {"WindowCenter": 2048.0, "WindowWidth": 0.0},
        {"WindowCenter": 2048.0, "WindowWidth": -400.0},
        {"WindowCenter": 2048.0, "WindowWidth": 0.0, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": None, "WindowWidth": None},
    ],
    ids=["none", "beside the data", "no width", "negative", "exact without width", "empty"],
)
def test_without_a_usable_window_the_values_span_black_to_white(
    window: dict[str, float], picture: builders.Picture
) -> None:
    data = builders.dataset(700 + builders.stored(picture, 11), BitsStored=12)
    for keyword, value in window.items():
        setattr(data, keyword, value)
    np.testing.assert_array_equal(read(builders.written(data))[0].as_uint8(), picture)


def test_the_first_of_several_windows_is_taken(picture: builders.Picture) -> None:
    data = builders.grey12(picture, WindowCenter=[2048, 100], WindowWidth=[4096, 50])
    np.testing.assert_array_equal(grey(data), grey(builders.grey12(picture)))


def test_padding_does_not_widen_the_range(picture: builders.Picture) -> None:
    values = 1000 + builders.stored(picture, 11)
    values[:, :10] = 65535
    data = builders.dataset(values)
    data.add_new((0x0028, 0x0120), "US", 65535)
    framed = grey(data)[:, 10:]
    plain = grey(builders.dataset(values[:, 10:]))
    np.testing.assert_array_equal(framed, plain)


def test_eight_bits_without_a_window_are_grey_values_already() -> None:
    values = np.array([[10, 20], [30, 40]], np.uint8)
    pixels = grey(builders.dataset(values))
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == values.tolist()


def test_a_flat_picture_is_black() -> None:
    assert not grey(builders.dataset(np.full((8, 8), 1234, np.uint16))).any()


def test_one_bit_frames_that_share_a_byte() -> None:
    bits = np.random.default_rng(5).integers(0, 2, (3, 5, 7), np.uint8)
    data = builders.dataset(bits, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    for frame, radiograph in enumerate(read(builders.written(data))):
        np.testing.assert_array_equal(radiograph.pixels, bits[frame] * 255)


def _frames(picture: builders.Picture) -> Dataset:
    values = np.stack([builders.stored(picture), builders.stored(picture[::-1]), builders.stored(picture[:, ::-1])])
    return builders.dataset(values, BitsStored=12, NumberOfFrames=3, **builders.window())


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_each_frame_is_a_radiograph(syntax: str, picture: builders.Picture) -> None:
    data = _frames(picture)
    encoded = builders.written(data) if syntax == ExplicitVRLittleEndian else builders.compressed(data, syntax)
    frames = read(encoded, name="cine.dcm")
    assert [frame.source for frame in frames] == ["cine.dcm", "cine.dcm#2", "cine.dcm#3"]
    for frame, expected in zip(frames, (picture, picture[::-1], picture[:, ::-1]), strict=True):
        np.testing.assert_array_equal(frame.as_uint8(), expected)


def test_frames_are_decoded_one_by_one(picture: builders.Picture) -> None:
    data = _frames(picture)
    good = builders.compressed(data, JPEGLSLossless)
    last = list(generate_frames(dcmread_bytes(good).PixelData, number_of_frames=3))[2]
    broken = good.replace(last[30:60], bytes(30))
    iterator = read_pages(broken)
    assert next(iterator).page == 0
    assert next(iterator).page == 1
    with pytest.raises(InvalidImage):
        next(iterator)


def dcmread_bytes(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def test_enhanced_objects_have_a_window_for_each_frame(picture: builders.Picture) -> None:
    data = builders.dataset(np.stack([builders.stored(picture)] * 2), BitsStored=12, NumberOfFrames=2)
    groups = []
    for center in (2048.0, 1024.0):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 2 * center
        group.FrameVOILUTSequence = Sequence([window])
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    whole, lower = read(builders.written(data))
    np.testing.assert_array_equal(whole.as_uint8(), picture)
    dark = picture < 120
    np.testing.assert_allclose(lower.pixels[dark], whole.pixels[dark] * 2.0, atol=80)
    assert (lower.pixels[picture > 130] == 65535).all()


# Missing and contradictory attributes


@pytest.mark.parametrize(
    "missing", ["PhotometricInterpretation", "SamplesPerPixel", "PixelRepresentation", "HighBit", "BitsStored"]
)
def test_a_missing_attribute_with_one_possible_value(missing: str, picture: builders.Picture) -> None:
    data = builders.grey12(picture, **{missing: None})
    np.testing.assert_array_equal(read(builders.written(data))[0].as_uint8(), picture)


@pytest.mark.parametrize(
    "wrong",
    [
        {"BitsStored": 20},
        {"BitsAllocated": 8},
        {"HighBit": 15},
        {"SamplesPerPixel": 1, "PhotometricInterpretation": "RGB"},
        {"NumberOfFrames": 0},
        {"PlanarConfiguration": 1},
    ],
    ids=str,
)
def test_a_contradiction_whose_truth_shows(wrong: dict[str, Any], picture: builders.Picture) -> None:
    data = builders.grey12(picture)
    for keyword, value in wrong.items():
        setattr(data, keyword, value)
    np.testing.assert_array_equal(read(builders.written(data))[0].as_uint8(), picture)


def test_values_with_carried_sign_are_signed_whatever_the_file_says(picture: builders.Picture) -> None:
    values = builders.stored(picture).astype(np.int16) - 2048
    data = builders.dataset(values, BitsStored=12, RescaleSlope=1, RescaleIntercept=2048, **builders.window())
    data.PixelRepresentation = 0
    np.testing.assert_array_equal(read(builders.written(data))[0].as_uint8(), picture)


def test_bits_above_the_stored_ones_are_dropped(picture: builders.Picture) -> None:
    values = builders.stored(picture) | np.uint16(0x1000)
    values[::2] ^= 0x1000
    data = builders.dataset(values, BitsStored=12, **builders.window())
    np.testing.assert_array_equal(read(builders.written(data))[0].as_uint8(), picture)


def test_a_codestream_is_believed_before_rows_and_columns(picture: builders.Picture) -> None:
    data = dcmread_bytes(builders.compressed(builders.grey12(picture), JPEG2000Lossless))
    data.Rows, data.Columns = 7, 9
    np.testing.assert_array_equal(read(builders.written(data))[0].as_uint8(), picture)


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_bare_data_set_is_read(preamble: bool, syntax: str, picture: builders.Picture) -> None:
    data = builders.written(builders.grey12(picture), syntax=syntax, meta=False)
    encoded = bytes(128) + b"DICM" + data if preamble else data
    np.testing.assert_array_equal(read(encoded)[0].as_uint8(), picture)


def test_a_compressed_file_without_a_transfer_syntax_is_told_by_its_frames(picture: builders.Picture) -> None:
    for name in ("dicom jpeg-ls", "dicom jpeg 2000", "dicom jpeg lossless", "dicom rle"):
        data = dcmread_bytes(DICOM[name](picture))
        buffer = builders.written(data, meta=False)
        np.testing.assert_array_equal(read(buffer)[0].as_uint8(), picture, err_msg=name)


# What cannot be read


@pytest.mark.parametrize("name", sorted(DICOM))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused_never_filled(name: str, share: float, picture: builders.Picture) -> None:
    data = DICOM[name](picture)
    with pytest.raises(InvalidImage) as caught:
        read(data[: int(len(data) * share)])
    assert caught.value.hint


def test_wrong_rows_are_told_with_both_lengths(picture: builders.Picture) -> None:
    data = builders.grey12(picture)
    data.Rows = 500
    with pytest.raises(InvalidImage, match="21600 bytes, expected 90000"):
        read(builders.written(data))


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_missing_sides_are_named(keyword: str, picture: builders.Picture) -> None:
    with pytest.raises(InvalidImage, match=keyword):
        read(builders.written(builders.grey12(picture, **{keyword: None})))


def _without_pixels(sop_class: str, **attributes: Any) -> bytes:
    data = builders.grey12(np.zeros((4, 4), np.uint8))
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(data, keyword)
    data.SOPClassUID = sop_class
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return builders.written(data)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (_without_pixels("1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=b"%PDF"), "document"),
        (_without_pixels("1.2.840.10008.5.1.4.1.1.88.11", ContentSequence=[Dataset()]), "structured report"),
        (_without_pixels("1.2.840.10008.5.1.4.1.1.9.1.1", WaveformSequence=[Dataset()]), "waveform"),
        (_without_pixels("1.2.840.10008.5.1.4.1.1.11.1"), "Presentation State"),
    ],
    ids=["pdf", "sr", "ecg", "gsps"],
)
def test_an_object_that_is_no_picture_is_named(data: bytes, named: str) -> None:
    with pytest.raises(UnsupportedDicom, match=named) as caught:
        read(data)
    assert caught.value.hint


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.107"])
def test_a_video_is_named(syntax: str, picture: builders.Picture) -> None:
    with pytest.raises(UnsupportedDicom, match="video"):
        read(builders.encapsulated(builders.dataset(picture), syntax, bytes(64)))


def test_an_unknown_transfer_syntax_is_named(picture: builders.Picture) -> None:
    with pytest.raises(UnsupportedDicom, match=r"1\.2\.840\.10008\.1\.2\.4\.92"):
        read(builders.encapsulated(builders.dataset(picture), "1.2.840.10008.1.2.4.92", bytes(64)))


def test_a_codestream_larger_than_the_limit_is_refused_before_decoding() -> None:
    frame = bytearray(builders.raster(np.zeros((16, 16), np.uint8), "JPEG"))
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    data = builders.encapsulated(builders.dataset(np.zeros((16, 16), np.uint8)), JPEGBaseline8Bit, bytes(frame))
    with pytest.raises(ImageTooLarge, match="60000x60000"):
        read(data)


def test_frames_and_inflated_bytes_are_limited(picture: builders.Picture) -> None:
    data = _frames(picture)
    with pytest.raises(ImageTooLarge, match="more than 2"):
        next(read_pages(builders.written(data), limits=Limits(max_pages=2)))
    bomb = builders.written(builders.dataset(np.zeros((2000, 2000), np.uint16)), syntax=DeflatedExplicitVRLittleEndian)
    assert len(bomb) < 50_000
    with pytest.raises(ImageTooLarge, match="MiB"):
        read(bomb, limits=Limits(max_bytes=1_000_000))


def test_errors_and_sources_never_name_the_patient(picture: builders.Picture) -> None:
    data = builders.written(builders.grey12(picture))
    for cut in range(200, len(data), 997):
        with pytest.raises(InvalidImage) as caught:
            read(data[:cut], name="upload")
        assert not any(word in f"{caught.value} {caught.value.hint}" for word in ("Doe", "SECRET"))
    assert "Doe" not in repr(read(data, name="upload")[0])


def test_a_damaged_length_draws_no_patient_into_the_message(picture: builders.Picture) -> None:
    """Found by the property test below: a SOP class that swallowed the rest of the file was quoted."""
    data = bytearray(builders.written(builders.grey12(picture)))
    at = data.index(b"\x08\x00\x16\x00UI") + 6
    data[at : at + 2] = (2000).to_bytes(2, "little")
    with pytest.raises(InvalidImage) as caught:
        read(bytes(data))
    assert "SECRET" not in str(caught.value)
    assert len(caught.value.message) < 200


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_files_raise_nothing_but_our_errors(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(DICOM)))
    mutated = builders.mutated(data, DICOM[name](builders.drawing(40, 36).pixels))
    try:
        read(mutated)
    except OsteonError as error:
        assert error.hint
        assert "SECRET" not in str(error)


@settings(max_examples=60, deadline=None)
@given(
    center=st.floats(-5000, 9000),
    width=st.floats(-10, 9000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
def test_brighter_values_stay_brighter(center: float, width: float, function: str, photometric: str) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    attributes = {"WindowCenter": round(center, 3), "WindowWidth": round(width, 3), "VOILUTFunction": function}
    data = builders.dataset(values, BitsStored=12, PhotometricInterpretation=photometric, **attributes)
    steps = np.diff(grey(data).ravel().astype(int))
    assert (steps >= 0).all() if photometric == "MONOCHROME2" else (steps <= 0).all()
    assert steps.any()


# Real files


def _sample(name: str) -> Path:
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pydicom-data is not installed (osteon[samples])")
    return Path(next(iter(spec.submodule_search_locations))) / "data" / name


@pytest.mark.parametrize("name", ["RG1", "RG3"])
def test_real_radiographs_are_the_same_compressed(name: str) -> None:
    for kind, tolerance in (("R", 0), ("I", 2)):
        plain = read(_sample(f"{name}_UNC{kind}.dcm"))[0]
        packed = read(_sample(f"{name}_J2K{kind}.dcm"))[0]
        assert plain.modality == "CR"
        difference = np.abs(plain.as_uint8().astype(int) - packed.as_uint8())
        assert difference.max() <= tolerance


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("RG1_UNCR.dcm", "+Wi"),
        ("RG3_UNCI.dcm", "+Wi"),
        ("693_UNCR.dcm", "+Wi"),
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", "+Wi"),
        ("vlut_04.dcm", "+Wl"),
        ("mlut_18.dcm", "+Wm"),
        ("JPEG-LL.dcm", "+Wm"),
        ("emri_small_big_endian.dcm", "+Wm"),
        ("OBXXXX1A_rle.dcm", "+Wm"),
        ("OT-PAL-8-face.dcm", "+Wm"),
    ],
)
def test_real_files_look_as_in_dcmtk(name: str, option: str, tmp_path: Path) -> None:
    tool = shutil.which("dcmj2pnm")
    if tool is None:
        pytest.skip("dcmj2pnm (dcmtk) is not installed")
    path, out = _sample(name), tmp_path / "reference.pnm"
    number = [] if option == "+Wm" else ["1"]
    subprocess.run([tool, "-O", "+op", option, *number, path, out], check=True, capture_output=True)
    with Image.open(out) as image:
        reference = np.asarray(image.convert("L"))
    seen = next(read_pages(path)).as_uint8()
    assert np.abs(seen.astype(int) - reference).max() <= 1


def test_jpeg_lossless_by_dcmtk_reads_as_uncompressed(tmp_path: Path) -> None:
    tool = shutil.which("dcmcjpeg")
    if tool is None:
        pytest.skip("dcmcjpeg (dcmtk) is not installed")
    source = _sample("RG3_UNCI.dcm")
    expected = read(source)[0].pixels
    for options in (["+e1"], ["+el", "+sv", "4"], ["+el", "+sv", "7"]):
        out = tmp_path / "lossless.dcm"
        subprocess.run([tool, *options, source, out], check=True, capture_output=True)
        np.testing.assert_array_equal(read(out)[0].pixels, expected)


def test_real_files_of_every_kind_are_read() -> None:
    damaged = {"emri_small_jpeg_2k_lossless_too_short.dcm"}
    folder = _sample("RG1_UNCR.dcm").parent
    paths = sorted(folder.glob("*.dcm"))
    assert len(paths) > 60
    for path in paths:
        if path.name in damaged:
            with pytest.raises(InvalidImage):
                read(path)
        else:
            first = next(read_pages(path, limits=Limits(max_pages=500)))
            assert np.ptp(first.pixels) > 0, path.name
