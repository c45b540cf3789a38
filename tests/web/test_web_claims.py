"""Whoever works on an analysis holds it under a lease, and only the holder ends it."""

from datetime import timedelta

import pytest
from sqlalchemy import update
from test_web_store import DOUBT, add, in_threads

from osteon.service.claims import Claims
from osteon.service.settings import Settings
from osteon.service.store import Analysis, AnalysisStore
from osteon.service.tables import AnalysisRow, now

ERROR = {"type": "InvalidImage", "message": "m", "hint": "h"}


@pytest.fixture
def other(store: AnalysisStore, settings: Settings) -> Claims:
    return Claims(store.database, settings, "other")


def taken(store: AnalysisStore, claims: Claims, content: bytes = b"1") -> Analysis:
    claim = claims.take(add(store, content).analysis.id)
    assert claim
    return claim


def set_row(store: AnalysisStore, analysis_id: str, **values: object) -> None:
    with store.database.writing() as session:
        session.execute(update(AnalysisRow).where(AnalysisRow.id == analysis_id).values(**values))


class TestTaking:
    def test_is_oldest_first_and_for_one_only(self, store: AnalysisStore, claims: Claims) -> None:
        ids = [add(store, str(number).encode()).analysis.id for number in range(6)]
        first = claims.take_next()
        assert first and first.id == ids[0]
        taken: list[str | None] = []

        def take(_: int) -> None:
            claim = claims.take_next()
            taken.append(claim.id if claim else None)

        in_threads(8, take)
        found = [one for one in taken if one]
        assert len(set(found)) == len(found) and set(found) <= set(ids[1:])
        while claim := claims.take_next():
            found.append(claim.id)
        assert sorted(found) == sorted(ids[1:])

    def test_notes_who_and_when(self, store: AnalysisStore, claims: Claims) -> None:
        claim = taken(store, claims)
        assert (claim.status, claim.worker, claim.attempts) == ("running", claims.worker, 1)
        assert claim.started_at and claim.changed_at >= claim.created_at
        assert claims.take(claim.id) is None


class TestFence:
    def test_ends_once(self, store: AnalysisStore, claims: Claims) -> None:
        claim = taken(store, claims)
        assert claims.succeed(claim, DOUBT)
        assert not claims.succeed(claim, []) and not claims.fail(claim, ERROR) and not claims.cancel(claim)
        assert not claims.retry(claim) and not claims.hand_back(claim)
        assert claims.advance(claim, 0.5) == "lost"
        assert store.find(claim.id).pages == tuple(DOUBT)

    def test_late_worker_cannot_end_what_another_has_now(
        self, store: AnalysisStore, claims: Claims, other: Claims
    ) -> None:
        late = taken(store, claims)
        assert other.release_all() == 1
        now_its = other.take(late.id)
        assert now_its and now_its.attempts == 2
        assert not claims.succeed(late, DOUBT) and claims.standing(late) == "lost"
        assert other.succeed(now_its, DOUBT)

    def test_same_worker_cannot_end_its_earlier_attempt(self, store: AnalysisStore, claims: Claims) -> None:
        late = taken(store, claims)
        set_row(store, late.id, status="queued")
        again = claims.take(late.id)
        assert again and not claims.succeed(late, DOUBT) and claims.standing(again) == "held"


class TestLeases:
    def test_silent_worker_loses_what_it_had(self, store: AnalysisStore, claims: Claims, other: Claims) -> None:
        silent, heard = taken(store, claims), taken(store, claims, b"2")
        for claim in (silent, heard):
            set_row(store, claim.id, lease_until=now() - timedelta(seconds=1))
        claims.extend([heard.id])
        assert other.release_expired() == 1
        assert store.find(silent.id).status == "queued" and store.find(heard.id).status == "running"
        assert other.take(silent.id), "at once the first time"

    def test_worker_cannot_extend_what_another_has(self, store: AnalysisStore, claims: Claims, other: Claims) -> None:
        claim = taken(store, claims)
        set_row(store, claim.id, lease_until=now() - timedelta(seconds=1))
        other.extend([claim.id])
        assert other.release_expired() == 1

    def test_what_interrupts_again_waits_longer_and_is_given_up(
        self, store: AnalysisStore, claims: Claims, other: Claims
    ) -> None:
        analysis_id = add(store).analysis.id
        for attempt in range(1, claims.settings.max_attempts + 1):
            set_row(store, analysis_id, not_before=None)
            claim = claims.take(analysis_id)
            assert claim and claim.attempts == attempt
            assert other.release_all() == 1
        given_up = store.find(analysis_id)
        assert given_up.status == "failed" and given_up.error and given_up.error["type"] == "Interrupted"
        assert given_up.error["hint"]

    def test_cancelled_while_its_worker_died_stays_cancelled(
        self, store: AnalysisStore, claims: Claims, other: Claims
    ) -> None:
        claim = taken(store, claims)
        store.cancel(claim.id)
        other.release_all()
        assert store.find(claim.id).status == "cancelled"

    def test_what_never_ends_is_failed_from_outside(self, store: AnalysisStore, claims: Claims) -> None:
        endless, quick = taken(store, claims), taken(store, claims, b"2")
        set_row(store, endless.id, started_at=now() - timedelta(seconds=claims.settings.time_limit_seconds + 60))
        assert claims.fail_overdue() == 1
        failed = store.find(endless.id)
        assert failed.status == "failed" and failed.error and failed.error["type"] == "AnalysisTimedOut"
        assert claims.standing(quick) == "held" and claims.standing(endless) == "lost"


class TestRetries:
    def test_wait_twice_as_long_each_time_and_end(self, store: AnalysisStore, settings: Settings) -> None:
        claims = Claims(store.database, settings.changed(max_attempts=3, retry_seconds=100), "w")
        analysis_id = add(store).analysis.id
        waits = []
        for _ in range(2):
            set_row(store, analysis_id, not_before=None)
            claim = claims.take(analysis_id)
            assert claim and claims.retry(claim)
            with store.database.reading() as session:
                row = session.get(AnalysisRow, claim.number)
                assert row and row.not_before
                waits.append((row.not_before - row.changed_at).total_seconds())
        assert waits == [pytest.approx(100, abs=1), pytest.approx(200, abs=1)]
        assert claims.take_next() is None and claims.take(analysis_id) is None, "not before its time"
        assert claims.due(limit=9) == []
        set_row(store, analysis_id, not_before=now())
        last = claims.take(analysis_id)
        assert last and not claims.retry(last), "the last attempt"

    def test_handed_back_is_as_if_not_begun(self, store: AnalysisStore, claims: Claims, other: Claims) -> None:
        claim = taken(store, claims)
        assert claims.hand_back(claim)
        assert store.find(claim.id).attempts == 0
        assert other.take_next()
