"""Both stages on one radiograph: the gate always, the detector only where there is bone, loaded once when needed.

Single bones are a third model, run only for who asks for them; a fourth judges each of these bones by itself.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from osteon.errors import ModelMismatch
from osteon.findings import GRADES, Bone, BoneEvidence, Damage, Decision, Findings, Fracture, ModelRef, Suspicion
from osteon.inference.anchoring import FAINT_SCORE, anchored, demoted
from osteon.inference.bone_judge import LEAST_DETECTED, judged
from osteon.inference.bones import Cuts, Said
from osteon.inference.bones import bones as bones_of
from osteon.inference.card import Card
from osteon.inference.postprocess import Detections, bone_measures, detections
from osteon.inference.session import Session
from osteon.preprocess import letterbox
from osteon.radiograph import Radiograph

WEIGHTS = Path(__file__).parents[1] / "weights"
GATE_FILE = WEIGHTS / "gate.onnx"
DETECTOR_FILE = WEIGHTS / "detector.onnx"
DETECTOR_FLOAT_FILE = WEIGHTS / "detector-float.onnx"
"""The same detector before it was made 8-bit: slower, no better, but it can be trained further."""
BONES_FILE = WEIGHTS / "bones.onnx"
BONE_JUDGE_FILE = WEIGHTS / "bone-judge.onnx"

MOST_CHROMA = 0.12
"""Bone is grey. Of 3,611 FracAtlas films none has any colour; of 200 dermoscopy pictures 198 have more than this."""


class Lazy:
    """A session that is loaded at most once, on first use, however many threads ask at once."""

    def __init__(self, load: Callable[[], Session]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._session: Session | None = None

    @property
    def loaded(self) -> bool:
        """Whether anybody has asked for it yet."""
        return self._session is not None

    def __call__(self) -> Session:
        """The session."""
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = self._load()
        return self._session


@dataclass(frozen=True)
class SingleBones:
    """The bones of a radiograph, each judged where a judge is installed; see `Findings`.

    Attributes:
        bones: those that are shown.
        faint: these and the faint ones that only `anchored` makes use of.
        instances: the model that found them; None: nobody looked.
        damage: the second opinion on the radiograph.
        judge: the model that gave it.
        timing_ms: `bones`, and `judge` where there is one.
    """

    bones: tuple[Bone, ...] = ()
    faint: tuple[Bone, ...] = ()
    instances: ModelRef | None = None
    damage: Damage | None = None
    judge: ModelRef | None = None
    timing_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """Gate, then detector, and single bones on request.

    Made once for a process (`Pipeline.bundled()`), used from any number of threads.

    Attributes:
        gate: tells whether and where there is bone.
        detector: finds fractures.
        instances: finds single bones; None where no such model is installed.
        judge: says of a single bone how likely it is broken; None where no such model is installed.
    """

    gate: Session
    detector: Lazy
    instances: Lazy | None = None
    judge: Lazy | None = None

    @classmethod
    def bundled(
        cls,
        *,
        gate: Path = GATE_FILE,
        detector: Path = DETECTOR_FILE,
        bones: Path | None = None,
        judge: Path | None = None,
        threads: int = 2,
    ) -> "Pipeline":
        """The pipeline with the released models, or others of yours.

        Args:
            bones: model of single bones; None: the released one where it is installed.
            judge: model that judges single bones; None: the released one where it is installed.
            threads: processor threads for one model run; 1 where several radiographs are analysed side by side.

        Raises:
            ModelMismatch: the gate's file is no such model. For the others it is raised when they are first needed.
        """
        instances = bones or (BONES_FILE if BONES_FILE.is_file() else None)
        judging = judge or (BONE_JUDGE_FILE if BONE_JUDGE_FILE.is_file() else None)
        return cls(
            Session(gate, task="gate", threads=threads),
            Lazy(lambda: Session(detector, task="detector", threads=threads)),
            Lazy(lambda: Session(instances, task="bones", threads=threads)) if instances else None,
            Lazy(lambda: Session(judging, task="bone-judge", threads=threads)) if judging else None,
        )

    def bone(self, radiograph: Radiograph) -> BoneEvidence:
        """The gate alone: whether, where and how surely the picture shows bone. A colourful picture shows none."""
        if radiograph.chroma > MOST_CHROMA:
            return BoneEvidence(False, 0.0, 0.0, np.zeros((1, 1), np.float32))
        card = self.gate.card
        letterboxed = letterbox(radiograph.pixels, side_px=card.side_px)
        probabilities = self.gate.run(letterboxed.pixels)[0][0]
        over_picture, area_fraction, confidence = bone_measures(probabilities, letterboxed.placement)
        present = area_fraction >= card.cut("area_fraction") and confidence >= card.cut("confidence")
        return BoneEvidence(present, area_fraction, confidence, over_picture)

    def detections(self, radiograph: Radiograph, *, min_score: float, best: bool = False) -> Detections:
        """The detector alone: scored boxes in image pixels, best first, and what they say of the picture together.

        Args:
            min_score: lower scores are dropped.
            best: but the best box never is.
        """
        session = self.detector()
        letterboxed = letterbox(radiograph.pixels, side_px=session.card.side_px)
        boxes, scores = session.run(letterboxed.pixels)
        least = min(min_score, float(scores.max(initial=0.0))) if best else min_score
        found = detections(
            boxes, scores, letterboxed.placement, min_score=least, iou_threshold=session.card.iou_threshold
        )
        return replace(found, scale=session.card.picture)

    def bones_session(self) -> Session:
        """The model of single bones.

        Raises:
            ModelMismatch: none is installed, or the file is no such model.
        """
        if self.instances is None:
            raise ModelMismatch(
                "no model of single bones is installed",
                hint=f"put {BONES_FILE.name} of a release beside the other models, or name another model's file",
            )
        return self.instances()

    def bones(self, radiograph: Radiograph, *, min_score: float | None = None) -> tuple[Bone, ...]:
        """Each bone and implant as an object of its own, in image pixels, best score first.

        Args:
            min_score: least score; None: the model's operating points `bone` and `metal`.

        Raises:
            ModelMismatch: no model of single bones is installed, or the file is no such model.
        """
        session = self.bones_session()
        card = session.card
        letterboxed = letterbox(radiograph.pixels, side_px=card.side_px)
        said = Said(**session.named(letterboxed.pixels))
        cuts = Cuts.of(card) if min_score is None else Cuts(min_score, min_score)
        found = bones_of(said, letterboxed.placement, names=card.labels, min_score=min(cuts))
        return tuple(bone for bone in found if cuts.show(bone))

    def bones_and_faint(self, radiograph: Radiograph) -> tuple[tuple[Bone, ...], tuple[Bone, ...]]:
        """The single bones, and these with the faint ones that only `anchored` makes use of."""
        cuts = Cuts.of(self.bones_session().card)
        faint = self.bones(radiograph, min_score=min(FAINT_SCORE, *cuts))
        return tuple(bone for bone in faint if cuts.show(bone)), faint

    def damage(
        self, radiograph: Radiograph, bones: tuple[Bone, ...], *, found: Detections | None = None
    ) -> tuple[tuple[Bone, ...], Damage | None]:
        """The bones, each with how likely it is broken, and the same of the film: by the judge, and the detector too.

        Args:
            radiograph: the film.
            bones: of this film, as `bones` gives them.
            found: the detector's boxes, down to `bone_judge.LEAST_DETECTED`; None: it is run for them.

        Returns:
            The bones as they are, and None, where no judge is installed or there is no bone but metal.

        Raises:
            ModelMismatch: the file of judge or detector is no such model, or the judge's card is malformed.
        """
        if self.judge is None:
            return bones, None
        seen = self.detections(radiograph, min_score=LEAST_DETECTED, best=True) if found is None else found
        return judged(self.judge(), radiograph, bones, seen, self.detector().ref)

    def single_bones(self, radiograph: Radiograph, *, found: Detections | None = None) -> SingleBones:
        """The bones found, and judged where a judge is installed.

        Args:
            radiograph: one that shows bone.
            found: see `damage`.

        Raises:
            ModelMismatch: no model of single bones is installed, or a file is no such model.
        """
        before = time.perf_counter()
        instances = self.bones_session()
        bones, faint = self.bones_and_faint(radiograph)
        timing = {"bones": _ms_since(before)}
        damage: Damage | None = None
        if self.judge:
            before = time.perf_counter()
            bones, damage = self.damage(radiograph, bones, found=found)
            timing["judge"] = _ms_since(before)
        judge = self.judge().ref if self.judge and damage else None
        return SingleBones(bones, faint, instances.ref, damage, judge, timing)

    def analyse(
        self, radiograph: Radiograph, *, min_score: float | None = None, read_ms: float = 0.0, bones: bool = False
    ) -> Findings:
        """Both stages.

        Args:
            min_score: least raw score of a box that is reported; None: the doubt operating point. The decision
                does not depend on it.
            read_ms: time that reading took, to be told in `timing_ms`.
            bones: find single bones too, tell for each fracture which one it lies on, and judge each bone by itself.

        Raises:
            ModelMismatch: a model that is needed is missing or of another task.
        """
        started = time.perf_counter()
        bone = self.bone(radiograph)
        timing = {"read": read_ms, "gate": _ms_since(started)}
        found: tuple[Fracture, ...] = ()
        suspicion: Suspicion | None = None
        single = SingleBones()
        detector: Session | None = None
        if bone.present:
            before = time.perf_counter()
            detector = self.detector()
            lowest = detector.card.cut("doubt")
            least = lowest if min_score is None else min(min_score, lowest)
            asked = min(least, LEAST_DETECTED) if bones and self.judge else least
            detected = self.detections(radiograph, min_score=asked, best=True)
            suspicion = suspicion_of(detected)
            graded_ones = graded(detected, detector.card)
            found = tuple(each for each in graded_ones if each.grade or each.score >= least)
            timing["detect"] = _ms_since(before)
            if bones:
                single = self.single_bones(radiograph, found=detected)
                found = anchored(found, single.faint, height_px=radiograph.height_px, width_px=radiograph.width_px)
                found = demoted(found) if self.bones_session().card.outside_demotes else found
                timing |= single.timing_ms
        timing["total"] = read_ms + _ms_since(started)
        shown = [fracture for fracture in found if min_score is None or fracture.score >= min_score]
        return Findings(
            source=radiograph.source,
            sha256=radiograph.sha256,
            height_px=radiograph.height_px,
            width_px=radiograph.width_px,
            bone=bone,
            decision=decide(found) if bone.present else "not_a_radiograph",
            fractures=tuple(fracture for fracture in shown if fracture.grade),
            gate=self.gate.ref,
            detector=detector.ref if detector else None,
            timing_ms=timing,
            candidates=tuple(fracture for fracture in shown if not fracture.grade),
            suspicion=suspicion,
            bones=single.bones if bones else None,
            instances=single.instances,
            damage=single.damage,
            judge=single.judge,
        )


def graded(found: Detections, card: Card) -> tuple[Fracture, ...]:
    """The boxes with probability and grade, as the detector's card has them; see `Detections.shown`."""
    reach = {name: found.shown(card.cut(name)) for name in GRADES}
    return tuple(
        Fracture(
            box_xyxy_px=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            score=float(score),
            probability=card.calibration.probability(float(score)) if card.calibration else float(score),
            grade=next((name for name in GRADES if reach[name][index]), None),
        )
        for index, (box, score) in enumerate(zip(found.boxes_xyxy_px, found.scores, strict=True))
    )


def suspicion_of(found: Detections) -> Suspicion | None:
    """What the detector says of the whole picture; None where it has no scale for that."""
    if found.scale is None or found.mass is None:
        return None
    score, curve = found.scale.score(found.mass), found.scale.calibration
    return Suspicion(score, curve.probability(score) if curve else None)


def decide(fractures: tuple[Fracture, ...]) -> Decision:
    """The radiograph's decision: its gravest grade."""
    grades = {fracture.grade for fracture in fractures}
    if "fracture" in grades:
        return "fracture"
    return "doubt" if "doubt" in grades else "no_fracture"


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
