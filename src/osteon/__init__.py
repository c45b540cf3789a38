"""Osteon: bones, and suspected fractures, on plain radiographs, in two stages, on two processor cores.

>>> import osteon
>>> pipeline = osteon.Pipeline.bundled()  # doctest: +SKIP
>>> for radiograph in osteon.read(Path("wrist.dcm")):  # doctest: +SKIP
...     print(pipeline.analyse(radiograph).decision)

Decision support for research. Not a medical device; not for diagnosis.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osteon.errors import InvalidImage, OsteonError
    from osteon.files import find, read, read_pages
    from osteon.findings import BoneEvidence, Findings, Fracture
    from osteon.inference.pipeline import Pipeline
    from osteon.limits import Limits
    from osteon.radiograph import Radiograph

__all__ = [
    "BoneEvidence",
    "Findings",
    "Fracture",
    "InvalidImage",
    "Limits",
    "OsteonError",
    "Pipeline",
    "Radiograph",
    "find",
    "read",
    "read_pages",
]

_HOMES = {
    "osteon.errors": ("InvalidImage", "OsteonError"),
    "osteon.files": ("find", "read", "read_pages"),
    "osteon.findings": ("BoneEvidence", "Findings", "Fracture"),
    "osteon.inference.pipeline": ("Pipeline",),
    "osteon.limits": ("Limits",),
    "osteon.radiograph": ("Radiograph",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, its module imported on first use: `import osteon` alone costs nothing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'osteon' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
