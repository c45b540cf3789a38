"""`osteon serve`: the web application."""

import ipaddress
import logging
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from osteon.errors import ConfigurationError

if TYPE_CHECKING:
    from types import FrameType

    from osteon.service.settings import Settings

logger = logging.getLogger(__name__)

_PRIVATE = 0o077
"""Whatever the server writes is its own user's alone."""

_NOT_STARTED = 3
"""Exit status where the address is taken, or another process serves from the data folder; the log says which."""


@click.command(
    epilog="""\b
Examples:
  osteon serve
  osteon serve --workers 2
  osteon keys create 'Dr Petrova'; OSTEON_DATA_DIR=/srv/osteon osteon serve --host 0.0.0.0 --port 8010
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8010, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--workers", type=click.IntRange(1, 8), help="Radiographs analysed side by side. [default: 2]")
@click.option("--first-key", is_flag=True, help="Where no key exists make one, and tell the sign-in link, once.")
def serve(host: str, port: int, workers: int | None, first_key: bool) -> None:
    """Start the web application: page, HTTP interface under /api/v1, documentation at /docs.

    On 127.0.0.1 nobody needs a key until one is made. On any other address the server starts only when a key exists,
    and everybody needs one.

    Settings come from the environment (OSTEON_DATA_DIR, OSTEON_MAX_UPLOAD_MB, ...; see docs/http.md).
    """
    from osteon.service import logs
    from osteon.service.settings import Settings

    os.umask(_PRIVATE)
    given: dict[str, Any] = {} if workers is None else {"workers": workers}
    settings = Settings.from_environment(**given)
    logs.configure(settings.log)
    link = settings.public_url or f"http://{'localhost' if _reachable(host) else host}:{port}"
    _run(_guarded(settings, host, link=link, first_key=first_key), host, port)


def _run(settings: "Settings", host: str, port: int) -> None:
    import uvicorn

    from osteon.service import logs
    from osteon.web.app import create_app, stopping

    app = create_app(settings)

    class Server(uvicorn.Server):
        """Says where it listens, and tells the application at once that it has to stop, so that open streams end."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for listening in self.servers if self.started else ():
                address, number = listening.sockets[0].getsockname()[:2]
                place = f"[{address}]" if ":" in address else address
                logs.event(logger, "listening", url=f"http://{place}:{number}", version=app.version)

        def handle_exit(self, sig: int, frame: "FrameType | None") -> None:
            stopping(app)
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_NOT_STARTED)


def _guarded(settings: "Settings", host: str, *, link: str, first_key: bool) -> "Settings":
    """The settings to serve with: on an address that others reach, with keys only.

    Raises:
        ConfigurationError: others reach the address, and no key exists or none is asked for.
    """
    from osteon.service import logs
    from osteon.service.database import Database
    from osteon.service.keys import SCOPES, Keys

    database = Database.of(settings.database_url, data_dir=settings.make_data_dir())
    keys = Keys(database)
    if not keys.any() and (first_key or settings.first_key):
        _, token = keys.create("first", scopes=SCOPES, token=settings.first_key or None)
        if not settings.first_key:
            logs.event(logger, "first key, shown only now", key=token, sign_in=f"{link}/sign-in#key={token}")
    made = keys.any()
    database.close()
    if not _reachable(host):
        return settings
    if settings.require_keys is False:
        raise ConfigurationError(
            f"others reach {host}, and OSTEON_REQUIRE_KEYS is false", hint="remove that setting, or use 127.0.0.1"
        )
    if not made:
        raise ConfigurationError(
            f"others reach {host}, and no key exists",
            hint="make one with `osteon keys create NAME` (or start with --first-key), or listen on 127.0.0.1",
        )
    return settings.changed(require_keys=True)


def _reachable(host: str) -> bool:
    """Whether other machines may reach the address."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host or "0.0.0.0", None)}
    except OSError:
        return True
    return not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)
