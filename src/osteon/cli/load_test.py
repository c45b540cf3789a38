"""`osteon load-test`: the service under load, measured on this machine."""

import json
import os
import signal
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from osteon.cli import message
from osteon.errors import OsteonError

_PARTS = ("burst", "memory", "throughput", "cost", "first")


@click.command(
    "load-test",
    epilog="""\b
Examples:
  osteon load-test
  osteon load-test --part burst --uploads 200 --clients 20
  osteon load-test --part memory --analyses 2000 --memory-seconds 600
""",
)
@click.option("--part", "parts", multiple=True, type=click.Choice(_PARTS), help="Only this part; may be given again.")
@click.option("--uploads", default=200, show_default=True, type=click.IntRange(1, 5000), help="Films of the burst.")
@click.option("--clients", default=20, show_default=True, type=click.IntRange(1, 200), help="Who send them at once.")
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(1, 8), help="Of the server in burst, memory."
)
@click.option(
    "--analyses", default=2000, show_default=True, type=click.IntRange(10, 50_000), help="Of the memory part."
)
@click.option("--memory-seconds", default=90.0, show_default=True, help="The memory part begins none after so long.")
@click.option("--films", default=60, show_default=True, type=click.IntRange(8, 900), help="For throughput and cost.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures as JSON here.")
def load_test(
    parts: tuple[str, ...],
    uploads: int,
    clients: int,
    workers: int,
    analyses: int,
    memory_seconds: float,
    films: int,
    out: Path | None,
) -> None:
    """Start servers on this machine and measure them: burst, memory, throughput, cost, first requests.

    Prints the figures and what was wanted; needs the extra `client` and Linux, and takes some minutes. Exit status 1
    where something wanted did not hold.
    """
    from osteon.load.measures import MEASURES, Extent

    extent = Extent(
        uploads=uploads,
        clients=clients,
        workers=workers,
        analyses=analyses,
        memory_seconds=memory_seconds,
        films=films,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers end too
    found = []
    before = os.getloadavg()[0]
    message(f"{os.cpu_count()} cores, load {before:.1f} before the measurement")
    for name in parts or _PARTS:
        message(f"measuring {name} ...")
        with tempfile.TemporaryDirectory(prefix="osteon-load-") as folder:
            measure = MEASURES[name](Path(folder), extent)
        found.append(measure)
        click.echo(f"\n## {measure.name}: {'held' if measure.held else 'MISSED'} (wanted: {measure.wanted})")
        for figure, value in measure.figures.items():
            click.echo(f"{figure:<36} {value:.4g}" if isinstance(value, float) else f"{figure:<36} {value}")
    if out:
        measured = {"cores": os.cpu_count(), "load_before": before, "measures": [asdict(one) for one in found]}
        out.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    if missed := [one.name for one in found if not one.held]:
        raise OsteonError(f"missed: {', '.join(missed)}", hint="run the part again on an idle machine")
