"""Who asks, and what they may: keys and sessions, or local mode where no key exists.

Local mode lets everybody in who sits at this machine, and nobody else: the connection must come from a loopback
address and the address asked for must be this machine's, so that no page of another site gets through a browser
(DNS rebinding). With the first key that is over, and each request brings a key or a session.
"""

import hmac
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from anyio import to_thread
from fastapi import Depends, Request

from osteon.errors import NotAllowed, NotSignedIn, TooManyRequests
from osteon.service.database import Database
from osteon.service.keys import SCOPES, Key, Keys, Scope
from osteon.service.rates import LocalRates, Rates, RedisRates
from osteon.service.sessions import Sessions
from osteon.service.settings import Settings

COOKIE = "osteon_session"
CSRF_HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_LOOK_FOR_KEYS_SECONDS = 1.0
_EVERYBODYS = "all"


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        owner: the id of the key, the owner of what it sends; '' in local mode.
        name: what the key is called.
        scopes: what it may do.
        sees: whose analyses it sees; None: everybody's (scope admin and `?owner=all`).
        csrf: the token of a session; '' without one.
        until: when the session ends (UTC), None without one.
    """

    owner: str
    name: str
    scopes: frozenset[Scope]
    sees: str | None = ""
    csrf: str = ""
    until: datetime | None = None

    @property
    def local(self) -> bool:
        """Whether nobody needs a key here."""
        return not self.owner


LOCAL = Caller("", "local", frozenset(SCOPES))


@dataclass
class Access:
    """What decides who gets in, shared by all requests of an application."""

    settings: Settings
    keys: Keys
    sessions: Sessions
    rates: Rates
    _looked_at: float = field(default=-_LOOK_FOR_KEYS_SECONDS, init=False)
    _needed: bool = field(default=False, init=False)

    @classmethod
    def of(cls, settings: Settings, database: Database) -> "Access":
        """Access to a service with these settings and this database."""
        keys = Keys(database)
        sessions = Sessions(database, keys, hours=settings.session_hours)
        rates: Rates = RedisRates(settings.queue_url) if settings.queue_url else LocalRates()
        return cls(settings, keys, sessions, rates)

    async def keys_needed(self) -> bool:
        """Whether a key is needed: as set, else as soon as one was made (noticed within a second)."""
        if self.settings.require_keys is not None:
            return self.settings.require_keys
        if not self._needed and time.monotonic() - self._looked_at >= _LOOK_FOR_KEYS_SECONDS:
            self._needed = await to_thread.run_sync(self.keys.any)
            self._looked_at = time.monotonic()
        return self._needed

    def check_host(self, host: str) -> None:
        """Refuse a request for an address that is not this machine's; for local mode.

        Raises:
            NotAllowed: a foreign Host header.
        """
        name = _host_name(host)
        if not (_is_local_name(name) or name in self.settings.hosts):
            raise NotAllowed(
                "this address is not the server's own",
                hint="open http://127.0.0.1 with its port, make a key with `osteon keys create`, "
                "or name the address in OSTEON_ALLOWED_HOSTS",
            )

    async def limit(self, name: str, per_minute: int) -> None:
        """Take a token of a bucket.

        Raises:
            TooManyRequests: there is none.
        """
        if not per_minute:
            return
        if isinstance(self.rates, LocalRates):
            seconds = self.rates.wait(name, per_minute=per_minute)
        else:
            seconds = await to_thread.run_sync(lambda: self.rates.wait(name, per_minute=per_minute))
        if seconds:
            raise TooManyRequests("too many requests", hint=f"ask again in {seconds} s", retry_after_seconds=seconds)

    async def refused(self, address: str) -> NotSignedIn:
        """The error for somebody without a working key; counted by address, so that nobody tries many.

        Raises:
            TooManyRequests: that happened too often.
        """
        await self.limit(f"refused:{address}", self.settings.refusals_per_minute)
        return NotSignedIn(
            "a key is needed", hint="send `Authorization: Bearer KEY`, or sign in on /sign-in; `osteon keys create`"
        )


async def access_of(request: Request) -> Access:
    """The application's access."""
    access = request.app.state.access
    assert isinstance(access, Access)
    return access


Door = Annotated[Access, Depends(access_of)]


async def visitor_of(request: Request, access: Door) -> Caller | None:
    """Who asks; None: nobody that is known. For pages, which lead to the sign-in.

    Raises:
        NotAllowed: from another machine in local mode; a change by a session without its CSRF token.
        TooManyRequests: the key asks too often.
    """
    if not await access.keys_needed():
        _check_at_this_machine(request)
        return LOCAL
    token, cookie = bearer(request.headers), request.cookies.get(COOKIE, "")
    if token:
        key = await to_thread.run_sync(access.keys.check, token)
        caller = _caller(key, request) if key else None
    else:
        caller = await _signed_in(request, access, cookie) if cookie else None
    if caller:
        await access.limit(f"key:{caller.owner}", access.settings.requests_per_minute)
    return caller


async def caller_of(request: Request, access: Door, visitor: Annotated[Caller | None, Depends(visitor_of)]) -> Caller:
    """Who asks.

    Raises:
        NotSignedIn: no working key or session.
        NotAllowed: as `visitor_of` says.
        TooManyRequests: too many requests, or too many without a working key.
    """
    if visitor is None:
        raise await access.refused(address_of(request))
    return visitor


def calling(scope: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency: whoever asks, with this scope; NotAllowed without."""

    async def allowed(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
        if scope not in caller.scopes:
            raise NotAllowed(f"this key may not {scope}", hint=f"use a key with the scope `{scope}`", scope=scope)
        return caller

    return allowed


Visiting = Annotated[Caller | None, Depends(visitor_of)]
Calling = Annotated[Caller, Depends(caller_of)]
Analysing = Annotated[Caller, Depends(calling("analyse"))]
Reading = Annotated[Caller, Depends(calling("read"))]
Answering = Annotated[Caller, Depends(calling("answer"))]


def bearer(headers: Mapping[str, str]) -> str:
    """The token of an Authorization header; '' without one.

    >>> bearer({"authorization": "Bearer abc"})
    'abc'
    """
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def address_of(request: Request) -> str:
    """Where the request comes from; behind a trusted proxy what that says."""
    return request.client.host if request.client else "unknown"


def cross_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent this for a page of another site; by Sec-Fetch-Site, else by Origin.

    >>> cross_site({"origin": "https://elsewhere.example", "host": "127.0.0.1:8010"})
    True
    """
    site = headers.get("sec-fetch-site", "")
    if site:
        return site not in ("same-origin", "none")
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


async def _signed_in(request: Request, access: Access, cookie: str) -> Caller | None:
    session = await to_thread.run_sync(access.sessions.find, cookie)
    if session is None:
        return None
    sent = request.headers.get(CSRF_HEADER, "")
    if request.method not in SAFE_METHODS and not hmac.compare_digest(sent.encode(), session.csrf.encode()):
        raise NotAllowed(
            "the session's CSRF token is missing or wrong",
            hint=f"send the `csrf` of GET /api/v1/session in the header {CSRF_HEADER}",
        )
    return _caller(session.key, request, csrf=session.csrf, until=session.expires_at)


def _caller(key: Key, request: Request, *, csrf: str = "", until: datetime | None = None) -> Caller:
    everybody = "admin" in key.scopes and request.query_params.get("owner") == _EVERYBODYS
    return Caller(key.id, key.name, key.scopes, None if everybody else key.id, csrf, until)


def _check_at_this_machine(request: Request) -> None:
    if not _is_loopback(address_of(request)):
        raise NotAllowed(
            "without a key only this machine gets in",
            hint="make one with `osteon keys create` and set OSTEON_REQUIRE_KEYS=true",
        )


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_local_name(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
