"""The real application in a real server on 127.0.0.1, its store in a temporary folder, its models drawn by hand."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray

import cluster
import models
from osteon.service.settings import Settings
from osteon.service.worker import Worker
from osteon.web.app import create_app
from osteon.web.service import Service

PATIENT = "Ivanov^Canary^1950"
"""Stands in every name that a test sends, and must stand in no log."""


def png(pixels: NDArray[Any]) -> bytes:
    colours = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    return bytes(cv2.imencode(".png", colours)[1])


def radiograph(**changes: Any) -> bytes:
    return png(models.radiograph_pixels(450, 350, **changes))


def photograph(height_px: int = 300, width_px: int = 400) -> bytes:
    return png(models.photograph_pixels(height_px, width_px))


def form(content: bytes, name: str = "wrist.png") -> dict[str, Any]:
    return {"file": (name, content, "application/octet-stream")}


def noise(megabytes: float) -> bytes:
    return np.random.default_rng(1).bytes(int(megabytes * 2**20))


@dataclass(frozen=True)
class Running:
    app: FastAPI
    client: httpx.Client
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def service(self) -> Service:
        service = self.app.state.service
        assert isinstance(service, Service)
        return service

    def post(self, content: bytes, *, name: str = "wrist.png", wait: float = 0) -> httpx.Response:
        return self.client.post("/api/v1/analyses", files=form(content, name), params={"wait": wait})

    def analysed(self, content: bytes, *, name: str = "wrist.png") -> dict[str, Any]:
        answer = self.post(content, name=name, wait=30)
        assert answer.status_code == 200, answer.text
        analysis: dict[str, Any] = answer.json()["analyses"][0]
        return analysis


JUDGE = "bone-judge.onnx"


@contextmanager
def lent(
    folder: Path, files: models.ModelFiles, bones: Path, instances: cluster.Instances | None
) -> Iterator[Settings]:
    """Settings with a folder, the drawn models, and on the cluster a database and a queue of their own.

    The judge is the one beside the bones' model.
    """
    found = {"gate": files.gate, "detector": files.detector, "bones": bones, "bone_judge": bones.with_name(JUDGE)}
    settings = Settings(data_dir=folder, **found, decoders=1, workers=1)
    with instances.lent(settings) if instances else nullcontext(settings) as lent:
        yield lent


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    app = create_app(settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="info", log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < until, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client, _worker(app):
            yield Running(app, client, port)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def _worker(app: FastAPI) -> Iterator[None]:
    """Where a queue is set, a worker as `osteon worker` runs it, on the server's pipeline, which tests slow down."""
    service = app.state.service
    settings = service.settings
    if not settings.queue_url or settings.immediate:
        yield
        return
    worker = Worker.of(settings, pipeline=service.pipeline)
    worker.start()
    try:
        yield
    finally:
        worker.stop()
