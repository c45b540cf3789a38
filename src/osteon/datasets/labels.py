"""What the labels of sources mean to Osteon."""

from collections.abc import Iterable, Sequence

from osteon.anatomy import BONE, IMPLANT
from osteon.datasets.case import Instance

FRACTURE = "fracture"
FRACTURE_LABELS = frozenset({"fracture", "fractured"})
IGNORE = "ignore"


def shows_fracture(instances: Iterable[Instance] | None) -> bool | None:
    """True where a fracture is marked, else None: that nobody marked one does not say that there is none."""
    marked = (item.label.lower() in FRACTURE_LABELS and not item.ignore for item in instances or ())
    return True if any(marked) else None


def bone_class(label: str, names: Sequence[str]) -> str | None:
    """What a drawn label is to a model of these classes: itself, a bone, or None: metal or a fracture without a class.

    >>> [bone_class(label, ("bone", "radius")) for label in ("radius", "rib", "implant", "Fracture")]
    ['radius', 'bone', None, None]
    """
    if label in names:
        return label
    return BONE if BONE in names and label != IMPLANT and label.lower() not in FRACTURE_LABELS else None
