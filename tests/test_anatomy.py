"""The label table: complete, in both languages, and without contradiction."""

import json
import re
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from osteon.anatomy import BONE, BONES, Third, bone_name, suspected
from osteon.findings import Anchor

OUTLINES = Path(__file__).parents[2] / "shared" / "data" / "bonemasks" / "instances.json"
CYRILLIC = re.compile(r"[а-яё ,:]+")
LATIN = re.compile(r"[a-z ,:]+")


def test_labels_are_the_categories_of_the_bone_outlines() -> None:
    if not OUTLINES.is_file():
        pytest.skip("no bone outlines beside the project")
    categories = json.loads(OUTLINES.read_text("utf-8"))["categories"]
    assert [category["name"] for category in categories] == [*BONES, "ignore"]


def test_names_and_colours_tell_labels_apart() -> None:
    for values in ([n.en for n in BONES.values()], [n.ru for n in BONES.values()], [n.colour for n in BONES.values()]):
        assert len(set(values)) == len(BONES)
    for name in BONES.values():
        assert CYRILLIC.fullmatch(name.ru) and LATIN.fullmatch(name.en)
        assert name.name("en") == name.en and name.name("ru") == name.ru
        assert max(name.colour) >= 190, "a dark line cannot be seen on a radiograph"


def test_neighbours_are_labels_and_lie_beyond_one_end_only() -> None:
    for label, name in BONES.items():
        assert name.distal | name.proximal <= BONES.keys() - {label}
        assert not name.distal & name.proximal
        assert name.long == bool(name.distal | name.proximal) == bool(name.slenderness)


def test_a_neighbour_beyond_the_distal_end_has_this_bone_beyond_its_proximal_one() -> None:
    for label, name in BONES.items():
        for other in name.distal:
            assert label not in BONES[other].distal, (label, other)


def test_every_text_in_both_languages() -> None:
    texts = set()
    for label, third in product([*BONES, None], [*get_args(Third), None]):
        for language, letters in (("en", LATIN), ("ru", CYRILLIC)):
            text = suspected(label, third, language)
            assert letters.fullmatch(text), text
            assert text.startswith(("suspected fracture", "подозрение на перелом"))
            texts.add(text)
    assert len(texts) == 2 * ((len(BONES) - 1) * 4 + 1)


@pytest.mark.parametrize(
    ("anchor", "en", "ru"),
    [
        (
            Anchor("radius", 0.9, 0.8, "distal"),
            "suspected fracture: radius, distal third",
            "подозрение на перелом: лучевая кость, дистальная треть",
        ),
        (
            Anchor("tibia", 0.9, 0.8, "middle"),
            "suspected fracture: tibia, middle third",
            "подозрение на перелом: большеберцовая кость, средняя треть",
        ),
        (
            Anchor("clavicle", 0.9, 0.8, "proximal"),
            "suspected fracture: clavicle, proximal third",
            "подозрение на перелом: ключица, проксимальная треть",
        ),
        (Anchor("carpals", 0.9, 0.8), "suspected fracture: carpal bones", "подозрение на перелом: кости запястья"),
        (Anchor(BONE, 0.9, 0.8), "suspected fracture", "подозрение на перелом"),
        (Anchor(None, 0.4, 0.1), "suspected fracture", "подозрение на перелом"),
        (
            Anchor(None, 0.0, 0.0, outside=True),
            "suspected fracture outside of the bones found",
            "подозрение на перелом вне найденных костей",
        ),
    ],
)
def test_texts_as_a_person_says_them(anchor: Anchor, en: str, ru: str) -> None:
    assert anchor.to_json()["text"] == {"en": en, "ru": ru}


def test_labels_of_other_models_stand_for_themselves() -> None:
    assert bone_name("hamate").name("ru") == "hamate"
    assert suspected("hamate", None, "en") == "suspected fracture: hamate"
