from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFont

import builders
from osteon.anatomy import BONES
from osteon.errors import ConfigurationError
from osteon.files import overlay
from osteon.files.overlay import BONE, GRADES, Language, draw, draw_bones, encode, write
from osteon.findings import Anchor, Bone, BoneEvidence, Decision, Findings, Fracture, ModelRef
from osteon.radiograph import Radiograph

MODEL = ModelRef("drawn", "1", "0" * 64)
SIDE = 600


def radiograph() -> Radiograph:
    return Radiograph(np.full((SIDE, SIDE), 90, np.uint8), "drawn.png", "0" * 64)


def findings(*fractures: Fracture, decision: Decision = "fracture", bone: bool = False) -> Findings:
    mask = np.zeros((30, 30), np.float32)
    mask[5:15, 10:20] = 0.9
    evidence = BoneEvidence(True, 0.3, 0.9, mask if bone else None)
    return Findings("drawn.png", "0" * 64, SIDE, SIDE, evidence, decision, fractures, MODEL, MODEL, {})


def share_on_edge(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    """How much of the left edge x=100, y=150..350 has the colour."""
    return float((pixels[150:350, 100] == colour).all(axis=-1).mean())


def test_a_fracture_is_boxed_solid_and_a_doubt_dashed() -> None:
    box = (100.0, 150.0, 300.0, 350.0)
    solid = draw(radiograph(), findings(Fracture(box, 0.83, 0.7, "fracture")))
    dashed = draw(radiograph(), findings(Fracture(box, 0.41, 0.3, "doubt"), decision="doubt"))
    assert solid.shape == dashed.shape == (SIDE, SIDE, 3)
    assert share_on_edge(solid, GRADES["fracture"]) > 0.98
    assert 0.3 < share_on_edge(dashed, GRADES["doubt"]) < 0.7


def test_bone_is_tinted_and_outlined_only_where_it_is() -> None:
    pixels = draw(radiograph(), findings(decision="no_fracture", bone=True)).astype(int)
    inside, outside = pixels[200, 300], pixels[400, 100]
    assert outside.tolist() == [90, 90, 90]
    assert inside[2] > inside[0]
    assert abs(int(inside[1]) - 90) < 20
    rows, columns = np.nonzero(pixels[:450, :, 2] - pixels[:450, :, 0] > (BONE[2] - BONE[0]) / 3)
    assert abs(rows.min() - 100) < 12
    assert abs(columns.max() - 400) < 12


def test_a_picture_without_a_radiograph_shows_no_bone() -> None:
    plain = draw(radiograph(), findings(decision="not_a_radiograph"))
    np.testing.assert_array_equal(draw(radiograph(), findings(decision="not_a_radiograph", bone=True)), plain)


@pytest.mark.parametrize("language", get_args(Language))
def test_every_word_can_be_drawn(language: Language) -> None:
    font = overlay._font(20)
    missing = bytes(font.getmask("\U0010fffd"))
    for text in overlay.WORDS[language].values():
        assert not [character for character in text if character != " " and bytes(font.getmask(character)) == missing]
    assert isinstance(font, ImageFont.FreeTypeFont)
    assert set(overlay.WORDS[language]) == set(overlay.WORDS["en"])
    assert {f"decision.{decision}" for decision in get_args(Decision)} < set(overlay.WORDS[language])


def test_languages_and_decisions_differ_in_the_caption_alone() -> None:
    pictures = [
        draw(radiograph(), findings(decision=d), language=name) for d in get_args(Decision) for name in ("en", "ru")
    ]
    strips = {picture[500:].tobytes() for picture in pictures}
    assert len(strips) == len(pictures)
    assert len({picture[:400].tobytes() for picture in pictures}) == 1


def test_boxes_beyond_the_border_and_tiny_pictures_are_drawn() -> None:
    beyond = Fracture((-20.0, -5.0, 700.0, 640.0), 0.9, 0.8, "fracture")
    assert draw(radiograph(), findings(beyond)).shape == (SIDE, SIDE, 3)
    tiny = Radiograph(np.zeros((3, 2), np.uint8), "tiny", "0")
    assert draw(tiny, findings(beyond, bone=True)).shape == (3, 2, 3)


def test_sixteen_bit_pictures_are_drawn_as_eight() -> None:
    deep = Radiograph(builders.deep(radiograph().pixels), "deep", "0")
    np.testing.assert_array_equal(draw(deep, findings()), draw(radiograph(), findings()))


def shape(label: str, x: int, y: int, width: int, height: int) -> Bone:
    mask = np.ones((height, width), bool)
    return Bone(label, 0.9, (x, y, x + width, y + height), (x, y), mask)


def test_each_bone_is_tinted_outlined_and_named_in_its_own_colour() -> None:
    bones = (shape("radius", 100, 100, 80, 300), shape("ulna", 300, 100, 80, 300))
    pixels = draw_bones(radiograph(), bones)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels[500, 500].tolist() == pixels[90, 140].tolist() == [90, 90, 90]
    for bone, x in zip(bones, (100, 300), strict=True):
        colour = np.array(BONES[bone.label].colour)
        np.testing.assert_array_equal(pixels[390, x + 40], (90 * 0.75 + colour * 0.25).astype(np.uint8))
        np.testing.assert_allclose(pixels[380, x], colour, atol=30)
        assert (pixels[110:390, x + 10 : x + 70] == colour).all(axis=-1).any(), "no name"


def test_names_do_not_lie_on_one_another() -> None:
    crowd = tuple(shape("phalanx", 280 + n, 280 + n, 20, 20) for n in range(6))
    alone = draw_bones(radiograph(), crowd[:1])
    both = draw_bones(radiograph(), crowd)
    one, six = ((picture == BONES["phalanx"].colour).all(axis=-1).sum() for picture in (alone, both))
    assert six < 4 * one


def test_a_name_differs_with_the_language_and_the_fracture_tells_its_bone() -> None:
    bones = (shape("radius", 100, 100, 80, 300),)
    assert (draw_bones(radiograph(), bones) != draw_bones(radiograph(), bones, language="ru")).any()
    plain = Fracture((100, 150, 300, 350), 0.83, 0.7, "fracture")
    anchored = Fracture((100, 150, 300, 350), 0.83, 0.7, "fracture", Anchor("radius", 1.0, 1.0))
    assert (draw(radiograph(), findings(plain)) != draw(radiograph(), findings(anchored))).any()


def test_bones_at_the_border_in_tiny_pictures_and_of_no_pixel_are_drawn() -> None:
    tiny = Radiograph(np.zeros((3, 2), np.uint8), "tiny", "0")
    assert draw_bones(tiny, (shape("radius", 0, 0, 2, 3),)).shape == (3, 2, 3)
    np.testing.assert_array_equal(
        draw_bones(radiograph(), (shape("radius", 5, 5, 0, 0),)), draw_bones(radiograph(), ())
    )


def test_a_written_overlay_reads_back(tmp_path: Path) -> None:
    pixels = draw(radiograph(), findings(bone=True))
    path = tmp_path / "new" / "перелом.png"
    write(path, pixels)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    decoded = cv2.imdecode(np.frombuffer(encode(pixels), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], pixels)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"overlay\.png") as caught:
        write(tmp_path / "file" / "overlay.png", np.zeros((2, 2, 3), np.uint8))
    assert caught.value.hint
