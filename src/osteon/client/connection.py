"""What both clients share: options of the connection, and the way from plans to httpx and back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import httpx

from osteon.client.exchange import Ask, Broken, Patience, Reply
from osteon.client.plans import Plans
from osteon.errors import ConfigurationError

LOCAL = "http://127.0.0.1:8010"
PATIENCE = Patience()
Language = Literal["en", "ru"]
Progress = Callable[[int, int, Path], None]
"""Told how many files are done, of how many, and which was the last."""

_NEVER_HEARD = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Connection:
    """What both clients are made of."""

    def __init__(self, url: str, *, key: str | None, timeout_s: float, patience: Patience) -> None:
        if httpx.URL(url).scheme not in {"http", "https"} or not httpx.URL(url).host:
            raise ConfigurationError(f"no web address: {url}", hint=f"give one such as {LOCAL}")
        self._plans = Plans(patience)
        self._timeout_s = timeout_s
        self._options: dict[str, Any] = {
            "base_url": url.rstrip("/"),
            "headers": {"Accept": "application/json, application/problem+json, */*"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
            "limits": httpx.Limits(max_connections=64, max_keepalive_connections=16),
        }

    def request(self, http: httpx.Client | httpx.AsyncClient, ask: Ask) -> httpx.Request:
        """The request of httpx."""
        return http.build_request(
            ask.method,
            ask.path,
            params=dict(ask.params),
            headers=dict(ask.headers),
            json=ask.json,
            content=ask.content,
            data=dict(ask.fields) or None,
            files={"file": (*ask.form, "application/octet-stream")} if ask.form else None,
            timeout=httpx.Timeout(self._timeout_s, read=self._timeout_s + ask.hold_s),
        )


def reply_of(response: httpx.Response) -> Reply:
    """What came, as plans see it."""
    return Reply(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, response.content
    )


def broken_of(error: httpx.RequestError) -> Broken:
    """What did not come, as plans see it; httpx's own text may hold the address, so it is left out."""
    heard = not isinstance(error, _NEVER_HEARD)
    return Broken("the connection broke" if heard else "nothing answers at this address", heard)


def tell(progress: Progress | None, done: int, total: int, path: Path) -> None:
    """Tell whoever wants to know how far the work is."""
    if progress is not None:
        progress(done, total, path)


def wanted(**given: str | bool | None) -> Mapping[str, str]:
    """The parameters that are given at all."""
    return {name: "true" if value is True else str(value) for name, value in given.items() if value}


def page_from(params: Mapping[str, str], cursor: str) -> Mapping[str, str]:
    """The parameters for the page of a list that begins at the cursor."""
    return {**params, "limit": "100"} | ({"cursor": cursor} if cursor else {})
