"""What each method of a client asks the service, step by step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osteon.client.exchange import (
    MAYBE_HEARD,
    Ask,
    Patience,
    Pause,
    Plan,
    asked,
    asked_json,
    asked_record,
    understood,
    unreachable,
)
from osteon.client.records import Accepted, Analysis, Answer, Bones, BoxAnswer, Preview, Sent, Verdict
from osteon.client.sources import Content, Source
from osteon.errors import InvalidImage, OsteonError, RequestRefused, ServiceUnreachable

API = "/api/v1"
IN_ONE_BYTES = 8 * 2**20
"""Larger files are sent in parts, so that a broken connection costs one part."""
PART_BYTES = 4 * 2**20
PREVIEW_BYTES = 4 * 2**20
_HOLD_S = 30.0
"""Longest answer to be held in one request: proxies and firewalls cut what is silent for longer."""
_LOOK_S = (0.05, 1.0)
_TOO_LARGE, _CONFLICT, _UNKNOWN = 413, 409, 404


@dataclass(frozen=True)
class Plans:
    """The plans of one client. Paths of analyses are checked: an id is hexadecimal digits."""

    patience: Patience
    in_one_bytes: int = IN_ONE_BYTES
    part_bytes: int = PART_BYTES

    def preview(self, source: Source, *, name: str | None) -> Plan[Preview]:
        """The gate's answer; what is too large for a preview goes up in parts and is thrown away afterwards."""
        content = Content.of(source, name)
        if content.size_bytes <= min(PREVIEW_BYTES, self.in_one_bytes):
            try:
                ask = Ask("POST", f"{API}/previews", form=(content.name, content.part()))
                return (yield from asked_record(ask, self.patience, Preview.of))
            except RequestRefused as error:
                if error.status != _TOO_LARGE:
                    raise
        where = yield from self._sent_in_parts(content, study="")
        try:
            preview = yield from asked_record(Ask("POST", f"{where}/preview"), self.patience, Preview.of)
        except OsteonError:
            yield from self._forgotten(where)
            raise
        yield from self._forgotten(where)
        return preview

    def submit(self, source: Source, *, name: str | None, wait_s: float, study: str, again: bool) -> Plan[Accepted]:
        """A file's analyses, finished or as they stand once `wait_s` is over."""
        until = time.monotonic() + wait_s
        content = Content.of(source, name)
        hold_s = min(wait_s, _HOLD_S)
        params = {"wait": f"{hold_s:g}"} if wait_s > 0 else {}
        params |= {"again": "true"} if again else {}
        if content.size_bytes <= self.in_one_bytes:
            form = (content.name, content.part())
            fields = {"study": study} if study else {}
            ask = Ask("POST", f"{API}/analyses", params, form=form, fields=fields, hold_s=hold_s, repeatable=not again)
            accepted = yield from asked_record(ask, self.patience, Accepted.of)
        else:
            accepted = yield from self._submitted_in_parts(content, params, study=study)
        finished = []
        for analysis in accepted.analyses:
            if wait_s > 0 and not analysis.finished:
                analysis = yield from self.wait_for(analysis.id, seconds=until - time.monotonic())
            finished.append(analysis)
        return Accepted(tuple(finished), accepted.errors)

    def analyse(self, source: Source, *, name: str | None, wait_s: float, study: str, again: bool) -> Plan[Analysis]:
        """The analysis of a file with one image."""
        accepted = yield from self.submit(source, name=name, wait_s=wait_s, study=study, again=again)
        if len(accepted.analyses) != 1 or accepted.errors:
            count = len(accepted.analyses) + len(accepted.errors)
            raise InvalidImage(
                f"the file holds {count} images, expected one", hint="send an archive with `analyse_archive`"
            )
        return accepted.analyses[0]

    def sent(self, path: Path, *, wait_s: float, study: str) -> Plan[Sent]:
        """What comes of one file of many; its error is told, not raised, unless nothing answers at all."""
        try:
            accepted = yield from self.submit(path, name=None, wait_s=wait_s, study=study, again=False)
        except ServiceUnreachable:
            raise
        except OsteonError as error:
            return Sent(path, error=error)
        return Sent(path, accepted.analyses, _of_several(accepted))

    def analysis(self, analysis_id: str) -> Plan[Analysis]:
        """An analysis as it stands."""
        return (yield from asked_record(Ask("GET", _of(analysis_id)), self.patience, Analysis.of))

    def analyses(self, params: Mapping[str, str]) -> Plan[tuple[list[Analysis], str | None]]:
        """One page of the list, and the cursor of the next."""
        answer = yield from asked_json(Ask("GET", f"{API}/analyses", params), self.patience)
        accepted = understood(Accepted.of, answer)
        return list(accepted.analyses), answer.get("next_cursor")

    def wait_for(self, analysis_id: str, *, seconds: float) -> Plan[Analysis]:
        """The analysis once it is finished, or as it stands when the time is over."""
        until = time.monotonic() + seconds
        pause_s, longest_s = _LOOK_S
        while True:
            current = yield from self.analysis(analysis_id)
            left = until - time.monotonic()
            if current.finished or left <= 0:
                return current
            yield Pause(min(pause_s, left))
            pause_s = min(pause_s * 1.3, longest_s)

    def cancel(self, analysis_id: str) -> Plan[Analysis]:
        """Have an analysis not be done."""
        return (yield from asked_record(Ask("POST", f"{_of(analysis_id)}/cancel"), self.patience, Analysis.of))

    def remove(self, analysis_id: str) -> Plan[None]:
        """Remove an analysis; after a broken connection, that it is gone already is what was wanted."""
        ask = Ask("DELETE", _of(analysis_id), repeatable=False)
        try:
            yield from asked(ask, self.patience)
        except ServiceUnreachable:
            yield from self._forgotten(ask.path)

    def seen(self, analysis_id: str, *, seen: bool) -> Plan[Analysis]:
        """Mark an analysis as looked at, or not."""
        ask = Ask("PATCH", _of(analysis_id), json={"seen": seen})
        return (yield from asked_record(ask, self.patience, Analysis.of))

    def file(self, analysis_id: str, name: str, **params: str | int) -> Plan[bytes]:
        """A picture or report of an analysis."""
        given = {key: str(value) for key, value in params.items()}
        reply = yield from asked(Ask("GET", f"{_of(analysis_id)}/{name}", given), self.patience)
        return reply.content

    def bones(self, analysis_id: str, *, wait_s: float, again: bool) -> Plan[Bones]:
        """Have the bones found, and wait until they are, or the time is over."""
        until = time.monotonic() + wait_s
        while True:
            hold_s = max(0.0, min(until - time.monotonic(), _HOLD_S))
            params = ({"wait": f"{hold_s:g}"} if hold_s else {}) | ({"again": "true"} if again else {})
            ask = Ask("POST", f"{_of(analysis_id)}/bones", params, hold_s=hold_s, repeatable=not again)
            current = yield from asked_record(ask, self.patience, Bones.of)
            if current.finished or time.monotonic() >= until:
                return current
            again = False

    def answers(self, analysis_id: str) -> Plan[tuple[Answer, ...]]:
        """The readers' answers."""
        value = yield from asked_json(Ask("GET", f"{_of(analysis_id)}/answers"), self.patience)
        listed = value.get("answers", ()) if isinstance(value, Mapping) else value
        return tuple(understood(Answer.of, one) for one in listed)

    def answer(
        self, analysis_id: str, *, page: int, verdict: Verdict, comment: str, boxes: Sequence[BoxAnswer]
    ) -> Plan[Answer]:
        """Add a reader's answer."""
        drawn = [{"box_xyxy_px": list(box.box_xyxy_px), "status": box.status, "of": box.of} for box in boxes]
        value = {"page": page, "verdict": verdict, "comment": comment, "boxes": drawn}
        ask = Ask("POST", f"{_of(analysis_id)}/answers", json=value, repeatable=False)
        return (yield from asked_record(ask, self.patience, Answer.of))

    def _submitted_in_parts(self, content: Content, params: Mapping[str, str], *, study: str) -> Plan[Accepted]:
        """As `submit`. Where the last answer was lost, the upload is gone; sent again, it gives the same analysis."""
        again = "again" in params
        for last in (True,) if again else (False, True):
            where = yield from self._sent_in_parts(content, study=study)
            ask = Ask("POST", f"{where}/analysis", params, hold_s=_HOLD_S, repeatable=not again)
            try:
                return (yield from asked_record(ask, self.patience, Accepted.of))
            except RequestRefused as error:
                if last or error.status != _UNKNOWN:
                    yield from self._forgotten(where)
                    raise
        raise AssertionError("the last round returns or raises")

    def _sent_in_parts(self, content: Content, *, study: str) -> Plan[str]:
        """The address of a complete upload."""
        made = {"name": content.name, "size_bytes": content.size_bytes} | ({"study": study} if study else {})
        state = yield from asked_json(Ask("POST", f"{API}/uploads", json=made), self.patience)
        where, offset = understood(lambda new: (f"{API}/uploads/{new['id']}", _received(new)), state)
        stuck = 0
        while offset < content.size_bytes:
            arrived = yield from self._part(where, offset, content.part(offset, self.part_bytes))
            stuck = stuck + 1 if arrived <= offset else 0
            if stuck:
                if stuck > self.patience.breaks:
                    raise unreachable("the upload does not get on")
                yield Pause(self.patience.pause_s(stuck))
            offset = arrived
        return where

    def _part(self, where: str, offset: int, part: bytes) -> Plan[int]:
        """How many bytes the service has after this part; it is asked where the connection broke meanwhile."""
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
        ask = Ask("PATCH", where, headers=headers, content=part, repeatable=False)
        try:
            return (yield from asked_record(ask, self.patience, _received))
        except ServiceUnreachable:
            pass
        except RequestRefused as error:
            if error.status not in (_CONFLICT, *MAYBE_HEARD):
                raise
        return (yield from asked_record(Ask("GET", where), self.patience, _received))

    def _forgotten(self, path: str) -> Plan[None]:
        try:
            yield from asked(Ask("DELETE", path), self.patience)
        except RequestRefused as error:
            if error.status != _UNKNOWN:
                raise


def _of_several(accepted: Accepted) -> OsteonError | None:
    """The first error of an archive that was taken in part."""
    for failed in accepted.errors:
        return RequestRefused(f"{failed.source}: {failed.message}", hint=failed.hint, kind=failed.type, status=422)
    return None


def _of(analysis_id: str) -> str:
    if not analysis_id.isalnum():
        raise ValueError("an id is letters and digits")
    return f"{API}/analyses/{analysis_id}"


def _received(state: Any) -> int:
    return int(state["received_bytes"])
