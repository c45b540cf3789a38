"""What is done where bones were asked for: they are found on each page, and each fracture gets the one it lies on."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from osteon.findings import Bone, Findings, Fracture
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
        found = self._pipeline.single_bones(page.radiograph())
        fractures = placed(findings, found.faint, demotes=self._pipeline.bones_session().card.outside_demotes)
        for stage, ms in found.timing_ms.items():
            self._metrics.staged(stage, ms)
        earlier = {stage: ms for stage, ms in findings.timing_ms.items() if stage not in _STAGES}
        known = sum(ms for stage, ms in findings.timing_ms.items() if stage in _STAGES)
        total = earlier.get("total", 0.0) - known + sum(found.timing_ms.values())
        return replace(
            findings,
            fractures=fractures,
            decision=decide(fractures),
            bones=found.bones,
            instances=found.instances,
            timing_ms={**earlier, **found.timing_ms, "total": total},
            damage=found.damage,
            judge=found.judge,
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
