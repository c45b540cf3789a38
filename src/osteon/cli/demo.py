"""`osteon demo`: both stages on sample pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteon.cli import message
from osteon.cli.tables import json_text, rich_table
from osteon.findings import Failure, Findings

if TYPE_CHECKING:
    from osteon.inference.pipeline import Pipeline


@click.command(
    epilog="""\b
Examples:
  osteon demo
  osteon demo --out /tmp/osteon-demo
"""
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("osteon-demo"),
    show_default=True,
    help="Folder for the pictures, findings.json and overlays.",
)
@click.option("--gate", type=click.Path(dir_okay=False, path_type=Path), help="Another gate model (ONNX with a card).")
@click.option("--detector", type=click.Path(dir_okay=False, path_type=Path), help="Another detector model.")
@click.pass_context
def demo(ctx: click.Context, out: Path, gate: Path | None, detector: Path | None) -> None:
    """Analyse a lower leg and a chest (DICOM), a drawn radiograph with a known fracture, and a photograph.

    Prints the table of findings and writes the pictures, findings.json and overlays into --out.
    """
    from osteon.inference.pipeline import DETECTOR_FILE, GATE_FILE, Pipeline

    files = _pictures(out / "pictures")
    findings, failures = _analysed(
        Pipeline.bundled(gate=gate or GATE_FILE, detector=detector or DETECTOR_FILE), files, out / "overlays"
    )
    rich_table(findings)
    (out / "findings.json").write_text(json_text(findings, failures) + "\n", encoding="utf-8")
    for failure in failures:
        message(f"{failure.source}: {failure.message} ({failure.hint})")
    for finding in findings:
        if Path(finding.source).name == "drawn.png":
            message(_against_truth(finding))
    message(f"wrote {out / 'findings.json'} and {out / 'overlays'}")
    message("the same in the browser: make serve (or osteon serve), then http://127.0.0.1:8010")
    ctx.exit(1 if failures else 0)


def _pictures(folder: Path) -> list[Path]:
    """The samples as files; raises MissingExtra where the real radiographs are not installed."""
    from osteon.samples import packaged_file, samples

    packaged_file("RG3_J2KR.dcm")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for sample in samples():
        files.append(folder / sample.file_name)
        files[-1].write_bytes(sample.content())
    return files


def _analysed(pipeline: "Pipeline", files: list[Path], overlays: Path) -> tuple[list[Findings], list[Failure]]:
    from osteon.files import overlay
    from osteon.files.masks import picture_name
    from osteon.inference.analysis import analyse_file
    from osteon.radiograph import Radiograph

    taken: set[str] = set()

    def draw(radiograph: Radiograph, found: Findings) -> None:
        overlay.write(overlays / picture_name(radiograph, "overlay", taken), overlay.draw(radiograph, found))

    results = [result for path in files for result in analyse_file(pipeline, path, then=draw)]
    failures = [result for result in results if isinstance(result, Failure)]
    return [result for result in results if not isinstance(result, Failure)], failures


def _against_truth(finding: Findings) -> str:
    """How the boxes found on the drawn radiograph agree with the fracture that was drawn there."""
    import numpy as np

    from osteon.geometry import iou
    from osteon.samples import drawn

    truth = [item.box_xyxy_px for item in drawn()[1].instances or () if item.label == "fracture"]
    where = "[" + ", ".join(f"{value:.0f}" for value in truth[0]) + "]"
    boxes = [fracture.box_xyxy_px for fracture in finding.fractures]
    if not boxes:
        return f"drawn.png: the fracture drawn at {where} was not found (the detector learned from real films only)"
    best = float(iou(np.array(boxes, np.float32), np.array(truth, np.float32)).max())
    return f"drawn.png: a fracture was drawn at {where}; the best of {len(boxes)} boxes overlaps it with IoU {best:.2f}"
