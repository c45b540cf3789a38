"""What a file is, told by its content; its name is never asked."""

import re
from typing import Literal, get_args

from osteon.errors import InvalidImage

RasterFormat = Literal["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"]
Format = Literal["DICOM"] | RasterFormat

RASTER_FORMATS: tuple[RasterFormat, ...] = get_args(RasterFormat)

_RASTER_MAGIC: tuple[tuple[bytes, RasterFormat], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
)

_EXPORT = "export the picture as DICOM, PNG, JPEG or TIFF and send that"
_UNPACK = "unpack it and send the pictures inside"

_FOREIGN_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"PK\x03\x04", "a ZIP archive (or an office document)", _UNPACK),
    (b"PK\x05\x06", "an empty ZIP archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document (old or password-protected)", _EXPORT),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"\x1f\x8b", "gzip-compressed data", _UNPACK),
    (b"BZh", "bzip2-compressed data", _UNPACK),
    (b"\xfd7zXZ\x00", "xz-compressed data", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "Zstandard-compressed data", _UNPACK),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 picture outside DICOM", _EXPORT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream outside DICOM", _EXPORT),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture", _EXPORT),
    (b"\xff\x0a", "a JPEG XL picture", _EXPORT),
    (b"8BPS", "a Photoshop document", _EXPORT),
    (b"%!PS", "a PostScript document", _EXPORT),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video", "send a still picture"),
    (b"\x00\x00\x01\xba", "an MPEG video", "send a still picture"),
    (b"\x00\x00\x01\xb3", "an MPEG video", "send a still picture"),
    (b"SQLite format 3\x00", "a SQLite database", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _EXPORT),
    (b"NRRD", "an NRRD volume", _EXPORT),
    (b"\x7fELF", "a program", _EXPORT),
    (b"MZ", "a program", _EXPORT),
    (b"Salted__", "encrypted data", "decrypt it and send the picture"),
    (b"-----BEGIN PGP", "encrypted data", "decrypt it and send the picture"),
    (b"age-encryption.org", "encrypted data", "decrypt it and send the picture"),
)

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
_MARKUP = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body|svg|\?xml)", re.IGNORECASE)
_IMPLICIT_LENGTH_LIMIT = 1024


def sniff(data: bytes) -> Format:
    """The format of a file's bytes.

    Raises:
        InvalidImage: empty, or no picture Osteon reads; the message says what it is where that can be told.

    >>> sniff(b"GIF89a...")
    'GIF'
    """
    if not data:
        raise InvalidImage("empty file", hint="send the original export; the copy or upload may have failed")
    if data[128:132] == b"DICM":
        return "DICOM"
    for magic, name in _RASTER_MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if _bare_dicom(data):
        return "DICOM"
    found, hint = _foreign(data)
    raise InvalidImage(f"{found}, expected a picture", hint=hint)


def _bare_dicom(data: bytes) -> bool:
    """A data set without preamble: it starts with group 0002 or 0008 and a plausible value representation."""
    if len(data) < 16:
        return False
    order: Literal["little", "big"] = "little" if data[0] else "big"
    group = int.from_bytes(data[0:2], order)
    element = int.from_bytes(data[2:4], order)
    if group not in (0x0002, 0x0008) or element > 0x0070:
        return False
    explicit = data[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH", b"DA", b"TM", b"LO", b"DT", b"PN")
    return explicit or int.from_bytes(data[4:8], order) <= _IMPLICIT_LENGTH_LIMIT


def _foreign(data: bytes) -> tuple[str, str]:
    """What the bytes are instead of a picture, and what to do about it."""
    for magic, found, hint in _FOREIGN_MAGIC:
        if data.startswith(magic):
            encrypted = magic == b"PK\x03\x04" and data[6:7] and data[6] & 1
            return ("an encrypted ZIP archive", "decrypt and unpack it") if encrypted else (found, hint)
    if data[4:8] == b"ftyp":
        return _iso_media(data[8:12])
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "an AVI video", "send a still picture"
    if data[344:347] in (b"n+1", b"ni1"):
        return "a NIfTI volume", _EXPORT
    if _MARKUP.match(data[:256]):
        return "a web page or other markup", "save the picture itself, not the page around it"
    if _looks_like_text(data[:4096]):
        return "text", _EXPORT
    return "bytes of no known picture format (perhaps damaged or encrypted)", _EXPORT


def _iso_media(brand: bytes) -> tuple[str, str]:
    if brand in _HEIF_BRANDS:
        return "a HEIC picture", "export it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)"
    if brand in (b"avif", b"avis"):
        return "an AVIF picture", _EXPORT
    return "an MP4 or QuickTime video", "send a still picture"


def _looks_like_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as cut:
        if cut.start < len(head) - 3:
            return False
        text = head[: cut.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
