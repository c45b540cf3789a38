"""Any file -> `Radiograph`, and overlays out."""

from osteon.files.reader import read, read_pages
from osteon.files.search import find
from osteon.limits import Limits

__all__ = ["Limits", "find", "read", "read_pages"]
