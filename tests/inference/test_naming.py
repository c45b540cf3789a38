"""Names of bones in the company of the others."""

import numpy as np
import pytest

from osteon.anatomy import BONE, BONES
from osteon.inference.naming import STRAY, in_company, named

NAMES = ("humerus", "tibia", "talus", "phalanx", BONE)


def odds(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_a_lone_bone_is_what_it_looks_like() -> None:
    alone = odds((0.7, 0.2, 0.1, 0, 0))
    together = in_company(alone, np.array([0.9], np.float32), NAMES)[0]
    assert together.argmax() == 0 and together.sum() == pytest.approx(1)
    shares = np.array([0.7 + 0.3 * STRAY, 0.3 + 0.7 * STRAY]) ** 0.9
    upper = shares[0] / shares.sum()
    weights = np.array([upper + STRAY * (1 - upper), *[upper * STRAY + 1 - upper] * 2])
    expected = np.array([0.7, 0.2, 0.1]) * weights
    np.testing.assert_allclose(together[:3], expected / expected.sum(), rtol=1e-5)


def test_the_film_s_other_bones_outvote_it() -> None:
    foot = odds((0.55, 0.45, 0, 0, 0), (0, 0, 0.9, 0, 0.1), (0, 0.3, 0.6, 0, 0.1))
    assert named(foot, np.array([0.5, 0.9, 0.8], np.float32), NAMES) == ["tibia", "talus", "talus"]
    faint = named(foot, np.array([0.5, 0.1, 0.1], np.float32), NAMES)
    assert faint[0] == "humerus", "faint bones say nothing"


def test_bones_of_either_limb_say_nothing_of_it_and_keep_their_names() -> None:
    phalanges = odds((0.6, 0.4, 0, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0.8, 0.2))
    assert named(phalanges, np.ones(3, np.float32), NAMES) == ["humerus", "phalanx", "phalanx"]


def test_a_name_that_is_not_likely_is_not_told() -> None:
    unsure = odds((0, 0.4, 0.35, 0.25, 0))
    assert named(unsure, np.ones(1, np.float32), NAMES) == [BONE]
    assert named(unsure[:, :4], np.ones(1, np.float32), NAMES[:4]) == ["tibia"], "a model that lacks the word"


def test_nothing_found_and_unknown_labels_are_no_error() -> None:
    assert named(np.zeros((0, 5), np.float32), np.zeros(0, np.float32), NAMES) == []
    assert named(odds((1.0,), (1.0,)), np.ones(2, np.float32), ("hamate",)) == ["hamate", "hamate"]


def test_both_limbs_have_bones_and_metal_none() -> None:
    limbs = {limb: {label for label, name in BONES.items() if name.limb == limb} for limb in ("upper", "lower", None)}
    assert {"humerus", "radius", "scapula", "clavicle", "carpals"} <= limbs["upper"]
    assert {"femur", "tibia", "pelvis", "talus", "metatarsal"} <= limbs["lower"]
    assert limbs[None] == {"phalanx", "spine", "rib", "bone", "implant"}
