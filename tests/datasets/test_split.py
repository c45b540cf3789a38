"""Splits: their guarantees, whatever the cases are."""

import json
from collections import Counter
from pathlib import Path

import dataset_builders as build
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.datasets import fracatlas
from osteon.datasets.case import Case, Manifest
from osteon.datasets.split import LEFT_OUT, Split, follow, official_split, split, split_folds
from osteon.errors import ConfigurationError, InvalidDataset

SPLITS = Path(__file__).parents[2] / "docs" / "splits"
FRACTIONS = {"train": 0.7, "valid": 0.2, "test": 0.1}


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[Manifest, list[list[str]]]:
    """Cases with labels, body parts, some patients, and groups that may overlap."""
    count = draw(st.integers(1, 60))
    cases = [
        Case(
            name=f"case{number}",
            path=Path("absent"),
            fractured=draw(st.sampled_from([True, False, None])),
            body_part=draw(st.sampled_from(["hand", "leg", ""])),
            patient=draw(st.sampled_from(["", "", "p1", "p2", "p3"])),
        )
        for number in range(count)
    ]
    names = st.sampled_from([case.name for case in cases])
    groups = draw(st.lists(st.lists(names, min_size=1, max_size=4), max_size=6))
    return Manifest("made", tuple(cases)), groups


@given(data_sets(), st.integers(0, 5))
def test_every_case_is_in_exactly_one_part_and_nothing_falls_apart(
    made: tuple[Manifest, list[list[str]]], seed: int
) -> None:
    manifest, groups = made
    result = split(manifest, fractions=FRACTIONS, seed=seed, groups=groups)
    dealt = [name for names in result.parts.values() for name in names]
    assert sorted(dealt) == sorted(case.name for case in manifest)
    part = result.part_of()
    assert all(len({part[name] for name in group}) == 1 for group in groups)
    patients = {case.patient for case in manifest} - {""}
    assert all(len({part[case.name] for case in manifest if case.patient == one}) == 1 for one in patients)


@given(data_sets(), st.integers(0, 5), st.randoms())
def test_the_order_of_the_input_does_not_matter(made: tuple[Manifest, list[list[str]]], seed: int, random) -> None:
    manifest, groups = made
    expected = split(manifest, fractions=FRACTIONS, seed=seed, groups=groups)
    cases, shuffled = list(manifest.cases), [random.sample(group, len(group)) for group in groups]
    random.shuffle(cases)
    random.shuffle(shuffled)
    again = split(Manifest("made", tuple(cases)), fractions=FRACTIONS, seed=seed, groups=shuffled)
    assert again == expected
    assert again.hash == expected.hash


@given(data_sets(), st.integers(2, 5))
def test_the_shares_hold_within_the_largest_block(made: tuple[Manifest, list[list[str]]], folds: int) -> None:
    manifest, groups = made
    result = split_folds(manifest, folds=folds, groups=groups)
    part, largest = result.part_of(), 1
    together = {case.name: {case.name} for case in manifest}
    patients = [[case.name for case in manifest if case.patient == one] for one in ("p1", "p2", "p3")]
    for group in [*groups, *patients, *groups, *patients]:
        joined = set().union(*(together[name] for name in group)) if group else set()
        for name in joined:
            together[name] = joined
        largest = max(largest, len(joined))
    sizes = Counter(part.values())
    assert all(abs(sizes[name] - len(manifest) / folds) <= folds * largest for name in result.parts)


def singles(count: int) -> Manifest:
    cases = [
        Case(f"case{number:04d}", Path("absent"), fractured=number % 5 == 0, body_part=("hand", "leg")[number % 2])
        for number in range(count)
    ]
    return Manifest("made", tuple(cases))


def test_labels_and_body_parts_are_alike_in_all_parts() -> None:
    manifest = singles(1000)
    result = split(manifest, fractions={"train": 0.8, "valid": 0.2})
    assert {part: len(names) for part, names in result.parts.items()} == {"train": 800, "valid": 200}
    valid = result.select(manifest, "valid")
    strata = Counter((case.fractured, case.body_part) for case in valid)
    expected = {(True, "hand"): 20, (True, "leg"): 20, (False, "hand"): 80, (False, "leg"): 80}
    assert all(abs(strata[stratum] - count) <= 1 for stratum, count in expected.items())


def test_another_seed_deals_otherwise() -> None:
    one, two = (split(singles(100), fractions={"train": 0.8, "valid": 0.2}, seed=seed) for seed in (0, 1))
    assert one.hash != two.hash
    shared = set(one.parts["valid"]) & set(two.parts["valid"])
    assert len(shared) < 12


def test_a_split_made_today_is_made_alike_tomorrow() -> None:
    assert split(singles(20), fractions={"train": 0.8, "valid": 0.2}).hash == "67f71a5bd41e9297"


def test_each_fold_validates_once() -> None:
    folds = split_folds(singles(50), folds=5)
    assert {len(names) for names in folds.parts.values()} == {10}
    for part, names in folds.parts.items():
        fold = folds.fold(part)
        assert fold.parts["valid"] == names
        assert sorted(fold.parts["train"] + names) == sorted(folds.part_of())


def test_what_is_kept_apart_is_in_no_fold() -> None:
    parts = {"train": ("a",), "valid": ("b",), "test": ("c",), "left_out": ("d",)}
    assert Split("drawn", parts, 0, "by hand").fold("valid").parts == {"train": ("a",), "valid": ("b",)}


def test_a_split_comes_back_from_its_file(tmp_path: Path) -> None:
    made = split(singles(30), fractions={"train": 0.8, "valid": 0.2}, seed=3)
    made.write(tmp_path / "new" / "split.json")
    assert Split.read(tmp_path / "new" / "split.json") == made


def test_an_edited_split_is_refused(tmp_path: Path) -> None:
    value = split(singles(30), fractions={"train": 0.8, "valid": 0.2}).to_json()
    value["parts"]["valid"].pop()
    with pytest.raises(InvalidDataset, match="hash"):
        Split.from_json(value)
    with pytest.raises(InvalidDataset, match="no split"):
        Split.read(build.write_json([], tmp_path / "s.json"))
    with pytest.raises(InvalidDataset, match="no readable JSON"):
        Split.read(tmp_path / "absent.json")


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 0.7, "b": 0.7}, {"a": 1.2, "b": -0.2}])
def test_shares_must_be_positive_and_add_up(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="add up to 1"):
        split(singles(5), fractions=fractions)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two or more"):
        split_folds(singles(5), folds=1)
    with pytest.raises(ConfigurationError, match="no part"):
        split_folds(singles(5), folds=2).select(singles(5), "valid")
    with pytest.raises(InvalidDataset, match="share their name"):
        split(Manifest("twice", singles(3).cases * 2), fractions={"a": 1.0})
    with pytest.raises(InvalidDataset, match="official"):
        official_split(singles(5), [])


def test_the_official_split_loses_its_leaks() -> None:
    def case(name: str, fractured: bool, part: str = "") -> Case:
        return Case(name, Path("absent"), fractured=fractured, split=part)

    cases = [case(f"t{number}", True, "train") for number in range(4)]
    cases += [case(f"v{number}", True, "valid") for number in range(4)]
    cases += [case("test", True, "test"), case("unlisted", True), case("twin of unlisted", False)]
    cases += [case(f"n{number:03d}", False) for number in range(104)]
    groups = [
        ["t0", "v0"],
        ["t1", "n000"],
        ["v1", "n001"],
        ["test", "n002"],
        ["unlisted", "twin of unlisted", "n003"],
        ["n004", "n005"],
    ]
    made = official_split(Manifest("made", tuple(cases)), groups)
    part = made.part_of()
    assert [name for name in made.parts["train"] if name.startswith("t")] == ["t0", "t1", "t2", "t3"]
    assert [name for name in made.parts["valid"] if name.startswith("v")] == ["v1", "v2", "v3"]
    assert made.parts["test"] == ("test",)
    assert made.parts[LEFT_OUT] == ("n000", "n001", "n002", "n003", "twin of unlisted", "unlisted", "v0")
    assert part["n004"] == part["n005"]
    assert sum(name.startswith("n") for name in made.parts["valid"]) == 10


def test_the_real_official_split_shares_no_group_between_its_parts() -> None:
    if not (build.SHARED / "fracatlas").is_dir():
        pytest.skip("../shared/data/fracatlas is not there")
    manifest = fracatlas.read(build.SHARED / "fracatlas")
    groups = [["IMG0002646.jpg", "IMG0004072.jpg"], ["IMG0002617.jpg", "IMG0004028.jpg"]]
    made = official_split(manifest, groups)
    part = made.part_of()
    assert part["IMG0002646.jpg"] == "train"
    assert part["IMG0004072.jpg"] == part["IMG0004028.jpg"] == LEFT_OUT
    valid = made.select(manifest, "valid")
    assert sum(bool(case.fractured) for case in valid) == 81
    assert abs(sum(not case.fractured for case in valid) - 301) <= 2


@settings(max_examples=25)
@given(data_sets(), data_sets(), st.integers(0, 3))
def test_a_split_that_follows_another_keeps_duplicates_on_the_side_that_they_have_there(
    made: tuple[Manifest, list[list[str]]], whole: tuple[Manifest, list[list[str]]], seed: int
) -> None:
    manifest, groups = made
    other = split_folds(whole[0], folds=3, seed=seed, groups=whole[1])
    there = other.part_of()
    try:
        result = follow(manifest, other, groups=groups)
    except InvalidDataset:  # every case lies among duplicates, or other films of its patient, in two parts
        tied = {name for group in groups for name in group} | {case.name for case in manifest if case.patient}
        assert all(case.name in tied for case in manifest if case.name in there)
        return
    here = result.part_of()
    assert sorted(here) == sorted(case.name for case in manifest)
    assert all(part in (there.get(name, part), LEFT_OUT) for name, part in here.items())
    for group in groups:
        parts = {here[name] for name in group if name in here} | {there[name] for name in group if name in there}
        assert len(parts - {LEFT_OUT}) <= 1 or all(here[name] == LEFT_OUT for name in group if name in here)


def test_a_film_that_only_a_duplicate_ties_to_the_other_split_follows_it() -> None:
    cases = tuple(Case(name, Path("absent")) for name in ("known", "copy", "stranger", "torn"))
    other = Split("whole", {"fold1": ("known", "x"), "fold2": ("twin", "y")}, 7, "by hand")
    result = follow(Manifest("bones", cases), other, groups=[("copy", "twin"), ("torn", "x", "y")])
    assert result.parts == {"fold1": ("known",), "fold2": ("copy",), LEFT_OUT: ("stranger", "torn")}
    assert other.hash in result.method
    with pytest.raises(InvalidDataset, match="no case of bones"):
        follow(Manifest("bones", cases[2:3]), other)


def test_bone_folds_and_detector_folds_agree() -> None:
    """A film whose bones are learnt in a fold is never one that the detector of that fold is judged on."""
    bones, whole = (Split.read(SPLITS / name) for name in ("bone-folds.json", "folds.json"))
    published = json.loads((SPLITS.parents[1] / "data" / "bones" / "fracatlas-bones.json").read_text("utf-8"))
    assert bones.part_of().keys() == {image["file_name"] for image in published["images"]}
    assert bones.part_of().items() <= whole.part_of().items()
    assert whole.hash in bones.method
    for part in whole.parts:
        assert not set(bones.fold(part).parts["train"]) & set(whole.parts[part])
        assert set(bones.fold(part).parts["valid"]) <= set(whole.fold(part).parts["valid"])
