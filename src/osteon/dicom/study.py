"""Which files are views of one study: told without telling which study."""

import hmac
from io import BytesIO

import pydicom
from pydicom.uid import UID

from osteon.dicom.dataset import DAMAGE

_DIGITS = 32


def study_of(data: bytes, *, salt: str) -> str:
    """A salted hash of a DICOM file's StudyInstanceUID, 32 hexadecimal digits; "" where there is none to read.

    Files of one study have the same hash under the same salt; the UID cannot be told from it.
    """
    try:
        dataset = pydicom.dcmread(BytesIO(data), specific_tags=["StudyInstanceUID"], stop_before_pixels=True)
        uid = dataset.get("StudyInstanceUID")
    except DAMAGE:
        return ""
    if not isinstance(uid, str) or not UID(uid).is_valid:
        return ""
    return hmac.digest(salt.encode(), uid.encode(), "sha256").hex()[:_DIGITS]
