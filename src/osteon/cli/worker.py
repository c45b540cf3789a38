"""`osteon worker`: analyses what servers have taken in."""

import signal
import threading
from typing import Any

import click

from osteon.cli import message


@click.command(
    epilog="""\b
Examples:
  export OSTEON_DATABASE_URL=postgresql+psycopg://osteon:secret@db/osteon OSTEON_QUEUE_URL=redis://queue:6379/0
  export OSTEON_FILES_URL=s3://radiographs/osteon
  osteon worker --workers 2
"""
)
@click.option("--workers", type=click.IntRange(1, 8), help="Radiographs analysed side by side. [default: 2]")
def worker(workers: int | None) -> None:
    """Analyse what servers have taken in, until Ctrl+C or SIGTERM; what runs then is finished or handed back.

    On as many machines as one likes: all name the same database, queue and files (OSTEON_DATABASE_URL,
    OSTEON_QUEUE_URL, OSTEON_FILES_URL; see docs/http.md).
    """
    from osteon.service import logs
    from osteon.service.settings import Settings
    from osteon.service.worker import Worker

    given: dict[str, Any] = {} if workers is None else {"workers": workers}
    settings = Settings.from_environment(**given)
    logs.configure(settings.log)
    working = Worker.of(settings)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    working.start()
    message("Osteon's worker waits for work (Ctrl+C ends it)")
    try:
        ended.wait()
    finally:
        working.stop()
