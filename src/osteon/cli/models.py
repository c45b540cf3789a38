"""`osteon models`: what is installed."""

import json
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  osteon models
  osteon models --format json
  osteon models runs/detector/detector.onnx
"""
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(("table", "json", "markdown")), default="table", show_default=True)
def models(files: tuple[Path, ...], form: str) -> None:
    """List the installed models (or FILES) with what their cards say."""
    from osteon.inference.card_text import markdown
    from osteon.inference.pipeline import DETECTOR_FILE, GATE_FILE
    from osteon.inference.session import read_card

    if form == "markdown":
        cards = [(*read_card(path), path.stat().st_size) for path in files or (GATE_FILE, DETECTOR_FILE)]
        click.echo("\n".join(markdown(*entry) for entry in cards), nl=False)
        return
    rows = []
    for path in files or (GATE_FILE, DETECTOR_FILE):
        card, ref = read_card(path)
        rows.append(
            {
                "name": card.name,
                "task": card.task,
                "version": card.version,
                "sha256": ref.sha256,
                "size_bytes": path.stat().st_size,
                "side_px": card.side_px,
                "arch": card.arch,
                "licence": card.licence,
                "operating_points": {name: point.threshold for name, point in card.operating_points.items()},
                "metrics": dict(card.metrics),
                "training_data": card.training_data,
                "split_hash": card.split_hash,
                "limits": card.limits,
            }
        )
    if form == "json":
        click.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    _print(rows)


def _print(rows: list[dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "task", "version", "sha256", "MB", "side px", "licence", "metrics")
    for row in rows:
        metrics = row["metrics"] if isinstance(row["metrics"], dict) else {}
        figures = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
        size = f"{int(str(row['size_bytes'])) / 1e6:.1f}"
        cells = (
            row["name"],
            row["task"],
            row["version"],
            str(row["sha256"])[:12],
            size,
            row["side_px"],
            row["licence"],
        )
        table.add_row(*map(str, cells), figures)
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)
