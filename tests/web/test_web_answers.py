"""A reader's answers: kept, checked, owned, never lost."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from PIL import Image
from serving import Running, radiograph

import models
from osteon.errors import AnalysisNotFound, InvalidAnswer
from osteon.service.answers import (
    MOST_COMMENT_CHARACTERS,
    STATUSES,
    VERDICTS,
    AnswerBox,
    Answers,
    Reading,
    checked,
)
from osteon.service.tables import AuditRow

BOX = (100.0, 120.0, 160.0, 190.0)
FINDINGS = {
    "width_px": 350,
    "height_px": 450,
    "fractures": [{"box_xyxy_px": [10.1, 20.2, 30.3, 40.4]}, {"box_xyxy_px": [50.0, 60.0, 70.0, 80.0]}],
}
FIRST, SECOND = ((10.1, 20.2, 30.3, 40.4), (50.0, 60.0, 70.0, 80.0))


@pytest.fixture(scope="module")
def sent(shared: Running) -> dict[str, Any]:
    analysis = shared.analysed(radiograph(), name="answered.png")
    assert len(analysis["findings"]["fractures"]) == 1
    return analysis


def answer(server: Running, analysis: dict[str, Any], **value: Any) -> httpx.Response:
    return server.client.post(f"/api/v1/analyses/{analysis['id']}/answers", json={"verdict": "fracture"} | value)


def answers_of(server: Running, analysis: dict[str, Any]) -> list[dict[str, Any]]:
    reply = server.client.get(f"/api/v1/analyses/{analysis['id']}/answers")
    assert reply.status_code == 200
    answers: list[dict[str, Any]] = reply.json()["answers"]
    return answers


class TestAnswering:
    def test_an_answer_is_kept_with_who_and_when(self, shared: Running, sent: dict[str, Any]) -> None:
        model = sent["findings"]["fractures"][0]["box_xyxy_px"]
        boxes = [
            {"box_xyxy_px": model, "status": "accepted", "of": 0},
            {"box_xyxy_px": list(BOX), "status": "added", "of": None},
        ]
        began = datetime.now(UTC)
        reply = answer(shared, sent, comment="  second line\nhere ", boxes=boxes)
        assert reply.status_code == 201, reply.text
        kept = reply.json()
        assert (kept["page"], kept["verdict"], kept["comment"]) == (1, "fracture", "second line\nhere")
        assert kept["boxes"] == boxes
        assert (kept["author"], kept["counts"]) == ("local", True)
        assert abs(datetime.fromisoformat(kept["created_at"]) - began) < timedelta(minutes=1)
        assert answers_of(shared, sent)[0] == kept

    def test_the_newest_counts_and_the_earlier_stay(self, shared: Running) -> None:
        analysis = shared.analysed(radiograph(spot=200), name="twice.png")
        first, second = (answer(shared, analysis, verdict=v).json() for v in ("unsure", "no_fracture"))
        assert answers_of(shared, analysis) == [second, first | {"counts": False}]
        counting = Answers(shared.service.store.database).counting(analysis["id"])
        assert [counting[1].verdict, counting[1].superseded] == ["no_fracture", False]

    def test_each_page_has_its_own(self, shared: Running) -> None:
        folder = shared.service.settings.data_dir
        pages = [Image.fromarray(models.radiograph_pixels(450, 350, spot=s)) for s in (255, 150)]
        pages[0].save(folder / "two.tif", save_all=True, append_images=pages[1:])
        analysis = shared.analysed((folder / "two.tif").read_bytes(), name="two.tif")
        answer(shared, analysis, page=1, verdict="fracture")
        answer(shared, analysis, page=2, verdict="no_fracture")
        assert [one["counts"] for one in answers_of(shared, analysis)] == [True, True]
        assert answer(shared, analysis, page=3).status_code == 404

    def test_it_stands_in_the_audit_trail(self, shared: Running) -> None:
        analysis = shared.analysed(radiograph(spot=210), name="audited.png")
        answer(shared, analysis)
        with shared.service.store.database.reading() as session:
            rows = [row for row in session.query(AuditRow) if row.analysis_id == analysis["id"]]
        assert [(row.action, row.actor) for row in rows if row.action == "answered"] == [("answered", "local")]

    def test_it_goes_with_its_analysis(self, shared: Running) -> None:
        analysis = shared.analysed(radiograph(spot=220), name="gone.png")
        answer(shared, analysis)
        assert shared.client.delete(f"/api/v1/analyses/{analysis['id']}").status_code == 204
        assert answer(shared, analysis).status_code == 404
        assert Answers(shared.service.store.database).of(analysis["id"]) == []

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ({"verdict": "maybe"}, "verdict"),
            ({"page": 0}, "page"),
            ({"comment": "x" * (MOST_COMMENT_CHARACTERS + 1)}, "comment"),
            ({"boxes": [{"box_xyxy_px": [1, 2, 3], "status": "added"}]}, "box_xyxy_px"),
            ({"boxes": [{"box_xyxy_px": [1, 2, 1e9, 4], "status": "added"}]}, "box_xyxy_px"),
            ({"boxes": [{"box_xyxy_px": [1, 2, 351, 40], "status": "added"}]}, "beyond the page of 350 x 450 px"),
            ({"boxes": [{"box_xyxy_px": [1, 2, 30, 40], "status": "accepted", "of": 7}]}, "there are 1"),
            ({"verdict": "no_fracture", "boxes": [{"box_xyxy_px": [1, 2, 30, 40], "status": "added"}]}, "no_fracture"),
            ({"surprise": 1}, "Extra inputs"),
        ],
    )
    def test_a_wrong_one_is_refused_with_a_reason(
        self, shared: Running, sent: dict[str, Any], value: dict[str, Any], told: str
    ) -> None:
        before = answers_of(shared, sent)
        reply = answer(shared, sent, **value)
        assert reply.status_code == 422
        problem = reply.json()
        assert told in problem["detail"]
        assert problem["hint"]
        assert answers_of(shared, sent) == before

    def test_a_comment_does_not_come_back_in_an_error_or_a_log(
        self, shared: Running, sent: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        canary = "Ivanov^Comment^1950"
        reply = answer(shared, sent, comment=canary, boxes=[{"box_xyxy_px": [5, 5, 2, 2], "status": "added"}])
        assert reply.status_code == 422
        assert canary not in reply.text
        assert answer(shared, sent, comment=canary).status_code == 201
        assert canary not in caplog.text

    def test_an_analysis_that_is_not_finished_has_no_page_to_answer_to(self, shared: Running) -> None:
        with pytest.raises(AnalysisNotFound):
            Answers(shared.service.store.database).add("0" * 32, Reading(1, "unsure"), author="local")
        assert shared.client.get(f"/api/v1/analyses/{'0' * 32}/answers").status_code == 404

    def test_others_do_not_see_or_give_answers(self, shared: Running, sent: dict[str, Any]) -> None:
        with pytest.raises(AnalysisNotFound):
            Answers(shared.service.store.database).add(
                sent["id"], Reading(1, "unsure"), author="other", owner="another key"
            )


def box(coordinates: tuple[float, ...], status: str, of: int | None = None) -> AnswerBox:
    x0, y0, x1, y1 = coordinates
    assert status in STATUSES
    return AnswerBox((x0, y0, x1, y1), status, of)


class TestChecked:
    def test_an_accepted_box_becomes_exactly_the_models(self) -> None:
        near = (10.0, 20.0, 30.0, 40.0)
        reading = checked(Reading(1, "fracture", boxes=(box(near, "accepted", 0),)), FINDINGS)
        assert reading.boxes[0].box_xyxy_px == FIRST

    @pytest.mark.parametrize("verdict", VERDICTS)
    def test_a_rejected_box_goes_with_every_verdict(self, verdict: Any) -> None:
        reading = Reading(1, verdict, boxes=(box(FIRST, "rejected", 0), box(SECOND, "rejected", 1)))
        assert checked(reading, FINDINGS) == reading

    @pytest.mark.parametrize(
        ("boxes", "told"),
        [
            ([box((0, 0, 9, 9), "accepted", 0)], "not the model's"),
            ([box(FIRST, "accepted")], "without `of`"),
            ([box(BOX, "added", 0)], "with `of`"),
            ([box(FIRST, "accepted", -1)], "model's box -1"),
            ([box(FIRST, "accepted", 0), box(BOX, "redrawn", 0)], "same box"),
            ([box((5, 5, 5.5, 9), "added")], "no box"),
            ([box((9, 9, 5, 5), "added")], "no box"),
            ([box((0, 0, float("nan"), 5), "added")], "no box"),
            ([box((-1, 0, 5, 5), "added")], "beyond"),
            ([box((0, 0, 5, 450.5), "redrawn", 0)], "beyond"),
            ([box(BOX, "added")] * 201, "201 boxes"),
        ],
    )
    def test_a_box_that_cannot_be_is_refused(self, boxes: list[AnswerBox], told: str) -> None:
        with pytest.raises(InvalidAnswer, match=told):
            checked(Reading(1, "fracture", boxes=tuple(boxes)), FINDINGS)

    def test_a_box_may_touch_the_edges(self) -> None:
        whole = Reading(1, "fracture", boxes=(box((0, 0, 350, 450), "added"),))
        assert checked(whole, FINDINGS) == whole

    @pytest.mark.parametrize("verdict", ["no_fracture", "unusable"])
    def test_a_verdict_that_contradicts_the_boxes_is_refused(self, verdict: Any) -> None:
        for status, of in (("accepted", 0), ("redrawn", 0), ("added", None)):
            with pytest.raises(InvalidAnswer, match=verdict):
                checked(Reading(1, verdict, boxes=(box(FIRST, status, of),)), FINDINGS)


class TestAllCounting:
    def test_only_the_newest_of_each_page_and_since(self, serve: Callable[..., Running]) -> None:
        server = serve()
        first, second = (server.analysed(radiograph(spot=s), name=f"{s}.png") for s in (255, 230))
        answer(server, first, verdict="unsure")
        answer(server, second, verdict="no_fracture")
        late = answer(server, first, verdict="fracture").json()
        answers = Answers(server.service.store.database)
        assert [(a.analysis_id, a.verdict) for a in answers.all_counting()] == [
            (first["id"], "fracture"),
            (second["id"], "no_fracture"),
        ]
        since = datetime.fromisoformat(late["created_at"])
        assert [a.analysis_id for a in answers.all_counting(since=since)] == [first["id"]]
        assert answers.all_counting(owner="nobody") == []
