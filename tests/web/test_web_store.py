"""What a store keeps: idempotent by content, each owner's own, bounded, in order."""

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from osteon.errors import AnalysisNotFound, TooManyWaiting
from osteon.service.claims import Claims
from osteon.service.files import ORIGINAL
from osteon.service.retention import remove_expired, remove_orphans
from osteon.service.settings import Settings
from osteon.service.store import Accepted, Analysis, AnalysisStore, Upload
from osteon.service.tables import AnswerRow, AuditRow, now

DOUBT, FRACTURE = [{"decision": "doubt"}], [{"decision": "no_fracture"}, {"decision": "fracture"}]


def add(store: AnalysisStore, content: bytes = b"1", name: str = "a.png", **given: object) -> Accepted:
    values: dict[str, object] = {"queue_limit": 100, "models": "m"} | given
    return store.add([Upload(name, content, study=str(values.pop("study", "")))], **values)[0]  # type: ignore[arg-type]


def done(
    store: AnalysisStore, claims: Claims, content: bytes, pages: list[dict[str, str]], **given: object
) -> Analysis:
    claim = claims.take(add(store, content, **given).analysis.id)
    assert claim and claims.succeed(claim, pages)
    return store.find(claim.id)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class TestIdempotence:
    def test_same_content_is_the_same_analysis(self, store: AnalysisStore) -> None:
        first, again = add(store), add(store, name="another name.png")
        assert (first.new, again.new) == (True, False)
        assert again.analysis == first.analysis
        assert store.waiting() == 1
        assert store.files.ids(until=now() + timedelta(minutes=1)) == [first.analysis.id]

    def test_same_file_twice_in_a_batch_is_one_analysis(self, store: AnalysisStore) -> None:
        uploads = [Upload("a", b"1"), Upload("b", b"2"), Upload("c", b"1")]
        accepted = store.add(uploads, queue_limit=2, models="m")
        assert [one.new for one in accepted] == [True, True, False]
        assert accepted[2].analysis.id == accepted[0].analysis.id

    @pytest.mark.parametrize("other", [{"owner": "somebody"}, {"models": "others"}, {"content": b"2"}])
    def test_other_owner_models_or_content_is_another(self, store: AnalysisStore, other: dict[str, object]) -> None:
        first, second = add(store), add(store, **other)  # type: ignore[arg-type]
        assert second.new and second.analysis.id != first.analysis.id

    def test_asked_anew_it_is_another_and_the_one_from_then_on(self, store: AnalysisStore) -> None:
        first, second = add(store), add(store, again=True)
        assert second.new and second.analysis.id != first.analysis.id
        assert add(store).analysis.id == second.analysis.id
        assert store.find(first.analysis.id).status == "queued", "the older one goes on"

    @pytest.mark.parametrize("end", ["failed", "cancelled", "removed"])
    def test_what_gave_no_result_is_no_answer(self, store: AnalysisStore, claims: Claims, end: str) -> None:
        first = add(store).analysis
        if end == "failed":
            claim = claims.take(first.id)
            assert claim and claims.fail(claim, {"type": "t", "message": "m", "hint": "h"})
        elif end == "cancelled":
            store.cancel(first.id)
        else:
            store.remove(first.id)
        assert add(store).new

    def test_holds_for_many_at_once(self, store: AnalysisStore) -> None:
        ids: list[str] = []
        in_threads(8, lambda _: ids.append(add(store, b"the same").analysis.id))
        assert len(ids) == 8 and len(set(ids)) == 1
        assert store.waiting() == 1
        assert len(store.files.ids(until=now() + timedelta(minutes=1))) == 1


class TestBackPressure:
    def test_limit_holds_for_many_at_once(self, store: AnalysisStore) -> None:
        refused: list[int] = []

        def send(number: int) -> None:
            try:
                add(store, str(number).encode(), queue_limit=3)
            except TooManyWaiting:
                refused.append(number)

        in_threads(10, send)
        assert store.waiting() == 3 and len(refused) == 7
        assert len(store.files.ids(until=now() + timedelta(minutes=1))) == 3, "what was refused leaves nothing"

    def test_what_is_known_is_answered_though_the_queue_is_full(self, store: AnalysisStore) -> None:
        first = add(store, queue_limit=1)
        assert add(store, queue_limit=1).analysis == first.analysis


class TestOwners:
    def test_see_their_own_only(self, store: AnalysisStore) -> None:
        mine, other = add(store, owner="me").analysis, add(store, owner="other").analysis
        assert store.page(owner="me") == [mine]
        assert store.find(mine.id, owner="me") == mine
        assert store.page() == [other, mine], "nobody in particular sees all"
        for attempt in (
            lambda: store.find(other.id, owner="me"),
            lambda: store.cancel(other.id, owner="me"),
            lambda: store.remove(other.id, owner="me"),
            lambda: store.mark_seen(other.id, owner="me"),
        ):
            with pytest.raises(AnalysisNotFound):
                attempt()
        assert store.find(other.id) == other

    def test_hear_of_their_own_changes_only(self, store: AnalysisStore) -> None:
        start = now()
        mine, other = add(store, owner="me").analysis, add(store, owner="other").analysis
        assert [one.id for one in store.changed(since=start, owner="me")[0]] == [mine.id]
        store.remove(other.id)
        assert store.changed(since=start, owner="me")[1] == []
        assert [gone for _, gone in store.changed(since=start, owner="other")[1]] == [other.id]


class TestLists:
    def test_filter_by_decision_study_name_and_what_was_not_seen(self, store: AnalysisStore, claims: Claims) -> None:
        doubt = done(store, claims, b"1", DOUBT, name="Запястье_1.png", study="s")
        fracture = done(store, claims, b"2", FRACTURE, name="elbow 100%.png")
        assert fracture.decision == "fracture", "the gravest of all pages"
        assert store.page(decision="doubt") == [doubt]
        assert store.page(study="s") == [doubt]
        assert store.page(search="запястье") == [doubt]
        assert store.page(search="100%") == [fracture] and store.page(search="1_0") == []
        assert store.page(unseen=True) == [fracture, doubt]
        seen = store.mark_seen(doubt.id)
        assert seen.seen_at and store.page(unseen=True) == [fracture]
        assert store.mark_seen(doubt.id, seen=False).seen_at is None
        assert store.page(status="succeeded", before=fracture.number) == [store.find(doubt.id)]

    def test_character_that_a_database_cannot_hold_is_found_nowhere(self, store: AnalysisStore) -> None:
        add(store)
        assert store.page(search="\0") == [] and store.page(study="\0") == []
        with pytest.raises(AnalysisNotFound):
            store.find("\0")


class TestCancellation:
    def test_of_what_waits_is_at_once(self, store: AnalysisStore, claims: Claims) -> None:
        waiting = add(store).analysis
        cancelled = store.cancel(waiting.id)
        assert cancelled.status == "cancelled" and cancelled.finished_at
        assert claims.take(waiting.id) is None

    def test_of_what_runs_is_told_to_whoever_does_it(self, store: AnalysisStore, claims: Claims) -> None:
        claim = claims.take(add(store).analysis.id)
        assert claim
        assert store.cancel(claim.id).status == "running"
        assert claims.advance(claim, 0.5) == "cancelled"
        assert claims.cancel(claim) and store.find(claim.id).status == "cancelled"

    def test_of_what_has_ended_changes_nothing(self, store: AnalysisStore, claims: Claims) -> None:
        ended = done(store, claims, b"1", DOUBT)
        assert store.cancel(ended.id) == ended


class TestRemoval:
    def test_takes_answers_and_files_along_and_leaves_a_trail(self, store: AnalysisStore, claims: Claims) -> None:
        ended = done(store, claims, b"1", DOUBT, owner="me")
        with store.database.writing() as session:
            answer = {"verdict": "fracture", "comment": "", "boxes": [], "superseded": False}
            session.add(AnswerRow(analysis_id=ended.id, page=0, author="me", **answer))
        store.remove(ended.id, actor="me")
        assert store.files.names(ended.id) == []
        with store.database.reading() as session:
            assert session.scalars(select(AnswerRow)).all() == []
            trail = session.execute(select(AuditRow.action, AuditRow.actor).order_by(AuditRow.id)).all()
        assert [tuple(row) for row in trail] == [
            ("accepted", "me"),
            ("begun", claims.worker),
            ("succeeded", claims.worker),
            ("removed", "me"),
        ]


class TestRetention:
    def test_what_ended_goes_when_its_time_is_over(self, store: AnalysisStore, settings: Settings) -> None:
        keeping = Claims(store.database, settings.changed(retention_days=1), "w")
        fleeting = Claims(store.database, settings.changed(retention_days=1e-9), "w")
        kept, gone = done(store, keeping, b"1", DOUBT), done(store, fleeting, b"2", DOUBT)
        assert kept.removal_at and kept.removal_at > now()
        waiting = add(store, b"3").analysis
        assert remove_expired(store, days=0) == 1
        assert store.page() == [waiting, kept]
        assert store.files.names(gone.id) == []

    def test_what_ended_before_there_was_a_time_goes_too(self, store: AnalysisStore, claims: Claims) -> None:
        done(store, claims, b"1", DOUBT)
        assert remove_expired(store, days=0) == 0
        assert remove_expired(store, days=1) == 0
        assert remove_expired(store, days=1e-9) == 1

    def test_files_without_a_row_go_once_they_are_old(self, store: AnalysisStore) -> None:
        kept = add(store).analysis
        orphan = "0" * 32
        store.files.put(orphan, ORIGINAL, b"left by a process that was killed")
        assert remove_orphans(store) == 0, "it may be coming in this moment"
        assert remove_orphans(store, age=timedelta(seconds=-60)) == 1
        assert store.files.names(orphan) == [] and store.files.names(kept.id) == [ORIGINAL]
