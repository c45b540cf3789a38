"""Judge, detector and both: figures by film and by bone, with the truth known by construction."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bone_judges import rods, write_judge
from osteon.datasets.bone_crops import Damage
from osteon.datasets.case import Case, Instance, Manifest
from osteon.datasets.crop_store import OutlinedBones, Row
from osteon.datasets.split import Split
from osteon.errors import InvalidDataset, ModelMismatch
from osteon.evaluation import records
from osteon.evaluation.bone_judge import (
    JudgedBone,
    JudgedFilm,
    bone_figures,
    boxes_of,
    damaged_point,
    fit_combination,
    judge_films,
    judges_by_part,
)
from osteon.evaluation.bone_judge_report import markdown, report
from osteon.evaluation.detection import Judged, auroc
from osteon.evaluation.plain import plain
from osteon.evaluation.records import Facts, Origin, Record, Records
from osteon.inference.card import PictureScale
from osteon.inference.postprocess import Detections
from osteon.inference.session import Session


def films(count: int, *, detector: float, judge: float, seed: int = 0) -> list[JudgedFilm]:
    """Films in four parts, a third fractured, each with three bones; how far broken ones stand out, by whom."""
    rng = np.random.default_rng(seed)

    def score(strength: float) -> float:
        return float(1 / (1 + np.exp(2 - rng.normal(strength, 1))))

    made = []
    for number in range(count):
        fractured = number % 3 == 0
        kinds: list[Damage] = ["damaged", "unknown", "shared"] if fractured else ["intact"] * 3
        labels = ["femur", "finger", "finger"]
        bones = [
            JudgedBone(label, kind, score(judge * (kind == "damaged")), score(detector * (kind == "damaged")))
            for label, kind in zip(labels, kinds, strict=True)
        ]
        best = max(bone.detector for bone in bones)
        made.append(JudgedFilm(f"{number:04}", f"fold{number % 4 + 1}", fractured, best, tuple(bones)))
    return made


def by_pairs(bones: Sequence[tuple[str, float, bool]]) -> float:
    """Mean over the broken bones of the share of whole ones of the same label that score lower."""
    shares = []
    for label, score, broken in bones:
        others = [other for name, other, whole in bones if name == label and not whole]
        if broken and others:
            shares.append(np.mean([(other < score) + 0.5 * (other == score) for other in others]))
    return float(np.mean(shares))


class TestReport:
    def test_two_that_know_different_things_are_better_together(self) -> None:
        found = report(films(300, detector=1.5, judge=1.5), with_detector=True, samples=200)
        by_film = found["by_film"]
        assert by_film["auroc"]["both"]["value"] > by_film["auroc"]["detector"]["value"] + 0.02
        assert by_film["less_detector"]["both"]["interval"][0] > 0
        for name, kind in (("by_film", "films"), ("by_bone", "bones")):
            for who, said in found[name]["auroc"].items():
                low, high = said["interval"]
                assert low < said["value"] < high < low + 0.2, (kind, who)
        assert found["combination"]["by_film"]["cross_fitted"].keys() == {"fold1", "fold2", "fold3", "fold4"}

    def test_a_single_part_is_joined_by_halves(self) -> None:
        """Each film by the curve of the other half, and both halves have fractured films."""
        made = [replace(film, part="fold1") for film in films(300, detector=1.5, judge=1.5)]
        found = report(made, with_detector=True, samples=200)
        assert found["by_film"]["less_detector"]["both"]["interval"][0] > 0
        for name in ("by_film", "by_bone"):
            curves = found["combination"][name]["cross_fitted"]
            assert curves.keys() == {"half 1", "half 2"}
            assert curves["half 1"] != curves["half 2"] != found["combination"][name]["all"]
        assert [row["part"] for row in found["by_part"]] == ["fold1"]
        few = [made[0], made[3], made[1], made[2]]
        assert report(few, with_detector=True, samples=2)["combination"]["by_film"]["cross_fitted"]

    def test_a_judge_that_knows_nothing_adds_nothing(self) -> None:
        found = report(films(300, detector=2.0, judge=0.0), with_detector=True, samples=200)
        low, high = found["by_film"]["less_detector"]["both"]["interval"]
        assert low < 0 < high
        assert abs(found["combination"]["by_film"]["all"]["judge"]) < 0.3
        assert found["by_film"]["auroc"]["judge"]["value"] == pytest.approx(0.5, abs=0.1)

    def test_values_are_those_of_counted_pairs(self) -> None:
        made = films(60, detector=1.0, judge=1.0)
        found = report(made, with_detector=True, samples=5)
        truth = np.array([film.fractured for film in made], np.bool_)
        for who in ("judge", "detector"):
            scores = np.array([getattr(film, who) for film in made])
            assert found["by_film"]["auroc"][who]["value"] == pytest.approx(auroc(scores, truth))
            known = [
                (bone.label, round(getattr(bone, who), 12), bone.damage == "damaged")
                for film in made
                for bone in film.bones
                if bone.damage in ("damaged", "intact")
            ]
            same = found["by_bone_of_a_label"]["auroc"][who]["value"]
            assert same == pytest.approx(by_pairs(known))
            alike = [("", score, broken) for _, score, broken in known]
            assert found["by_bone"]["auroc"][who]["value"] == pytest.approx(by_pairs(alike))
            assert found["by_label"]["femur"]["auroc"][who] == pytest.approx(same)
        assert (found["by_bone"]["broken"], found["by_bone"]["whole"]) == (20, 120)
        assert found["bones"] == {"damaged": 20, "shared": 20, "intact": 120, "unknown": 20}
        assert "finger" not in found["by_label"]

    def test_knowing_the_kind_of_bone_is_not_knowing_the_fracture(self) -> None:
        """A judge that calls every femur broken looks good by bone, and not among femora."""
        made = [
            JudgedFilm(
                film.name,
                film.part,
                film.fractured,
                film.detector,
                tuple(JudgedBone(b.label, b.damage, 0.9 if b.label == "femur" else 0.1, 0.0) for b in film.bones),
            )
            for film in films(60, detector=1.0, judge=0.0)
        ]
        found = report(made, with_detector=True, samples=5)
        assert found["by_bone"]["auroc"]["judge"]["value"] > 0.8
        assert found["by_bone_of_a_label"]["auroc"]["judge"]["value"] == 0.5

    def test_the_place_is_right_where_a_broken_bone_is_highest(self) -> None:
        kinds: list[Damage] = ["damaged", "unknown", "unknown", "unknown"]
        made = [
            JudgedFilm(
                f"{number}",
                "fold1",
                True,
                0.5,
                tuple(JudgedBone("radius", k, j, 0.0) for k, j in zip(kinds, judged, strict=True)),
            )
            for number, judged in enumerate([(0.9, 0.1, 0.2, 0.3), (0.2, 0.9, 0.1, 0.1), (0.9, 0.5, 0.1, 0.1)])
        ]
        made.append(JudgedFilm("normal", "fold1", False, 0.1, ()))
        place = report(made, with_detector=True, samples=2)["place"]
        assert place["judge"]["films"] == 3
        assert place["judge"]["right"]["value"] == pytest.approx(2 / 3)
        assert place["detector"]["right"]["value"] == place["judge"]["by_chance"] == pytest.approx(0.25)

    def test_a_film_without_bones_is_judged_by_the_detector_alone(self) -> None:
        made = [JudgedFilm("a", "fold1", True, 0.9, ()), JudgedFilm("b", "fold1", False, 0.1, ())]
        found = report(made, with_detector=True, samples=2)
        assert found["without_bones"] == 2
        assert found["by_film"]["auroc"]["detector"]["value"] == 1.0
        assert found["by_film"]["auroc"]["judge"]["value"] == 0.5
        assert "both" not in found["by_film"]["auroc"]
        assert "| by bone | 0 / 0 |  |  |  |  |" in markdown(json.loads(json.dumps(plain(found))))

    def test_without_a_detector_the_judge_stands_alone(self) -> None:
        found = report(films(60, detector=1.0, judge=2.0), with_detector=False, samples=20)
        assert found["by_film"]["auroc"].keys() == {"judge"}
        assert found["combination"] == {}
        assert "less_detector" not in found["by_film"]
        text = markdown(found)
        assert f"| by film | 20 / 40 |  | {found['by_film']['auroc']['judge']['value']:.3f}" in text

    def test_knowing_metal_is_not_knowing_the_fracture(self) -> None:
        """Half of the fractured films have metal, no normal one has, and metal is all that the judge knows."""
        made = []
        for number, film in enumerate(films(240, detector=1.0, judge=0.0)):
            metal = film.fractured and number % 2 == 0
            bones = tuple(replace(bone, judge=0.95) if metal else bone for bone in film.bones)
            made.append(replace(film, bones=bones, hardware=metal))
        found = report(made, with_detector=True, samples=50)
        assert found["by_film"]["less_detector"]["both"]["interval"][0] > 0
        bare = found["without_hardware"]
        assert (bare["films"], bare["fractured"]) == (200, 40)
        assert bare["by_film"]["less_detector"]["both"]["interval"][0] < 0
        assert bare["by_film"]["auroc"]["judge"]["value"] == pytest.approx(0.5, abs=0.15)
        assert markdown(found).count("without metal") == 5
        assert "without_hardware" not in report(
            [replace(f, hardware=None) for f in made], with_detector=True, samples=2
        )

    def test_one_kind_of_film_is_refused(self) -> None:
        with pytest.raises(InvalidDataset, match="0 of 2 films are fractured"):
            report([JudgedFilm(n, "a", False, 0.1, ()) for n in "ab"], with_detector=True)

    def test_tables_tell_gain_and_place(self) -> None:
        text = markdown(report(films(60, detector=1.0, judge=1.0), with_detector=True, samples=20))
        assert all(f"| {title} | " in text for title in ("by film", "by bone", "by bone, same label only", "detector"))
        assert "both less detector" in text and "by chance" in text


class TestCombination:
    def test_a_fit_finds_the_curve_that_drew_the_truth(self) -> None:
        rng = np.random.default_rng(3)
        detector, judge = (1 / (1 + np.exp(-rng.normal(0, 1.5, 4000))) for _ in range(2))
        line = 0.5 * np.log(detector / (1 - detector)) + 1.2 * np.log(judge / (1 - judge)) - 0.7
        truth = rng.random(4000) < 1 / (1 + np.exp(-line))
        curve = fit_combination(detector, judge, truth)
        assert (curve.detector, curve.judge, curve.intercept) == pytest.approx((0.5, 1.2, -0.7), abs=0.12)

    def test_scores_that_part_everything_stay_finite(self) -> None:
        truth = np.array([True, True, False, False])
        curve = fit_combination(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.9, 0.8, 0.1, 0.2]), truth)
        assert np.isfinite([curve.detector, curve.judge, curve.intercept]).all()
        assert curve.probability(1.0, 0.9) > 0.95 > 0.05 > curve.probability(0.0, 0.1)

    def test_one_kind_fits_nothing(self) -> None:
        with pytest.raises(InvalidDataset):
            fit_combination(np.array([0.5]), np.array([0.5]), np.array([True]))


class TestBoneFigures:
    ROWS = tuple(Row("", 0, "", kind) for kind in ("damaged", "damaged", *["intact"] * 40))

    def test_the_cut_leaves_nineteen_of_twenty_whole_bones_below(self) -> None:
        scores = [0.99, 0.5, *(index / 41 for index in range(40))]
        point = damaged_point(self.ROWS, scores)["damaged"]
        assert point.measured == {"sensitivity": 0.5, "specificity": 0.95}
        assert 37 / 41 < point.threshold <= 38 / 41
        assert damaged_point(self.ROWS[2:], scores[2:]) == {}

    def test_one_kind_has_no_order(self) -> None:
        assert bone_figures(self.ROWS[:2], [0.1, 0.9]) == {
            "auroc_bone": 0.5,
            "broken_bones": 2.0,
            "whole_bones": 0.0,
        }


PARTS = Split("rods", {"fold1": ("00", "01"), "fold2": ("02", "03")}, 0, "by hand")
FOLDS = {name: PARTS.fold(name) for name in PARTS.parts}


def box(name: str, part: str, *, split_hash: str = PARTS.hash, mass: float | None = None) -> Records:
    """One picture with one box."""
    found = Detections(np.array([[0, 0, 9, 9]], np.float32), np.array([0.7], np.float32), mass)
    origin = Origin("d", "1", "", 0.5, 0.005, split_hash, part)
    return Records(origin, (Record(Judged(name, found, np.zeros((0, 4), np.float32)), Facts(100, 100)),))


class TestJudging:
    def test_every_film_is_judged_by_the_judge_that_has_not_seen_it(self, tmp_path: Path) -> None:
        """The hand-made judge says how dark a rod is; a gap makes it darker."""
        crops = rods("duiiiiuu")
        fracture = Instance("fracture", (0.0, 0.0, 9.0, 9.0))
        truth = {"00": (True, (fracture,)), "01": (False, ()), "02": (False, ()), "03": (None, None)}
        cases = tuple(Case(n, Path(n), fractured=f, instances=i) for n, (f, i) in truth.items())
        sessions = [
            Session(write_judge(tmp_path / f"{name}.onnx", split_hash=fold.hash), task="bone-judge", threads=1)
            for name, fold in FOLDS.items()
        ]
        parts = judges_by_part(sessions[::-1], FOLDS)
        assert parts["fold1"][0] is sessions[0]
        bones = OutlinedBones({name: ({"id": 1, "file_name": name}, [], []) for name in truth}, "")
        judged = sorted(judge_films(Manifest("rods", cases), crops, parts, bones=bones), key=lambda film: film.name)
        assert [(film.name, film.part, film.fractured) for film in judged] == [
            ("00", "fold1", True),
            ("01", "fold1", False),
            ("02", "fold2", False),
        ]
        assert judged[0].judge == judged[0].bones[0].judge > judged[0].bones[1].judge + 0.02
        assert {film.detector for film in judged} == {0.0}
        assert judge_films(Manifest("rods", cases), crops, parts, bones=bones, found={}) == []

    def test_a_judge_of_another_split_or_given_twice_is_refused(self, tmp_path: Path) -> None:
        stranger = Session(write_judge(tmp_path / "a.onnx"), task="bone-judge", threads=1)
        with pytest.raises(ModelMismatch, match="no fold of this split"):
            judges_by_part([stranger], FOLDS)
        own = Session(write_judge(tmp_path / "b.onnx", split_hash=FOLDS["fold1"].hash), task="bone-judge", threads=1)
        with pytest.raises(ModelMismatch, match="given twice"):
            judges_by_part([own, own], FOLDS)

    def test_boxes_come_from_the_folds_own_detector(self, tmp_path: Path) -> None:
        judging = {name: (None, frozenset(PARTS.parts[name])) for name in ("fold1",)}
        for name, part in (("00", "fold1"), ("02", "fold2")):
            records.write(box(name, part), tmp_path / f"{part}.jsonl")
        files = [tmp_path / "fold1.jsonl", tmp_path / "fold2.jsonl"]
        found = boxes_of(files, judging, PARTS, scale=None)  # type: ignore[arg-type]
        assert {name: boxes.best for name, boxes in found.items()} == {"00": pytest.approx(0.7)}
        records.write(box("00", "fold1", split_hash="another"), tmp_path / "other.jsonl")
        with pytest.raises(InvalidDataset, match="of split another"):
            boxes_of([tmp_path / "other.jsonl"], judging, PARTS, scale=None)  # type: ignore[arg-type]

    def test_a_film_is_scored_as_the_detector_scores_it(self, tmp_path: Path) -> None:
        judging = {"fold1": (None, frozenset(PARTS.parts["fold1"]))}
        records.write(box("00", "fold1", mass=3.0), tmp_path / "fold1.jsonl")
        files = [tmp_path / "fold1.jsonl"]
        scale = PictureScale(slope=1.0, intercept=0.0)
        assert boxes_of(files, judging, PARTS, scale=scale)["00"].best == pytest.approx(0.75)  # type: ignore[arg-type]
        assert boxes_of(files, judging, PARTS, scale=None)["00"].best == pytest.approx(0.7)  # type: ignore[arg-type]
