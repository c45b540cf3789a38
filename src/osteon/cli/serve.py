"""`osteon serve`: the web application."""

import click

from osteon.cli import message


@click.command(
    epilog="""\b
Examples:
  osteon serve
  OSTEON_DATA_DIR=/srv/osteon osteon serve --host 0.0.0.0 --port 8010
"""
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8010, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
def serve(host: str, port: int) -> None:
    """Start the web application: page, HTTP interface under /api/v1, documentation at /docs.

    Settings come from the environment (OSTEON_DATA_DIR, OSTEON_MAX_UPLOAD_MB, ...; see docs/http.md).
    """
    import uvicorn

    from osteon.web.app import create_app

    app = create_app()
    message(f"Osteon is at http://{host}:{port}  (Ctrl+C ends it)")
    uvicorn.run(app, host=host, port=port, log_level="warning")
