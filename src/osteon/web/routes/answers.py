"""Readers' answers to an analysis."""

from fastapi import APIRouter

from osteon.service.answers import Answers
from osteon.web.access import Answering, Reading
from osteon.web.answer_schemas import AnswerIn, AnswerOut, AnswersOut
from osteon.web.routes.shared import AnalysisId, Shared, problems_of
from osteon.web.schemas import API

router = APIRouter(prefix=API, tags=["answers"])


@router.get("/analyses/{analysis_id}/answers", responses=problems_of(404, 422))
def list_answers(analysis_id: AnalysisId, service: Shared, caller: Reading) -> AnswersOut:
    """All answers to an analysis, newest first; of each page the newest counts."""
    analysis = service.store.find(analysis_id, owner=caller.sees)
    found = Answers(service.store.database).of(analysis.id)
    return AnswersOut(answers=[AnswerOut.of(answer) for answer in found])


@router.post("/analyses/{analysis_id}/answers", status_code=201, responses=problems_of(404, 422))
def add_answer(analysis_id: AnalysisId, answer: AnswerIn, service: Shared, caller: Answering) -> AnswerOut:
    """Keep a reader's answer to a page; it counts from now on, and the earlier ones stay in the trail."""
    answers = Answers(service.store.database)
    return AnswerOut.of(answers.add(analysis_id, answer.reading(), author=caller.name, owner=caller.sees))
