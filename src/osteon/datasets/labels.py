"""What the labels of sources mean to Osteon."""

from collections.abc import Iterable

from osteon.datasets.case import Instance

FRACTURE = "fracture"
FRACTURE_LABELS = frozenset({"fracture", "fractured"})
IGNORE = "ignore"


def shows_fracture(instances: Iterable[Instance] | None) -> bool | None:
    """True where a fracture is marked, else None: that nobody marked one does not say that there is none."""
    marked = (item.label.lower() in FRACTURE_LABELS and not item.ignore for item in instances or ())
    return True if any(marked) else None
