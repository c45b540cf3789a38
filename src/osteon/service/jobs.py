"""What is done with one claimed analysis: its pages are analysed, and the result is noted."""

import time

from osteon.service import pictures
from osteon.service.claims import Claims
from osteon.service.store import Analysis
from osteon.service.work import Work

_READ = 0.1
"""Progress once the first page is decoded."""
_NEWS_SECONDS = 0.25
"""A claim may be lost or cancelled after so long."""


class Job(Work[Analysis]):
    """Analyses the pages of a file."""

    of = "analysis"

    _claiming: Claims

    def done(self, claim: Analysis) -> bool:
        """Analyse each page and note the findings; False where the claim is lost or shall be cancelled."""
        return self._claiming.succeed(claim, self._pages(claim))

    def count(self, status: str) -> None:
        """Count an analysis that ended."""
        self._metrics.finished(status)

    def _pages(self, claim: Analysis) -> list[dict[str, object]]:
        started = time.monotonic()
        until = started + self._claiming.settings.time_limit_seconds
        found: list[dict[str, object]] = []
        with self._reading.decoded(self._store.files, claim) as file:
            for page in file.pages:
                if found or time.monotonic() - started > _NEWS_SECONDS:  # a claim of just now is held
                    self.go_on(self._claiming.advance(claim, 1 - (1 - _READ) / (len(found) + 1)), until)
                findings = self._pipeline.analyse(page.radiograph(), read_ms=page.read_ms)
                pictures.save(self._store.files, claim.id, file, page, findings.bone)
                self._metrics.analysed(findings)
                found.append(findings.to_json())
        self.go_on("held", until)
        return found
