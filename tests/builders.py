"""Pictures drawn with known truth, and encoders of one grey picture into every format that Osteon reads.

An encoder takes a (height, width) uint8 picture and gives a file's bytes; `EXACT` ones must read back as the same
picture (after `Radiograph.as_uint8`), `LOSSY` ones within the grey levels named with them.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import imagecodecs
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

Picture = NDArray[np.uint8]
Encoder = Callable[[Picture], bytes]


@dataclass(frozen=True)
class Drawing:
    """A drawn radiograph: its pixels, where bone is, and the box around its fracture."""

    pixels: Picture
    bone: NDArray[np.bool_]
    fracture_xyxy_px: tuple[float, float, float, float]


def drawing(height_px: int = 120, width_px: int = 90, *, seed: int = 7) -> Drawing:
    """Two bright shafts in grey flesh, one of them broken; no symmetry, from full black to full white."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    flesh = (columns > 0.15 * width_px) & (columns < 0.9 * width_px)
    bone = (np.abs(columns - 0.4 * width_px - 0.05 * rows) < 0.08 * width_px) | (
        np.abs(columns - 0.72 * width_px) < 0.05 * width_px
    )
    break_row = round(0.6 * height_px)
    gap = bone & (np.abs(rows - break_row - 0.3 * (columns - 0.4 * width_px)) < 2) & (columns < 0.6 * width_px)
    pixels = 10.0 + 70 * flesh + 120 * bone - 90 * gap + rng.normal(0, 3, (height_px, width_px))
    pixels = cv2.GaussianBlur(pixels.clip(0, 255).astype(np.uint8), (3, 3), 0)
    pixels[0, :4], pixels[1, :6] = 0, 255
    cut_rows, cut_columns = np.nonzero(gap)
    box = (cut_columns.min() - 3, cut_rows.min() - 3, cut_columns.max() + 4, cut_rows.max() + 4)
    return Drawing(pixels, bone, tuple(float(value) for value in box))


# Raster


def raster(pixels: NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    """A file by Pillow; `mode` converts the picture first."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def deep(picture: Picture) -> NDArray[np.uint16]:
    """The picture with 16 bits."""
    return picture.astype(np.uint16) * 257


def with_alpha(picture: Picture, alpha: NDArray[np.uint8] | int = 255) -> Image.Image:
    """Grey with transparency."""
    grey = Image.fromarray(picture).convert("LA")
    grey.putalpha(Image.fromarray(np.broadcast_to(np.uint8(alpha), picture.shape).copy()))
    return grey


def _save(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _opencv(picture: NDArray[Any], ending: str) -> bytes:
    done, encoded = cv2.imencode(ending, picture)
    assert done
    return encoded.tobytes()


def tiff16(
    values: NDArray[np.uint16], *, order: Literal["big", "little"], photometric: int = 1, bits: int = 16
) -> bytes:
    """An uncompressed TIFF written by hand, in either byte order; photometric 0 is white-is-zero."""
    height, width = values.shape
    pixels = values.astype(">u2" if order == "big" else "<u2").tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, 16), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(pixels))]
    directory = len(tags).to_bytes(2, order)
    for tag, kind, value in tags:
        field = value.to_bytes(2, order) + b"\0\0" if kind == 3 else value.to_bytes(4, order)
        directory += tag.to_bytes(2, order) + kind.to_bytes(2, order) + (1).to_bytes(4, order) + field
    magic = b"MM\0*" if order == "big" else b"II*\0"
    return magic + (8).to_bytes(4, order) + directory + bytes(4) + pixels


def _cmyk(picture: Picture) -> Image.Image:
    black = Image.fromarray(255 - picture)
    none = Image.new("L", black.size)
    return Image.merge("CMYK", (none, none, none, black))


def pages(*pictures: NDArray[Any]) -> bytes:
    """A TIFF of several pages."""
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    return _save(first, "TIFF", save_all=True, append_images=rest)


def turned(picture: Picture, orientation: int, kind: str = "PNG", **options: Any) -> bytes:
    """A file stored so that its EXIF orientation brings back the picture."""
    stored = picture[::-1] if orientation in (3, 4, 7, 8) else picture
    stored = stored[:, ::-1] if orientation in (2, 3, 6, 7) else stored
    stored = stored.T if orientation >= 5 else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _save(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)


# DICOM

STORED_BITS = 12


def stored(picture: Picture, bits: int = STORED_BITS) -> NDArray[np.uint16]:
    """The picture's values over the whole range of `bits`."""
    white = (1 << bits) - 1
    return ((picture.astype(np.uint32) * white + 127) // 255).astype(np.uint16)


def dataset(values: NDArray[Any], **attributes: Any) -> Dataset:
    """A digital X-ray object: (h, w), (frames, h, w) with `NumberOfFrames`, or (h, w, 3) with `SamplesPerPixel`.

    Without further attributes the full range of the values' bits is the window. An attribute of None is left out.
    """
    bits = values.dtype.itemsize * 8
    colour = attributes.get("SamplesPerPixel") == 3
    rows, columns = values.shape[-3:-1] if colour else values.shape[-2:]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = DigitalXRayImageStorageForPresentation
    data.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    data.PatientName, data.PatientID = "Doe^Jane", "SECRET-4711"
    data.Modality, data.BodyPartExamined, data.ViewPosition, data.ImageLaterality = "DX", "WRIST", "PA", "L"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = rows, columns
    data.BitsAllocated, data.PixelRepresentation = bits, int(values.dtype.kind == "i")
    data.BitsStored = bits
    data.HighBit = (attributes.get("BitsStored") or bits) - 1
    data.add_new((0x7FE0, 0x0010), "OB" if bits == 8 else "OW", values.tobytes() + b"\0" * (values.nbytes % 2))
    for keyword, value in attributes.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    return data


def written(data: Dataset, *, syntax: str | None = None, preamble: bool = True, meta: bool = True) -> bytes:
    """The bytes of a DICOM file."""
    uid = syntax or data.file_meta.TransferSyntaxUID
    data.file_meta.TransferSyntaxUID = uid
    buffer = io.BytesIO()
    implicit, little = uid == ImplicitVRLittleEndian, uid != ExplicitVRBigEndian
    if preamble and meta:
        data.save_as(buffer, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
        return buffer.getvalue()
    if not meta:
        del data.file_meta
    data.save_as(buffer, implicit_vr=implicit, little_endian=little)
    return buffer.getvalue()


def window(bits: int = STORED_BITS) -> dict[str, float]:
    """A window over the whole range of `bits`."""
    return {"WindowCenter": float(1 << (bits - 1)), "WindowWidth": float(1 << bits)}


def grey12(picture: Picture, **attributes: Any) -> Dataset:
    """12 bits stored in 16, with a window over all of them."""
    return dataset(stored(picture), **{"BitsStored": STORED_BITS, **window(), **attributes})


def encapsulated(data: Dataset, syntax: str, *frames: bytes) -> bytes:
    """A file whose pixel data are these compressed frames."""
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate(list(frames))
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return written(data)


def compressed(data: Dataset, syntax: str, **options: Any) -> bytes:
    """A file compressed by pydicom's own encoders (OpenJPEG, CharLS, RLE)."""
    data.compress(syntax, generate_instance_uid=False, **options)
    return written(data)


def big_endian(data: Dataset) -> bytes:
    """A file in the retired explicit big endian syntax."""
    data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    return written(data, syntax=ExplicitVRBigEndian)


def lut(first: int, entries: NDArray[Any], *, bits: int = 16) -> Dataset:
    """An item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.add_new((0x0028, 0x3002), "US", [len(entries) & 0xFFFF, first, bits])
    item.add_new((0x0028, 0x3006), "OW", entries.astype("<u2").tobytes())
    return item


def _negative(picture: Picture) -> Dataset:
    return dataset(4095 - stored(picture), BitsStored=12, PhotometricInterpretation="MONOCHROME1", **window())


def _hounsfield(picture: Picture) -> Dataset:
    """Signed values, brought to 0..4095 by the rescale."""
    values = stored(picture).astype(np.int16) - 2048
    return dataset(values, BitsStored=12, RescaleSlope=2.0, RescaleIntercept=4096.0, **window(13))


def _modality_lut(picture: Picture) -> Dataset:
    """Stored values run backwards; the modality LUT puts them right."""
    table = lut(0, np.arange(4095, -1, -1))
    return dataset(4095 - stored(picture), BitsStored=12, ModalityLUTSequence=[table], **window())


def _voi_lut(picture: Picture) -> Dataset:
    """Stored values are offset by 1000; the VOI LUT, which beats the misleading window, takes that back."""
    table = lut(1000, np.arange(3000) * 65535 // 2999)
    values = 1000 + (picture.astype(np.uint32) * 2999 + 127) // 255
    return dataset(values.astype(np.uint16), BitsStored=12, VOILUTSequence=[table], WindowCenter=9.0, WindowWidth=2.0)


def rgb(picture: Picture, **attributes: Any) -> Dataset:
    """Grey as RGB."""
    values = np.repeat(picture[..., None], 3, axis=2)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return dataset(values, **{**colour, **attributes})


def _planar(picture: Picture) -> Dataset:
    data = rgb(picture, PlanarConfiguration=1)
    data.PixelData = np.stack([picture] * 3).tobytes()
    return data


def _ybr(picture: Picture) -> Dataset:
    grey = np.full_like(picture, 128)
    return rgb(picture, PhotometricInterpretation="YBR_FULL", PixelData=np.dstack([picture, grey, grey]).tobytes())


def _ybr_422(picture: Picture) -> Dataset:
    pairs = np.full((picture.size // 2, 4), 128, np.uint8)
    pairs[:, :2] = picture.reshape(-1, 2)
    return rgb(picture, PhotometricInterpretation="YBR_FULL_422", PixelData=pairs.tobytes())


def _palette(picture: Picture) -> Dataset:
    """Codes that run backwards through a grey palette."""
    data = dataset(255 - picture, PhotometricInterpretation="PALETTE COLOR")
    table = (np.arange(255, -1, -1).astype(np.uint16) * 257).astype("<u2").tobytes()
    for element in (0x1101, 0x1102, 0x1103):
        data.add_new((0x0028, element), "US", [256, 0, 16])
        data.add_new((0x0028, element + 0x100), "OW", table)
    return data


def jpeg_lossless(data: Dataset, values: NDArray[Any], *, bits: int, predictor: int = 1) -> bytes:
    """JPEG process 14."""
    frame = imagecodecs.jpeg8_encode(values, lossless=True, predictor=predictor, bitspersample=bits)
    return encapsulated(data, JPEGLosslessSV1 if predictor == 1 else JPEGLossless, bytes(frame))


def _jpeg_extended(picture: Picture) -> bytes:
    frame = imagecodecs.jpeg8_encode(stored(picture), 98, bitspersample=12)
    return encapsulated(grey12(picture), JPEGExtended12Bit, bytes(frame))


def _high_bits(picture: Picture) -> Dataset:
    """12 bits stored in the upper part of 16."""
    data = dataset(stored(picture) << 4, BitsStored=12, **window())
    data.HighBit = 15
    return data


EXACT: dict[str, Encoder] = {
    "png": lambda p: raster(p, "PNG"),
    "png 16": lambda p: raster(deep(p), "PNG"),
    "png rgb": lambda p: raster(p, "PNG", "RGB"),
    "png rgb 16": lambda p: _opencv(np.repeat(deep(p)[..., None], 3, axis=2), ".png"),
    "png rgba 16": lambda p: _opencv(np.dstack([deep(p)] * 3 + [np.full(p.shape, 65535, np.uint16)]), ".png"),
    "png rgba": lambda p: raster(p, "PNG", "RGBA"),
    "png grey alpha": lambda p: _save(with_alpha(p), "PNG"),
    "png palette": lambda p: raster(p, "PNG", "P"),
    "png exif 6": lambda p: turned(p, 6),
    "tiff": lambda p: raster(p, "TIFF"),
    "tiff lzw": lambda p: raster(p, "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda p: raster(p, "TIFF", compression="tiff_adobe_deflate"),
    "tiff packbits": lambda p: raster(p, "TIFF", compression="packbits"),
    "tiff 16": lambda p: raster(deep(p), "TIFF"),
    "tiff 16 big endian": lambda p: tiff16(deep(p), order="big"),
    "tiff 16 white is zero": lambda p: tiff16(65535 - deep(p), order="little", photometric=0),
    "tiff 16 lzw": lambda p: raster(deep(p), "TIFF", compression="tiff_lzw"),
    "tiff 32 whole": lambda p: raster(deep(p).astype(np.int32), "TIFF"),
    "tiff float": lambda p: raster((p / 255).astype(np.float32), "TIFF"),
    "tiff rgb 16": lambda p: _opencv(np.repeat(deep(p)[..., None], 3, axis=2), ".tiff"),
    "tiff white is zero": lambda p: raster(p, "TIFF", tiffinfo={262: 0}),
    "tiff cmyk": lambda p: _save(_cmyk(p), "TIFF"),
    "tiff exif 8": lambda p: turned(p, 8, "TIFF"),
    "bmp": lambda p: raster(p, "BMP"),
    "bmp rgb": lambda p: raster(p, "BMP", "RGB"),
    "webp lossless": lambda p: raster(p, "WEBP", "RGB", lossless=True),
    "webp exif 7": lambda p: turned(p, 7, "WEBP", lossless=True),
    "gif": lambda p: raster(p, "GIF"),
    "dicom 8": lambda p: written(dataset(p)),
    "dicom explicit": lambda p: written(grey12(p)),
    "dicom implicit": lambda p: written(grey12(p), syntax=ImplicitVRLittleEndian),
    "dicom big endian": lambda p: big_endian(grey12(p)),
    "dicom deflated": lambda p: written(grey12(p), syntax=DeflatedExplicitVRLittleEndian),
    "dicom 16": lambda p: written(dataset(deep(p))),
    "dicom 32": lambda p: written(dataset(deep(p).astype(np.uint32) * 3, WindowCenter=98303.0, WindowWidth=196606.0)),
    "dicom high bits": lambda p: written(_high_bits(p)),
    "dicom monochrome1": lambda p: written(_negative(p)),
    "dicom rescale": lambda p: written(_hounsfield(p)),
    "dicom modality lut": lambda p: written(_modality_lut(p)),
    "dicom voi lut": lambda p: written(_voi_lut(p)),
    "dicom rgb": lambda p: written(rgb(p)),
    "dicom rgb planar": lambda p: written(_planar(p)),
    "dicom ybr": lambda p: written(_ybr(p)),
    "dicom ybr 422": lambda p: written(_ybr_422(p)),
    "dicom palette": lambda p: written(_palette(p)),
    "dicom rle": lambda p: compressed(grey12(p), RLELossless),
    "dicom rle 8": lambda p: compressed(dataset(p), RLELossless),
    "dicom rle rgb": lambda p: compressed(rgb(p), RLELossless),
    "dicom jpeg lossless": lambda p: jpeg_lossless(grey12(p), stored(p), bits=12),
    "dicom jpeg lossless 16": lambda p: jpeg_lossless(dataset(deep(p)), deep(p), bits=16),
    "dicom jpeg lossless 8": lambda p: jpeg_lossless(dataset(p), p, bits=8),
    "dicom jpeg lossless predictor 6": lambda p: jpeg_lossless(grey12(p), stored(p), bits=12, predictor=6),
    "dicom jpeg-ls": lambda p: compressed(grey12(p), JPEGLSLossless),
    "dicom jpeg-ls rgb": lambda p: compressed(rgb(p), JPEGLSLossless),
    "dicom jpeg 2000": lambda p: compressed(grey12(p), JPEG2000Lossless),
    "dicom jpeg 2000 signed": lambda p: compressed(_hounsfield(p), JPEG2000Lossless),
    "dicom jpeg 2000 rgb": lambda p: compressed(rgb(p), JPEG2000Lossless),
    "dicom high throughput jpeg 2000": lambda p: encapsulated(
        grey12(p), HTJ2KLossless, bytes(imagecodecs.htj2k_encode(stored(p), reversible=True))
    ),
    "dicom without preamble": lambda p: written(grey12(p), preamble=False, meta=False),
}

LOSSY: dict[str, tuple[Encoder, int]] = {
    "jpeg": (lambda p: raster(p, "JPEG", quality=95), 8),
    "jpeg rgb": (lambda p: raster(p, "JPEG", "RGB", quality=95), 8),
    "jpeg progressive": (lambda p: raster(p, "JPEG", "RGB", quality=95, progressive=True), 8),
    "jpeg cmyk": (lambda p: _save(_cmyk(p), "JPEG", quality=95), 8),
    "jpeg exif 5": (lambda p: turned(p, 5, "JPEG", quality=95), 8),
    "tiff jpeg": (lambda p: raster(p, "TIFF", "RGB", compression="jpeg", quality=95), 8),
    "webp": (lambda p: raster(p, "WEBP", "RGB", quality=95), 16),
    "dicom jpeg": (lambda p: encapsulated(dataset(p), JPEGBaseline8Bit, raster(p, "JPEG", quality=95)), 8),
    "dicom jpeg ybr": (
        lambda p: encapsulated(
            rgb(p, PhotometricInterpretation="YBR_FULL_422"), JPEGBaseline8Bit, raster(p, "JPEG", "RGB", quality=95)
        ),
        8,
    ),
    "dicom jpeg 12": (_jpeg_extended, 8),
    "dicom jpeg 2000 lossy": (lambda p: compressed(grey12(p), JPEG2000, j2k_cr=[4]), 12),
}


def mutated(data: Any, encoded: bytes) -> bytes:
    """A file with some bytes changed, some left out, or its end cut off, as hypothesis draws it (`st.data()`)."""
    damaged = bytearray(encoded)
    for _ in range(data.draw(st.integers(0, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(damaged)))
    length = data.draw(st.sampled_from((0, 0, 1, 7, len(damaged))))
    del damaged[start : start + length]
    return bytes(damaged)
