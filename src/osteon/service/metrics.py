"""Numbers for Prometheus, one registry for each application. No label ever holds anything a sender wrote."""

import time
from collections.abc import Callable
from datetime import datetime

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)

from osteon.errors import ConfigurationError
from osteon.findings import BoneEvidence, Findings

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters of one application."""

    def __init__(
        self,
        *,
        waiting: Callable[[], int],
        detector_loaded: Callable[[], bool],
        bones_loaded: Callable[[], bool] = lambda: False,
        oldest_waiting: Callable[[], datetime | None] = lambda: None,
        decoders_lost: Callable[[], int] = lambda: 0,
    ) -> None:
        """Metrics that ask some numbers when they are read.

        Args:
            waiting: how many analyses wait.
            detector_loaded: whether the detector is in memory (the gate always is).
            bones_loaded: whether the model of single bones is.
            oldest_waiting: since when the one that has waited longest does (UTC), or None.
            decoders_lost: how many decoder processes crashed, or were ended, and were replaced.
        """
        self._registry = CollectorRegistry()
        self._requests = self._counter("osteon_requests_total", "Requests answered.", "method", "route", "status")
        self._seconds = self._histogram("osteon_request_seconds", "Seconds until a request was answered.", "route")
        self._gate = self._counter("osteon_gate_decisions_total", "Pictures that the gate let pass or not.", "bone")
        self._decisions = self._counter("osteon_decisions_total", "Pages analysed, by decision.", "decision")
        self._finished = self._counter("osteon_analyses_total", "Analyses that ended, by status.", "status")
        self._stages = self._histogram("osteon_stage_seconds", "Seconds in each stage of a page's analysis.", "stage")
        self._retries = self._counter("osteon_retries_total", "Analyses queued again after a passing fault.")
        self._gauge("osteon_queue_length", "Analyses that wait.", waiting)
        self._gauge("osteon_queue_oldest_seconds", "How long the oldest of them waits.", lambda: _age(oldest_waiting()))
        self._gauge("osteon_decoders_lost", "Decoder processes lost and replaced since the start.", decoders_lost)
        loaded = Gauge("osteon_model_loaded", "1 for a model in memory.", ["task"], registry=self._registry)
        loaded.labels("gate").set(1)
        loaded.labels("detector").set_function(lambda: float(detector_loaded()))
        loaded.labels("bones").set_function(lambda: float(bones_loaded()))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the path's pattern, not the path."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def gated(self, bone: BoneEvidence) -> None:
        """The gate looked at a picture."""
        self._gate.labels("yes" if bone.present else "no").inc()

    def analysed(self, findings: Findings) -> None:
        """A page was analysed."""
        self.gated(findings.bone)
        self._decisions.labels(findings.decision).inc()
        for stage, ms in findings.timing_ms.items():
            self.staged(stage, ms)

    def staged(self, stage: str, ms: float) -> None:
        """A stage of a page's analysis took so many milliseconds."""
        self._stages.labels(stage).observe(ms / 1000)

    def finished(self, status: str) -> None:
        """An analysis ended."""
        self._finished.labels(status).inc()

    def retried(self) -> None:
        """An analysis was queued again after a passing fault."""
        self._retries.inc()

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        Gauge(name, what, registry=self._registry).set_function(value)

    def serve(self, port: int) -> Callable[[], None]:
        """Show the numbers on every address of this machine at `port`, in a thread; the call that ends it.

        Raises:
            ConfigurationError: the port is taken or not allowed.
        """
        try:
            server, thread = start_http_server(port, registry=self._registry)
        except OSError as error:
            raise ConfigurationError(
                f"port {port} cannot be used for metrics: {error.strerror}",
                hint="set OSTEON_METRICS_PORT to a free one",
            ) from error

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, *labels: str) -> Histogram:
        return Histogram(name, what, labels, registry=self._registry, buckets=_SECONDS)


def _age(since: datetime | None) -> float:
    return max(0.0, time.time() - since.timestamp()) if since else 0.0
