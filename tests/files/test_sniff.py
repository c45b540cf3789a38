import zipfile
from io import BytesIO

import numpy as np
import pytest

import builders
from osteon.errors import InvalidImage
from osteon.files import read
from osteon.files.sniff import sniff


def test_each_format_is_told_by_its_content(picture: builders.Picture) -> None:
    told = {kind: sniff(builders.raster(picture, kind)) for kind in ("JPEG", "PNG", "TIFF", "BMP", "GIF")}
    assert told == {kind: kind for kind in told}
    assert sniff(builders.raster(picture, "WEBP", "RGB")) == "WEBP"
    assert sniff(builders.written(builders.dataset(picture))) == "DICOM"


def _zip(*, encrypted: bool) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("study.dcm", b"bytes")
    data = bytearray(buffer.getvalue())
    data[6] |= encrypted
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty file"),
        (b"%PDF-1.7 ...", "PDF"),
        (_zip(encrypted=False), "ZIP archive"),
        (_zip(encrypted=True), "encrypted ZIP"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "password-protected"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00", "AVIF"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00", "video"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "AVI video"),
        (b"\x1aE\xdf\xa3" + bytes(20), "WebM"),
        (b"  <!DOCTYPE html><html>", "web page"),
        (b'<?xml version="1.0"?><svg/>', "markup"),
        ("Заключение: перелом лучевой кости".encode(), "text"),
        (("ы" * 2048 + "я")[:2049].encode()[:4097], "text"),
        (b"Salted__" + bytes(range(64)), "encrypted"),
        (bytes(344) + b"n+1\x00", "NIfTI"),
        (np.random.default_rng(1).bytes(5000), "no known picture format"),
        (bytes(5000), "no known picture format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_picture_is_named_and_comes_with_a_hint(data: bytes, named: str) -> None:
    with pytest.raises(InvalidImage, match=named) as caught:
        read(data)
    assert caught.value.hint
