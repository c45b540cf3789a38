"""Bones: labels, names in English and Russian, which end is which, colours. The only label table."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Language = Literal["en", "ru"]
Third = Literal["proximal", "middle", "distal"]
Limb = Literal["upper", "lower"]
Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

BONE = "bone"
"""A bone that is not named: of a model of one class, or a heap that cannot be told apart."""
IMPLANT = "implant"
"""Metal; no bone."""


@dataclass(frozen=True)
class BoneName:
    """A label's meaning.

    Attributes:
        en: name in English.
        ru: name in Russian, nominative.
        colour: of its outline in overlays.
        long: it has a shaft that is told in thirds.
        proximal: labels of the bones beyond its proximal end (a clavicle's: its sternal end).
        distal: labels of the bones beyond its distal end.
        slenderness: least length to width of a complete one; a shorter mask is a part of it.
        limb: that it is of, its girdle included; None: of either, or of the trunk.
    """

    en: str
    ru: str
    colour: Colour
    long: bool = False
    proximal: frozenset[str] = frozenset()
    distal: frozenset[str] = frozenset()
    slenderness: float = 0.0
    limb: Limb | None = None

    def name(self, language: Language) -> str:
        """The name in a language."""
        return self.en if language == "en" else self.ru


def _long(
    en: str, ru: str, colour: Colour, *, proximal: str, distal: str, slenderness: float, limb: Limb | None = None
) -> BoneName:
    return BoneName(en, ru, colour, True, frozenset(proximal.split()), frozenset(distal.split()), slenderness, limb)


_HAND = "carpals metacarpal phalanx"
_FOOT = "talus calcaneus tarsals metatarsal phalanx"

BONES: Mapping[str, BoneName] = MappingProxyType(
    {
        "humerus": _long(
            "humerus",
            "плечевая кость",
            (255, 127, 80),
            proximal="scapula clavicle",
            distal="radius ulna",
            slenderness=7.0,
            limb="upper",
        ),
        "radius": _long(
            "radius", "лучевая кость", (80, 200, 255), proximal="humerus", distal=_HAND, slenderness=9.0, limb="upper"
        ),
        "ulna": _long(
            "ulna", "локтевая кость", (255, 105, 180), proximal="humerus", distal=_HAND, slenderness=9.5, limb="upper"
        ),
        "carpals": BoneName("carpal bones", "кости запястья", (255, 215, 0), limb="upper"),
        "metacarpal": _long(
            "metacarpal",
            "пястная кость",
            (124, 252, 0),
            proximal="carpals radius ulna",
            distal="phalanx",
            slenderness=2.4,
            limb="upper",
        ),
        "phalanx": _long(
            "phalanx",
            "фаланга",
            (186, 140, 255),
            proximal="metacarpal metatarsal carpals tarsals radius ulna calcaneus talus",
            distal="",
            slenderness=1.6,
        ),
        "femur": _long(
            "femur",
            "бедренная кость",
            (255, 160, 122),
            proximal="pelvis",
            distal="tibia fibula patella",
            slenderness=6.5,
            limb="lower",
        ),
        "tibia": _long(
            "tibia",
            "большеберцовая кость",
            (64, 224, 208),
            proximal="femur patella",
            distal=_FOOT,
            slenderness=6.5,
            limb="lower",
        ),
        "fibula": _long(
            "fibula",
            "малоберцовая кость",
            (255, 182, 40),
            proximal="femur patella",
            distal=_FOOT,
            slenderness=11.0,
            limb="lower",
        ),
        "patella": BoneName("patella", "надколенник", (154, 205, 50), limb="lower"),
        "talus": BoneName("talus", "таранная кость", (135, 160, 255), limb="lower"),
        "calcaneus": BoneName("calcaneus", "пяточная кость", (240, 128, 128), limb="lower"),
        "tarsals": BoneName("tarsal bones", "кости предплюсны", (240, 230, 140), limb="lower"),
        "metatarsal": _long(
            "metatarsal",
            "плюсневая кость",
            (0, 250, 154),
            proximal="tarsals talus calcaneus tibia fibula",
            distal="phalanx",
            slenderness=2.4,
            limb="lower",
        ),
        "pelvis": BoneName("pelvic bone", "тазовая кость", (100, 149, 237), limb="lower"),
        "sacrum": BoneName("sacrum", "крестец", (218, 112, 214), limb="lower"),
        "spine": BoneName("spine", "позвоночник", (210, 180, 140)),
        "scapula": BoneName("scapula", "лопатка", (60, 220, 120), limb="upper"),
        "clavicle": _long(
            "clavicle",
            "ключица",
            (255, 99, 160),
            proximal="spine",
            distal="scapula humerus",
            slenderness=4.5,
            limb="upper",
        ),
        "rib": BoneName("rib", "ребро", (176, 196, 222)),
        BONE: BoneName("bone", "кость", (0, 190, 200)),
        IMPLANT: BoneName("implant", "имплантат", (255, 255, 255)),
    }
)
"""Every label that instances of a picture may have; the categories of the bone outlines."""

_THIRDS: Mapping[Third, tuple[str, str]] = MappingProxyType(
    {
        "proximal": ("proximal third", "проксимальная треть"),
        "middle": ("middle third", "средняя треть"),
        "distal": ("distal third", "дистальная треть"),
    }
)
_SUSPECTED = ("suspected fracture", "подозрение на перелом")
_OUTSIDE = ("suspected fracture outside of the bones found", "подозрение на перелом вне найденных костей")


def bone_name(label: str) -> BoneName:
    """A label's meaning; one that the table lacks (a model of somebody else's) stands for itself.

    >>> bone_name("radius").ru, bone_name("hamate").en
    ('лучевая кость', 'hamate')
    """
    return BONES.get(label) or BoneName(label, label, BONES[BONE].colour)


def place_of(label: str, third: Third | None, language: Language) -> str:
    """A bone, and its third where that is known.

    >>> place_of("radius", "distal", "ru"), place_of("talus", None, "en")
    ('лучевая кость, дистальная треть', 'talus')
    """
    name = bone_name(label).name(language)
    return f"{name}, {_THIRDS[third][0 if language == 'en' else 1]}" if third else name


def suspected(label: str | None, third: Third | None, language: Language, *, outside: bool = False) -> str:
    """The text of a finding: where the fracture is suspected, as far as it can be told.

    Args:
        label: of the bone; None where that is not clear.
        third: of its shaft, where the position can be told.
        outside: the box lies on no bone that was found.

    >>> suspected("radius", "distal", "en")
    'suspected fracture: radius, distal third'
    >>> suspected("tibia", "middle", "ru"), suspected(None, None, "ru")
    ('подозрение на перелом: большеберцовая кость, средняя треть', 'подозрение на перелом')
    """
    place = 0 if language == "en" else 1
    if outside:
        return _OUTSIDE[place]
    if label is None or label == BONE:  # that it is a bone need not be said
        return _SUSPECTED[place]
    return f"{_SUSPECTED[place]}: {place_of(label, third, language)}"
