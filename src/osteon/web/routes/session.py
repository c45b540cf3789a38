"""Signing in and out. People do it with their key once; programs send the key with each request and need no session."""

from datetime import UTC, datetime
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from osteon.service.keys import Scope
from osteon.web.access import COOKIE, Caller, Calling, Door, address_of
from osteon.web.routes.shared import problems_of
from osteon.web.schemas import API

router = APIRouter(prefix=API, tags=["session"])


class SignInIn(BaseModel):
    """What signs a person in."""

    key: Annotated[str, Field(min_length=1, max_length=256, description="as `osteon keys create` told it")]


class SessionOut(BaseModel):
    """Who asks."""

    name: str = Field(description="what the key is called; `local` where none is needed")
    scopes: list[Scope] = Field(description="what it may do")
    local: bool = Field(description="no key is needed here")
    csrf: str = Field(description="for the header X-CSRF-Token of changes in a session; empty without one")
    expires_at: datetime | None = Field(description="when the session ends")

    @classmethod
    def of(cls, caller: Caller) -> "SessionOut":
        """As the caller is known."""
        scopes = sorted(caller.scopes)
        return cls(name=caller.name, scopes=scopes, local=caller.local, csrf=caller.csrf, expires_at=caller.until)


@router.get("/session", responses=problems_of(401, 403, 429))
async def show_session(caller: Calling) -> SessionOut:
    """Who asks, by key or session, and what they may."""
    return SessionOut.of(caller)


@router.post("/session", responses=problems_of(401, 422, 429))
async def sign_in(given: SignInIn, request: Request, response: Response, access: Door) -> SessionOut:
    """Sign in with a key: sets the session's cookie."""
    signed_in = await to_thread.run_sync(access.sessions.sign_in, given.key)
    if signed_in is None:
        raise await access.refused(address_of(request))
    session, secret = signed_in
    response.set_cookie(
        COOKIE,
        secret,
        max_age=max(1, int((session.expires_at - datetime.now(UTC)).total_seconds())),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    key = session.key
    return SessionOut.of(Caller(key.id, key.name, key.scopes, key.id, session.csrf, session.expires_at))


@router.delete("/session", status_code=204, responses=problems_of(401, 403, 429))
async def sign_out(request: Request, response: Response, access: Door, caller: Calling) -> None:  # noqa: ARG001
    """Sign out: the session ends."""
    await to_thread.run_sync(access.sessions.sign_out, request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
