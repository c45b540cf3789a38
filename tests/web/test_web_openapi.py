"""The application does what its OpenAPI document says: schemathesis sends what fits the document, and what does not."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Running, radiograph

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = {"GET /api/v1/events"}
"""A stream that goes on until the caller leaves; test_web_http listens to it."""

BY_CONTENT = {"POST /api/v1/analyses", "POST /api/v1/previews"}
"""What fits the document here may still be no picture: 422."""

BY_STATE = {"POST /api/v1/session", "POST /api/v1/uploads", "POST /api/v1/analyses/{analysis_id}/answers"}
"""A key that nobody has, a size over the limit, a page that the file has not: refused though it fits."""

_EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 4}


@pytest.fixture(scope="module")
def document(shared: Running) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{shared.url}/openapi.json")


class Known:
    """Things that are there, put in the place of invented ids in every second request."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._turn = 0

    def put_into(self, case: Any) -> None:
        self._turn += 1
        parameters = case.path_parameters
        if self._turn % 2 and parameters:
            if "analysis_id" in parameters:
                parameters["analysis_id"] = self._server.analysed(radiograph())["id"]
            if "upload_id" in parameters:
                parameters["upload_id"] = self._upload()
        if self._turn % 2 and isinstance(case.body, dict) and "file" in case.body:
            case.body["file"] = [radiograph()] if isinstance(case.body["file"], list) else radiograph()

    def _upload(self) -> str:
        content = radiograph()
        made = self._server.client.post("/api/v1/uploads", json={"name": "a.png", "size_bytes": len(content)}).json()
        whole = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
        if self._turn % 4 == 1:
            self._server.client.patch(f"/api/v1/uploads/{made['id']}", content=content, headers=whole)
        return str(made["id"])


def _operations(document: BaseSchema) -> Iterator[Any]:
    for result in document.get_all_operations():
        operation = result.ok()
        if operation.label not in ENDLESS:
            yield operation


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_answers_are_as_documented(shared: Running, document: BaseSchema, mode: GenerationMode) -> None:
    known = Known(shared) if mode is GenerationMode.POSITIVE else None
    operations = list(_operations(document))
    assert len(operations) > 25
    failed = {operation.label: problem for operation in operations if (problem := _problem(operation, mode, known))}
    assert not failed, "\n\n".join(f"{label}: {problem}" for label, problem in failed.items())


def _problem(operation: Any, mode: GenerationMode, known: Known | None) -> str:
    """What is wrong with an operation's answers, or nothing."""
    checks = [*CHECKS, *_judging(operation.label, mode)]

    @seed(5)
    @settings(
        max_examples=_EXAMPLES[mode],
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        if known:
            known.put_into(case)
        case.call_and_validate(checks=checks)

    try:
        check()
    except Unsatisfiable:
        return ""  # it takes nothing, so nothing wrong either
    except (Exception, FailureGroup) as error:  # noqa: BLE001 - all operations are told of at once
        return str(error)
    return ""


def _judging(label: str, mode: GenerationMode) -> list[Any]:
    if mode is GenerationMode.NEGATIVE:
        return [negative_data_rejection]
    return [] if label in BY_CONTENT | BY_STATE else [positive_data_acceptance]
