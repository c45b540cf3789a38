"""The Dockerfile, as far as it can be tried without Docker: read, then its install steps done in a clean place."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from osteon.samples import PHOTOGRAPH
from osteon.service.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True)
class Step:
    """An instruction of the Dockerfile and the stage it belongs to."""

    stage: int
    word: str
    rest: str


def steps() -> list[Step]:
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text(encoding="utf-8"))
    found: list[Step] = []
    stage = -1
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            word, rest = line.split(None, 1)
            stage += word == "FROM"
            found.append(Step(stage, word, rest))
    return found


def last(word: str) -> str:
    return [step.rest for step in steps() if step.word == word][-1]


def variables() -> dict[str, str]:
    """ENV of the final stage."""
    final = steps()[-1].stage
    words = [word for step in steps() if step.word == "ENV" and step.stage == final for word in shlex.split(step.rest)]
    return dict(word.split("=", 1) for word in words)


def context() -> Iterator[Path]:
    """What `docker build` would see, by .dockerignore's rules (the last that matches counts)."""
    rules = [
        line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and not line.startswith("#")
    ]
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.splitlines():
        kept = True
        for rule in rules:
            pattern = rule.removeprefix("!").removeprefix("**/")
            parts = [name, *(str(parent) for parent in Path(name).parents), Path(name).name]
            if any(fnmatch.fnmatch(part, pattern) for part in parts):
                kept = rule.startswith("!")
        if kept and (ROOT / name).is_file():
            yield Path(name)


class TestDockerfile:
    def test_is_slim_and_runs_without_root(self) -> None:
        bases = [step.rest for step in steps() if step.word == "FROM"]
        assert all(base.startswith("python:3.11-slim") for base in bases)
        user = last("USER")
        assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user), "a number, so that Kubernetes can check it"
        assert f"-o {user.split(':')[0]} " in " ".join(step.rest for step in steps() if step.word == "RUN")

    def test_serves_on_port_8000_with_keys_and_a_health_check(self) -> None:
        command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
        assert command[:2] == ["osteon", "serve"]
        assert command[command.index("--host") + 1] == "0.0.0.0"
        assert command[command.index("--port") + 1] == last("EXPOSE") == "8000"
        assert "--first-key" in command
        assert "/healthz" in last("HEALTHCHECK") and ":8000/" in last("HEALTHCHECK")

    def test_writes_only_where_its_volume_is(self) -> None:
        assert variables()["OSTEON_DATA_DIR"] == last("VOLUME") == last("WORKDIR") == "/data"
        assert variables()["PYTHONDONTWRITEBYTECODE"] == "1"

    def test_its_settings_exist(self) -> None:
        ours = {name: value for name, value in variables().items() if name.startswith("OSTEON_")}
        assert len(ours) > 1
        assert {name.removeprefix("OSTEON_").lower() for name in ours} <= Settings.model_fields.keys()
        Settings.from_environment(ours)

    def test_what_it_copies_is_there_and_nothing_else(self) -> None:
        seen = list(context())
        for step in steps():
            if step.word == "COPY" and "--from" not in step.rest:
                for source in shlex.split(step.rest)[:-1]:
                    assert any(path == Path(source) or Path(source) in path.parents for path in seen), source
        assert {Path("src/osteon/weights/gate.onnx"), Path("src/osteon/weights/detector.onnx")} <= set(seen)
        assert not [path for path in seen if path.parts[0] in ("tests", "docs", "frontend", ".git", ".ci")]
        assert not [path for path in seen if path.suffix == ".pyc"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("image")
    build, venv = root / "build", root / "opt" / "osteon"
    for path in context():
        (root / "context" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, root / "context" / path)
    build.mkdir()
    for step in steps():
        if step.stage > 0:
            break
        if step.word == "COPY":
            *sources, target = shlex.split(step.rest)
            for source in sources:
                origin = root / "context" / source
                place = build / target / ("" if origin.is_file() else ".")
                (shutil.copy2 if origin.is_file() else shutil.copytree)(origin, place, **_merged(origin))
        elif step.word == "RUN":
            words = [_moved(word, venv) for word in shlex.split(step.rest)]
            words[0] = sys.executable if words[0] == "python" else words[0]
            done = subprocess.run(words, cwd=build, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
    return venv


@pytest.mark.skipif(not os.environ.get("OSTEON_TEST_IMAGE"), reason="takes minutes; OSTEON_TEST_IMAGE=1, as in .ci/run")
class TestInstallSteps:
    """The image's steps, with its folders moved into a temporary one, as a user who may write nowhere else."""

    def test_server_starts_from_them_and_answers(self, image: Path, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
        command[command.index("--port") + 1] = str(port)
        command[0] = str(image / "bin" / "osteon")
        data = tmp_path / "data"
        data.mkdir()
        moved = {**variables(), "OSTEON_DATA_DIR": str(data), "PATH": f"{image / 'bin'}:/usr/bin:/bin"}
        with (tmp_path / "log").open("w") as log:
            server = subprocess.Popen(command, cwd=data, env=moved, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _until_healthy(url, server, tmp_path / "log")
            first = json.loads((tmp_path / "log").read_text().splitlines()[0])
            assert first["sign_in"].startswith("http://localhost:8010/sign-in#key=")
            assert httpx.get(url).headers["location"] == "/sign-in"
            headers = {"Authorization": f"Bearer {first['key']}"}
            files = {"file": ("drawn.jpg", PHOTOGRAPH.read_bytes())}
            answer = httpx.post(f"{url}/api/v1/analyses?wait=60", files=files, headers=headers, timeout=120)
            assert answer.json()["status"] == "succeeded", answer.text
            assert httpx.get(f"{url}/readyz").json()["status"] == "ready"
        finally:
            server.terminate()
            assert server.wait(60) is not None
        assert not list((image / "lib").rglob("*.onnx.part")), "nothing is written beside the weights"

    def test_holds_the_weights_the_page_and_no_training(self, image: Path) -> None:
        (packages,) = image.glob("lib/python*/site-packages")
        assert list((packages / "osteon" / "weights").glob("*.onnx"))
        assert (packages / "osteon" / "web" / "templates" / "sign_in.html").is_file()
        assert (packages / "osteon" / "web" / "static" / "sign-in.js").is_file()
        assert list((packages / "osteon" / "service" / "migrations").rglob("r0001*.py"))
        assert not (packages / "torch").exists()
        assert not (packages / "tests").exists()
        assert (packages / "dramatiq").is_dir(), "`docker run osteon worker` needs the extra cluster"


def _merged(origin: Path) -> dict[str, bool]:
    return {} if origin.is_file() else {"dirs_exist_ok": True}


def _moved(word: str, venv: Path) -> str:
    return word.replace("/opt/osteon", str(venv))


def _until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
