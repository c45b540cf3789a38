"""The measurements, each of a server of its own; what is wanted of each stands in issue and document."""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from osteon.client import Analysis, Client
from osteon.files import read
from osteon.inference.pipeline import Pipeline
from osteon.load.crowd import Onlooker, Sent, elsewhere, send
from osteon.load.films import film, film_name
from osteon.load.server import Server, serving

PAGE_MS = 100.0
FLAT = 0.05
FLAT_MIB = 16.0
SPEED_UP = 1.8
COST = 1.10
_SAMPLE_SECONDS = 0.5
_WARM = 8
_WAIT_S = 300.0


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        uploads: films of the burst, sent by `clients` at once.
        workers: of the server under the burst and in the memory measurement.
        analyses: of the memory measurement, begun within `memory_seconds`.
        films: for each setting of throughput and cost.
        first: requests at once to a server that has just started.
    """

    uploads: int = 200
    clients: int = 20
    workers: int = 2
    analyses: int = 2000
    memory_seconds: float = 90.0
    films: int = 60
    first: int = 50


@dataclass(frozen=True)
class Measure:
    """One measurement: figures by name, what was wanted, and whether that held (None: not judged)."""

    name: str
    wanted: str
    held: bool | None
    figures: dict[str, float | str] = field(default_factory=dict)


def burst(folder: Path, extent: Extent) -> Measure:
    """Many uploads at once: each is taken or told to come back, all finish, none twice; the page stays quick."""
    with serving(folder, workers=extent.workers) as server, elsewhere() as pool:
        _warm(server)
        onlooker = Onlooker(server.port)
        started = time.monotonic()
        with onlooker.looking(), Client(server.url) as client:
            sent = pool.submit(send, server.url, range(_WARM, _WARM + extent.uploads), extent.clients, 0.0).result()
            taken = time.monotonic() - started
            listed = _all_finished(client)
        seconds = time.monotonic() - started
        told = server.counted("osteon_requests_total", status="429")
    names = [one.name for one in listed]
    wanted = [film_name(number) for number in range(_WARM + extent.uploads)]
    lost, twice = len(set(wanted) - set(names)), len(names) - len(set(names))
    unfinished = sum(one.status != "succeeded" for one in listed)
    p95 = _percentile(onlooker.all_milliseconds, 95)
    figures: dict[str, float | str] = {
        "uploads": len(sent),
        "clients": extent.clients,
        "told to come back (429)": told,
        "lost": lost,
        "twice": twice,
        "not succeeded": unfinished,
        "seconds until all were taken": taken,
        "seconds until all were finished": seconds,
        "page requests": len(onlooker.all_milliseconds),
        "page requests refused": onlooker.refused,
        "page ms, median": _percentile(onlooker.all_milliseconds, 50),
        "page ms, 95th percentile": p95,
        "page ms, longest": max(onlooker.all_milliseconds),
    }
    figures |= {f"{kind} ms, 95th percentile": _percentile(ms, 95) for kind, ms in onlooker.milliseconds.items()}
    held = not (lost or twice or unfinished or onlooker.refused) and p95 < PAGE_MS
    return Measure("burst", f"none lost, none twice, page below {PAGE_MS:.0f} ms (95th percentile)", held, figures)


def memory(folder: Path, extent: Extent) -> Measure:
    """Resident memory of the server and its children over many analyses, after a fifth of them to settle."""
    samples: list[float] = []
    with serving(folder, workers=extent.workers) as server, elsewhere() as pool:
        _warm(server)
        numbers = range(_WARM, _WARM + extent.analyses)
        work = pool.submit(send, server.url, numbers, 4, _WAIT_S, extent.memory_seconds)
        while not work.done():
            samples.append(server.memory_mib())
            time.sleep(_SAMPLE_SECONDS)
        done = len(work.result())
    fifth = max(len(samples) // 5, 1)
    early, late = statistics.median(samples[fifth : 2 * fifth]), statistics.median(samples[-fifth:])
    figures: dict[str, float | str] = {
        "analyses": done,
        "MiB, second fifth": early,
        "MiB, last fifth": late,
        "MiB, most": max(samples),
        "growth": late / early - 1,
    }
    held = late - early < max(FLAT * early, FLAT_MIB)
    return Measure("memory", f"grows by less than {FLAT:.0%} or {FLAT_MIB:.0f} MiB", held, figures)


def throughput(folder: Path, extent: Extent) -> Measure:
    """Radiographs a second with two workers against one, one processor thread for each model run, by turns."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn, workers in enumerate((1, 2, 2, 1)):
        with serving(folder / str(turn), workers=workers, model_threads=1, queue_limit=1000) as server:
            with elsewhere() as pool:
                _warm(server)
                seconds, _ = _timed(server, pool, range(_WARM, _WARM + extent.films), clients=4 * workers)
            rates[workers].append(extent.films / seconds)
    one, two = (statistics.mean(rates[workers]) for workers in (1, 2))
    figures: dict[str, float | str] = {"one worker, a second": one, "two workers, a second": two, "ratio": two / one}
    return Measure("throughput", f"at least {SPEED_UP} times, where cores allow", two / one >= SPEED_UP, figures)


def cost(folder: Path, extent: Extent) -> Measure:
    """Time of a radiograph through the service over the bare pipeline, by turns on one machine.

    Bare: `osteon.read` and `Pipeline.analyse` in a loop, two threads. Three ways to look at it: several clients
    keep the service busy (wall time for each radiograph), one client asks and waits (wall time), and the processor
    time of the server with all its children.
    """
    rounds = 4
    turns = [
        range(start, start + extent.films // rounds)
        for start in range(_WARM, _WARM + extent.films, extent.films // rounds)
    ]
    bare: list[tuple[float, float]] = []
    busy: list[tuple[float, float]] = []
    lone: list[tuple[float, float]] = []
    with serving(folder, queue_limit=1000) as server, elsewhere() as pool:
        _warm(server)
        pool.submit(_bare, range(_WARM)).result()
        for turn, numbers in enumerate(turns[:rounds]):
            apart = 1000 * (turn + 1)
            bare.append(pool.submit(_bare, numbers).result())
            busy.append(_timed(server, pool, numbers, clients=6))
            lone.append(_timed(server, pool, [apart + number for number in numbers], clients=1))
    count = len(turns[0])
    figures: dict[str, float | str] = {}
    for name, measured in (("bare", bare), ("busy", busy), ("lone", lone)):
        figures[f"{name}, ms"] = 1000 * statistics.median(wall for wall, _ in measured) / count
        figures[f"{name}, processor ms"] = 1000 * statistics.median(cpu for _, cpu in measured) / count
    busy_ratio = _median_ratio(busy, bare, 0)
    figures |= {
        "busy over bare": busy_ratio,
        "lone over bare": _median_ratio(lone, bare, 0),
        "processor time, busy over bare": _median_ratio(busy, bare, 1),
    }
    return Measure("cost", f"busy over bare below {COST}", busy_ratio < COST, figures)


def first(folder: Path, extent: Extent) -> Measure:
    """Parallel first requests to a server that has just started: all are answered, the models loaded once."""
    with serving(folder, queue_limit=1000) as server, elsewhere() as pool:
        before = server.memory_mib()
        started = time.monotonic()
        sent = pool.submit(send, server.url, range(extent.first), extent.first, _WAIT_S).result()
        seconds = time.monotonic() - started
        after = server.memory_mib()
    failed = sum(one.status != "succeeded" for one in sent)
    figures: dict[str, float | str] = {
        "requests": len(sent),
        "not succeeded": failed,
        "seconds, shortest": min(one.seconds for one in sent),
        "seconds until all were finished": seconds,
        "MiB before": before,
        "MiB after": after,
    }
    return Measure("first", "all succeed (that each model is loaded once, a test counts)", not failed, figures)


MEASURES: dict[str, Callable[[Path, Extent], Measure]] = {
    "burst": burst,
    "memory": memory,
    "throughput": throughput,
    "cost": cost,
    "first": first,
}


def _warm(server: Server) -> list[Sent]:
    """The first films load the detector and start the children."""
    return send(server.url, range(_WARM), 2, _WAIT_S)


def _timed(server: Server, pool: ProcessPoolExecutor, numbers: Sequence[int], *, clients: int) -> tuple[float, float]:
    """Wall and processor seconds of the server until all these films are finished."""
    cpu, started = server.cpu_seconds(), time.perf_counter()
    pool.submit(send, server.url, numbers, clients, _WAIT_S).result()
    return time.perf_counter() - started, server.cpu_seconds() - cpu


def _bare(numbers: Sequence[int]) -> tuple[float, float]:
    """Wall and processor seconds of reading and analysing these films."""
    pipeline = _pipeline()
    contents = [film(number) for number in numbers]
    started, cpu = time.perf_counter(), time.process_time()
    for number, content in zip(numbers, contents, strict=True):
        pipeline.analyse(read(content, name=film_name(number))[0])
    return time.perf_counter() - started, time.process_time() - cpu


@cache
def _pipeline() -> Pipeline:
    return Pipeline.bundled(threads=2)


def _all_finished(client: Client) -> list[Analysis]:
    """All analyses, once none is waiting or running."""
    while True:
        listed = list(client.analyses())
        if all(one.finished for one in listed):
            return listed
        time.sleep(1.0)


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def _median_ratio(of: Sequence[tuple[float, float]], over: Sequence[tuple[float, float]], which: int) -> float:
    """Median over the turns, each against the turn beside it, so that a slow minute of the machine counts for both."""
    return statistics.median(one[which] / other[which] for one, other in zip(of, over, strict=True))
