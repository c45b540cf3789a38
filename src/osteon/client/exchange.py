"""Conversations with the service, without a socket: what to ask next, given the answers so far.

A `Plan` is a generator: it yields an `Ask` or a `Pause` and is sent what came of it. Both clients run the same plans,
one blocking and one awaiting, so that retries and the order of requests are written once.
"""

import json
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from osteon.errors import RequestRefused, ServiceUnreachable

_COME_BACK = {429, 502, 503, 504}
MAYBE_HEARD = (502, 504)
"""A proxy's: the service may have done what was asked."""
_LONGEST_PAUSE_S = 30.0
_JITTER = 0.25
_FORM_ERRORS = (KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        path: below the service's address.
        form: name and bytes of a file, sent as multipart with the `fields`.
        hold_s: seconds that the service may hold its answer.
        repeatable: whether asking twice does no harm. If not, it is repeated only where it cannot have been heard.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    content: bytes | None = field(default=None, repr=False)
    form: tuple[str, bytes] | None = field(default=None, repr=False)
    fields: Mapping[str, str] = field(default_factory=dict)
    hold_s: float = 0.0
    repeatable: bool = True


@dataclass(frozen=True)
class Pause:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """An answer; the names of its headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Broken:
    """No answer came; `heard` tells whether the service may have got the request."""

    why: str
    heard: bool


T = TypeVar("T")
Step = Ask | Pause
Plan = Generator[Step, Reply | Broken | None, T]


@dataclass(frozen=True)
class Patience:
    """How long a client keeps trying.

    Attributes:
        busy_s: seconds to come back altogether while the service says that it is busy (429, 502, 503, 504).
        breaks: broken connections in a row that are borne.
        first_pause_s: before the first repetition; doubled each time, up to half a minute.
    """

    busy_s: float = 300.0
    breaks: int = 6
    first_pause_s: float = 0.25

    def pause_s(self, repetition: int) -> float:
        """Seconds before a repetition, the first of which is 0."""
        return min(self.first_pause_s * 2.0**repetition, _LONGEST_PAUSE_S)


def asked(ask: Ask, patience: Patience) -> Plan[Reply]:
    """The answer to a request, which is repeated while the service is busy or the connection breaks.

    Raises:
        RequestRefused: the service answered with a problem.
        ServiceUnreachable: no answer, however often it was tried.
    """
    broken = repetition = 0
    waited_s = 0.0
    while True:
        reply = yield ask
        if isinstance(reply, Reply) and reply.status < 400:
            return reply
        if isinstance(reply, Reply):
            pause_s = _come_back_s(reply, patience.pause_s(repetition))
            lost = reply.status in MAYBE_HEARD and not ask.repeatable
            if lost or reply.status not in _COME_BACK or waited_s + pause_s > patience.busy_s:
                raise refusal(reply)
            waited_s += pause_s
        else:
            assert reply is not None
            broken += 1
            if broken > patience.breaks or (reply.heard and not ask.repeatable):
                raise unreachable(reply.why)
            pause_s = patience.pause_s(repetition)
        repetition += 1
        yield Pause(pause_s * (1 + _JITTER * random.random()))


def asked_json(ask: Ask, patience: Patience) -> Plan[Any]:
    """As `asked`: the JSON of the answer."""
    reply = yield from asked(ask, patience)
    try:
        return json.loads(reply.content)
    except ValueError as error:
        raise unreachable("what answers is no Osteon service") from error


def asked_record(ask: Ask, patience: Patience, made: Callable[[Any], T]) -> Plan[T]:
    """As `asked`: what `made` makes of the answer's JSON."""
    return understood(made, (yield from asked_json(ask, patience)))


def understood(made: Callable[[Any], T], value: object) -> T:
    """What `made` makes of a part of an answer; raises ServiceUnreachable where that is laid out otherwise."""
    try:
        return made(value)
    except _FORM_ERRORS as error:
        raise unreachable("what answers is no Osteon service, or one too new for this client") from error


def refusal(reply: Reply) -> RequestRefused:
    """The problem that an answer tells."""
    try:
        problem = dict(json.loads(reply.content))
    except (ValueError, TypeError):
        problem = {}
    kind = str(problem.get("type", "")).rpartition("#")[2] or "Refused"
    detail = str(problem.get("detail") or f"the service answered {reply.status}")
    return RequestRefused(detail, hint=str(problem.get("hint") or "see /docs"), kind=kind, status=reply.status)


def unreachable(why: str) -> ServiceUnreachable:
    """The error for an answer that did not come or is not the service's."""
    return ServiceUnreachable(why, hint="look whether `osteon serve` runs there, and at the address and its port")


def _come_back_s(reply: Reply, otherwise_s: float) -> float:
    told = reply.headers.get("retry-after", "")
    return float(told) if told.isdigit() else otherwise_s
