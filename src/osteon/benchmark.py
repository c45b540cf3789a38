"""Time and memory of Osteon and of the pipeline it builds on, on the same images, each in a process of its own."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteon.errors import OsteonError
from osteon.findings import Failure

if TYPE_CHECKING:
    from osteon.inference.pipeline import Pipeline
    from osteon.models.baseline import Baseline

THREADS = (1, 2)
BASELINE_REPEATS = 0.25
"""Repetitions of the baseline, as a share of Osteon's: it is slow, and steady."""
_MIB = 2**20
_PREDICT = """
import sys
from osteon.cli import main
try:
    main()
finally:
    from osteon.benchmark import peak_mib
    sys.stderr.write(f"\\n{peak_mib()}\\n")
"""
"""The command `osteon`, with its peak memory as the last word on standard error."""


@dataclass(frozen=True)
class Spread:
    """Median and 10th to 90th percentile of repeated measurements."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value.

        >>> Spread.of([1.0, 2.0, 9.0])
        Spread(median=2.0, p10=1.0, p90=9.0)
        """
        ordered = sorted(values)
        last = len(ordered) - 1
        low, high = ordered[round(0.1 * last)], ordered[round(0.9 * last)]
        return cls(round(statistics.median(ordered), 2), round(low, 2), round(high, 2))


@dataclass(frozen=True)
class Timed:
    """One pipeline on one image: milliseconds of each stage, `stages` (both) and `total` (with reading)."""

    pipeline: str
    threads: int
    image: str
    ms: dict[str, Spread]


@dataclass(frozen=True)
class Report:
    """What one run of the benchmark measured.

    Attributes:
        machine: processor, cores, versions.
        timed: each pipeline, number of threads and image.
        peak_mib: peak memory of each process, by pipeline and threads, e.g. "osteon, 2 threads".
        rejection: a photograph: milliseconds, and whether the detector was loaded (it must not be).
        startup: `osteon predict` on one file, from process start to JSON: seconds and peak memory.
        bones: the model of single bones where it is measured: its stage `bones`, and `judge`, of these bones.
        skipped: why the baseline was not measured, or "".
    """

    machine: dict[str, str]
    timed: tuple[Timed, ...]
    peak_mib: dict[str, float]
    rejection: dict[str, Any]
    startup: dict[str, Any]
    skipped: str = ""
    bones: tuple[Timed, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report with its ratios."""
        return {**asdict(self), "ratios": self.ratios()}

    def ratios(self) -> dict[str, float]:
        """How many times faster Osteon's stages are than the baseline's, and its memory smaller, where both ran."""
        medians = {(t.pipeline, t.threads, t.image): t.ms["stages"].median for t in self.timed if "stages" in t.ms}
        found = {
            f"stages, {image}, {_threads(threads)}": round(medians["baseline", threads, image] / ours, 1)
            for (pipeline, threads, image), ours in medians.items()
            if pipeline == "osteon" and ("baseline", threads, image) in medians
        }
        for threads in THREADS:
            theirs = self.peak_mib.get(f"baseline, {_threads(threads)}")
            if theirs:
                ours = self.peak_mib[f"osteon, {_threads(threads)}"]
                found[f"peak memory, {_threads(threads)}"] = round(theirs / ours, 1)
        return found


def benchmark(
    paths: Sequence[Path],
    photograph: Path,
    *,
    repeat: int,
    models: tuple[Path, Path],
    bones: Path | None = None,
    baseline: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Measure everything in one run.

    Args:
        paths: radiographs.
        photograph: a picture that the gate turns away.
        repeat: repetitions of each measurement.
        models: gate and detector files.
        bones: file of the model of single bones; None: not measured.
        baseline: measure the other pipeline too.
        progress: told what is measured next.

    Raises:
        OsteonError: a measurement failed; the hint holds its last line.
    """
    skipped, where = _missing_torch() if baseline else "not asked for", machine()
    timed: list[Timed] = []
    peak: dict[str, float] = {}
    for pipeline in ("osteon",) if skipped else ("osteon", "baseline"):
        times = repeat if pipeline == "osteon" else max(2, round(repeat * BASELINE_REPEATS))
        for threads in THREADS:
            progress(f"{pipeline}, {_threads(threads)}")
            answer = _child(pipeline, paths, repeat=times, threads=threads, models=models)
            peak[f"{pipeline}, {_threads(threads)}"] = answer["peak_mib"]
            timed += [_timed(pipeline, threads, row) for row in answer["images"]]
    single: list[Timed] = []
    for threads in THREADS if bones else ():
        progress(f"single bones, {_threads(threads)}")
        answer = _child("osteon", paths, repeat=max(3, repeat // 4), threads=threads, models=models, bones=bones)
        peak[f"osteon with bones, {_threads(threads)}"] = answer["peak_mib"]
        single += [_timed("bones", threads, row) for row in answer["images"] if "bones" in row["ms"]]
    progress("rejection of a photograph")
    turned_away = _child("osteon", [photograph], repeat=repeat, threads=2, models=models)
    progress("start-up of osteon predict")
    startup = _startup(paths[0], max(3, repeat // 4), models)
    rejection = {
        "image": photograph.name,
        "decision": turned_away["images"][0]["decision"],
        "ms": asdict(Spread.of(turned_away["images"][0]["ms"]["total"])),
        "peak_mib": turned_away["peak_mib"],
        "detector_loaded": turned_away["detector_loaded"],
    }
    return Report(where, tuple(timed), peak, rejection, startup, skipped, tuple(single))


def machine() -> dict[str, str]:
    """Where the figures come from."""
    names = ("osteon", "onnxruntime", "numpy", "opencv-python-headless", "torch", "torchvision")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load before": f"{load:.2f}",
        "python": platform.python_version(),
        **{name: found for name in names if (found := _version(name))},
    }


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text(encoding="utf-8").splitlines() if cpus.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _missing_torch() -> str:
    missing = [name for name in ("torch", "torchvision") if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed: pip install 'osteon[train]'" if missing else ""


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _timed(pipeline: str, threads: int, row: dict[str, Any]) -> Timed:
    return Timed(pipeline, threads, row["image"], {stage: Spread.of(values) for stage, values in row["ms"].items()})


def _child(
    pipeline: str,
    paths: Sequence[Path],
    *,
    repeat: int,
    threads: int,
    models: tuple[Path, Path],
    bones: Path | None = None,
) -> dict[str, Any]:
    """What a fresh process measured."""
    task = {
        "pipeline": pipeline,
        "paths": [str(path) for path in paths],
        "repeat": repeat,
        "threads": threads,
        "models": [str(path) for path in models],
        "bones": str(bones) if bones else "",
    }
    command = [sys.executable, "-m", "osteon.benchmark", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OsteonError(f"measuring {pipeline} failed", hint=(done.stderr.strip().splitlines() or ["no output"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _startup(path: Path, repeat: int, models: tuple[Path, Path]) -> dict[str, Any]:
    """Wall seconds of `osteon predict PATH --format json`, and its peak memory."""
    words = ["predict", str(path), "--format", "json", "--gate", str(models[0]), "--detector", str(models[1])]
    seconds, peaks = [], []
    for _ in range(repeat):
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _PREDICT, *words], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - started)
        if done.returncode:
            raise OsteonError("osteon predict failed", hint=(done.stderr.strip().splitlines() or ["no output"])[-1])
        peaks.append(float(done.stderr.split()[-1]))
    return {"image": path.name, "seconds": asdict(Spread.of(seconds)), "peak_mib": round(max(peaks), 1)}


def peak_mib() -> float:
    """Peak resident memory of this process, in MiB; Linux' own count, which a parent's size does not enter."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return round(int(lines[0].split()[1]) / 1024, 1)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / _MIB if sys.platform == "darwin" else most / 1024, 1)


def _measure_osteon(task: dict[str, Any]) -> dict[str, Any]:
    from osteon.inference.pipeline import Pipeline

    gate, detector = map(Path, task["models"])
    bones = Path(task["bones"]) if task["bones"] else None
    pipeline = Pipeline.bundled(gate=gate, detector=detector, bones=bones, threads=task["threads"])
    images = [_osteon_on(pipeline, Path(path), task["repeat"], bones=bool(bones)) for path in task["paths"]]
    return {"images": images, "detector_loaded": pipeline.detector.loaded}


def _osteon_on(pipeline: "Pipeline", path: Path, repeat: int, *, bones: bool) -> dict[str, Any]:
    from osteon.inference.analysis import analyse_file

    ms: dict[str, list[float]] = {}
    decision = ""
    for turn in range(repeat + 1):
        found = analyse_file(pipeline, path, bones=bones)[0]
        if isinstance(found, Failure):
            raise OsteonError(found.message, hint=found.hint)
        decision = found.decision
        spent = dict(found.timing_ms)
        if "detect" in spent:
            spent["stages"] = spent["total"] - spent["read"]
        if turn:  # the first warms up
            for stage, value in spent.items():
                ms.setdefault(stage, []).append(value)
    return {"image": path.name, "ms": ms, "decision": decision}


def _measure_baseline(task: dict[str, Any]) -> dict[str, Any]:
    from osteon.models.baseline import Baseline

    baseline = Baseline(threads=task["threads"])
    return {"images": [_baseline_on(baseline, Path(path), task["repeat"]) for path in task["paths"]]}


def _baseline_on(baseline: "Baseline", path: Path, repeat: int) -> dict[str, Any]:
    """The baseline reads as Osteon reads; reading is no part of `stages`."""
    from osteon.files import read

    ms: dict[str, list[float]] = {}
    for turn in range(repeat + 1):
        moments = [time.perf_counter()]
        grey = read(path)[0].as_uint8()
        moments.append(time.perf_counter())
        baseline.segment(grey)
        moments.append(time.perf_counter())
        baseline.detect(grey)
        moments.append(time.perf_counter())
        spent = [(after - before) * 1000 for before, after in pairwise(moments)]
        if turn:
            for stage, value in zip(("read", "gate", "detect"), spent, strict=True):
                ms.setdefault(stage, []).append(value)
            ms.setdefault("stages", []).append(spent[1] + spent[2])
            ms.setdefault("total", []).append(sum(spent))
    return {"image": path.name, "ms": ms}


def _main() -> None:
    """A child's work: the task is its only argument, the answer goes to standard output."""
    task = json.loads(sys.argv[1])
    answer = {"osteon": _measure_osteon, "baseline": _measure_baseline}[task["pipeline"]](task)
    sys.stdout.write(json.dumps({**answer, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    _main()
