"""Exact and near duplicates."""

from pathlib import Path

import cv2
import dataset_builders as build
import numpy as np
import pytest

from osteon.datasets import fracatlas
from osteon.datasets.case import Case
from osteon.datasets.duplicates import (
    Fingerprint,
    Pair,
    duplicate_groups,
    find_duplicates,
    fingerprint,
    fingerprints,
    groups_of,
    joined,
)


def films(tmp_path: Path, count: int = 6) -> list[Case]:
    """Different films, with the noise and the chance of drawing."""
    return [case(build.save(build.film(seed, 200, 160), tmp_path / f"{seed}.png")) for seed in range(count)]


def case(path: Path) -> Case:
    return Case(path.name, path)


def pairs(cases: list[Case]) -> list[Pair]:
    return find_duplicates(fingerprints(cases))


def test_different_films_are_no_duplicates(tmp_path: Path) -> None:
    assert pairs(films(tmp_path, 30)) == []


def test_a_copied_file_has_the_same_bytes(tmp_path: Path) -> None:
    cases = films(tmp_path)
    (tmp_path / "copy.png").write_bytes(cases[2].path.read_bytes())
    assert pairs([*cases, case(tmp_path / "copy.png")]) == [Pair("2.png", "copy.png", "bytes", 1.0)]


def test_another_encoding_has_the_same_pixels(tmp_path: Path) -> None:
    cases = films(tmp_path)
    again = build.save(build.film(3, 200, 160), tmp_path / "again.bmp")
    assert pairs([*cases, case(again)]) == [Pair("3.png", "again.bmp", "pixels", 1.0)]


def turn(name: str, pixels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    changed = {
        "scaled": lambda: cv2.resize(pixels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
        "brighter": lambda: np.clip(pixels * 1.3 + 12, 0, 255).astype(np.uint8),
        "noisy": lambda: np.clip(pixels + noise, 0, 255).astype(np.uint8),
        "cropped": lambda: pixels[3:, 2:-2],
        "mirrored": lambda: pixels[:, ::-1],
        "turned 90": lambda: np.rot90(pixels),
        "turned 180": lambda: np.rot90(pixels, 2),
        "mirrored, turned 90": lambda: np.rot90(pixels[:, ::-1]),
    }
    return np.ascontiguousarray(changed[name]())


@pytest.mark.parametrize("change", ["scaled", "brighter", "noisy", "cropped"])
def test_an_altered_copy_is_a_near_duplicate(tmp_path: Path, change: str) -> None:
    cases = films(tmp_path)
    altered = build.save(turn(change, build.film(1, 200, 160)), tmp_path / "altered.jpg")
    (found,) = pairs([*cases, case(altered)])
    assert (found.first, found.second, found.kind, found.turned) == ("1.png", "altered.jpg", "near", "")
    assert 0.83 <= found.similarity <= 1


@pytest.mark.parametrize("change", ["mirrored", "turned 90", "turned 180", "mirrored, turned 90"])
def test_a_turned_copy_is_found_and_named(tmp_path: Path, change: str) -> None:
    cases = films(tmp_path)
    turned = build.save(turn(change, build.film(1, 200, 160)), tmp_path / "turned.png")
    (found,) = pairs([*cases, case(turned)])
    assert (found.first, found.second, found.kind) == ("1.png", "turned.png", "near")
    assert found.turned
    assert find_duplicates(fingerprints([*cases, case(turned)]), turned=False) == []


def test_an_exif_rotation_is_applied_before_comparing(tmp_path: Path) -> None:
    pixels = build.film(1, 200, 160)
    upright = build.save(pixels, tmp_path / "upright.png")
    turned = build.save(np.ascontiguousarray(np.rot90(pixels)), tmp_path / "turned.jpg")
    turned.write_bytes(build.with_orientation(turned.read_bytes(), 6))
    (found,) = pairs([case(upright), case(turned)])
    assert (found.kind, found.turned) == ("near", "")


def test_a_truncated_copy_is_compared_in_the_rows_it_has(tmp_path: Path) -> None:
    cases = films(tmp_path)
    (tmp_path / "cut.jpg").write_bytes(build.truncated_jpeg(build.film(4, 200, 160), 0.5))
    cut = fingerprint("cut.jpg", tmp_path / "cut.jpg")
    assert (cut.problem, cut.size_px) == ("truncated", (200, 160))
    assert 0.4 <= cut.decoded < 0.8
    (found,) = pairs([case(tmp_path / "cut.jpg"), *cases])
    assert (found.first, found.second, found.kind) == ("cut.jpg", "4.png", "near")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a picture"),
        (b"no picture", "not a picture"),
        (b"\xff\xd8\xff\xe0", "not a picture"),
        (None, "absent"),
    ],
)
def test_what_cannot_be_decoded_is_named_and_matches_nothing(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    assert fingerprint("bad.jpg", path).problem == problem
    assert pairs([case(path), *films(tmp_path, 2)]) == []


def test_flat_pictures_match_only_when_they_are_equal(tmp_path: Path) -> None:
    flat = [build.save(np.full((90, 70), value, np.uint8), tmp_path / f"flat{value}.png") for value in (0, 90, 255)]
    assert pairs([case(path) for path in flat]) == []


def test_pairs_join_to_groups(tmp_path: Path) -> None:
    cases = films(tmp_path, 3)
    for name in ("x.png", "y.png"):
        (tmp_path / name).write_bytes(cases[0].path.read_bytes())
    listed = [*cases, case(tmp_path / "x.png"), case(tmp_path / "y.png")]
    seen: list[tuple[int, int]] = []
    assert duplicate_groups(listed, lambda done, total: seen.append((done, total))) == (("0.png", "x.png", "y.png"),)
    assert seen == [(number, 5) for number in range(1, 6)]


def test_a_copy_moved_by_some_pixels_is_a_near_duplicate() -> None:
    soft = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, (300, 300)), (0, 0), 12)
    scene = np.asarray((soft - soft.min()) / np.ptp(soft) * 255, np.uint8)
    prints = [
        Fingerprint(name, name, name, np.ascontiguousarray(cv2.resize(cut, (128, 128), interpolation=cv2.INTER_AREA)))
        for name, cut in (("a", scene[:256, :256]), ("b", scene[8:264, 6:262]))
    ]
    (found,) = find_duplicates(prints)
    assert found.kind == "near"
    assert found.similarity > 0.95


def test_joining_makes_one_of_what_overlaps() -> None:
    assert joined([["a"], ["b", "c"], ["d"], ["c", "d"], []]) == (("a",), ("b", "c", "d"))
    assert groups_of([]) == ()


def test_the_known_duplicates_of_fracatlas_are_found_and_look_alikes_are_not() -> None:
    if not (build.SHARED / "fracatlas").is_dir():
        pytest.skip("../shared/data/fracatlas is not there")
    manifest = fracatlas.read(build.SHARED / "fracatlas")
    numbers = {1978, 3070, 986, 1403, 314, 659}  # hands and feet of different people in one pose, looked at
    numbers |= {2904, 4232, 2646, 4072, 2746, 4117, 2960, 4258, 2617, 4028, 2, 1295}  # one film each, some damaged
    chosen = manifest.only({f"IMG{number:07d}.jpg" for number in numbers})
    found = {tuple(int(name[3:-4]) for name in group) for group in duplicate_groups(chosen)}
    assert found == {(2904, 4232), (2646, 4072), (2746, 4117), (2960, 4258), (2617, 4028), (2, 1295)}
