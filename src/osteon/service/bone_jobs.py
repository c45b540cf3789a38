"""What is done where bones were asked for: they are found on each page, and each fracture gets the one it lies on."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from osteon.findings import Bone, Damage, Findings, Fracture
from osteon.inference.anchoring import anchored, demoted
from osteon.inference.pipeline import decide
from osteon.service import bone_files, pictures
from osteon.service.bones import BonesClaims, BonesTask
from osteon.service.decoders import DecodedPage
from osteon.service.work import Work

_STAGES = ("bones", "judge")


class BonesJob(Work[BonesTask]):
    """Finds the bones of analyses that succeeded."""

    of = "bones"

    _claiming: BonesClaims

    def done(self, claim: BonesTask) -> bool:
        """Find the bones of each page, keep them, and note on which each fracture lies."""
        until = time.monotonic() + self.settings.time_limit_seconds
        analysis = self._store.find(claim.id)
        pages: list[dict[str, Any]] = []
        with self._reading.decoded(self._store.files, analysis) as file:
            for page, before in zip(file.pages, analysis.pages, strict=True):
                self.go_on(self._claiming.advance(claim, len(pages) / len(analysis.pages)), until)
                findings = self._page(page, before)
                bone_files.save(self._store.files, claim.id, page.page, findings.bones or ())
                pages.append(findings.to_json())
        self.go_on("held", until)
        return self._claiming.succeed(claim, pages)

    def _page(self, page: DecodedPage, before: Mapping[str, Any]) -> Findings:
        """The findings of a page and its bones; where the gate sees no bone, nobody looks for any."""
        findings = pictures.findings_from_json(before)
        if not findings.bone.present:
            return replace(findings, bones=(), instances=None, damage=None, judge=None)
        started = time.perf_counter()
        radiograph = page.radiograph()
        bones, faint = self._pipeline.bones_and_faint(radiograph)
        model = self._pipeline.bones_session()
        fractures = placed(findings, faint, demotes=model.card.outside_demotes)
        spent = {"bones": _ms_since(started)}
        damage: Damage | None = None
        if judge := self._pipeline.judge:
            started = time.perf_counter()
            bones, damage = self._pipeline.damage(radiograph, bones)
            spent["judge"] = _ms_since(started)
        for stage, ms in spent.items():
            self._metrics.staged(stage, ms)
        timing = findings.timing_ms
        earlier = {stage: ms for stage, ms in timing.items() if stage not in _STAGES}
        before_ms = sum(timing.get(stage, 0.0) for stage in _STAGES)
        total = earlier.get("total", 0.0) - before_ms + sum(spent.values())
        return replace(
            findings,
            fractures=fractures,
            decision=decide(fractures),
            bones=bones,
            instances=model.ref,
            timing_ms=earlier | spent | {"total": total},
            damage=damage,
            judge=judge().ref if judge and damage else None,
        )


def placed(findings: Findings, bones: tuple[Bone, ...], *, demotes: bool) -> tuple[Fracture, ...]:
    """The fractures of a page, each with the bone that it lies on.

    They stay in their order and all stay: readers' answers count them. So a doubt outside of the bones, which would
    not be shown had bones been looked for at first, stays a doubt that says where it lies.
    """
    found = anchored(findings.fractures, bones, height_px=findings.height_px, width_px=findings.width_px)
    if not demotes:
        return found
    return tuple(
        replace(lower, grade=lower.grade or fracture.grade)
        for fracture, lower in zip(found, demoted(found), strict=True)
    )


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
