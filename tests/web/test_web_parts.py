"""Settings, catalogue, samples, report and pictures."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import pytest
from serving import Running, radiograph

import models
from osteon import samples
from osteon.errors import ConfigurationError, ModelMismatch
from osteon.files import read
from osteon.findings import Anchor, BoneEvidence, Findings, Fracture, ModelRef
from osteon.inference.pipeline import Pipeline
from osteon.service import pictures
from osteon.service.catalogue import LANGUAGES, catalogue, preferred
from osteon.service.settings import Settings
from osteon.web.app import create_app
from osteon.web.page import FOLDER

DOCS = Path(__file__).parents[2] / "docs" / "http.md"
SERVICE = FOLDER.parent / "service"


class TestSettings:
    def test_every_setting_can_come_from_the_environment(self) -> None:
        given: dict[str, Any] = {
            "data_dir": "/tmp/d",
            "database_url": "postgresql+psycopg://h/n",
            "queue_url": "redis://h/0",
            "files_url": "s3://bucket",
            "max_upload_mb": 1.5,
            "immediate": True,
            "require_keys": True,
            "log": "json",
            "gate": "/tmp/g.onnx",
            "detector": "/tmp/d.onnx",
            "bones": "/tmp/b.onnx",
            "bone_judge": "/tmp/j.onnx",
        }
        texts = {
            "first_key": "k" * 32,
            "public_url": "https://a",
            "allowed_hosts": "a,b",
            "trusted_proxies": "10.0.0.1",
        }
        given |= texts
        numbers = {name: 500 if name == "decoder_memory_mb" else 7 for name in Settings.model_fields.keys() - given}
        environment = {f"OSTEON_{name.upper()}": str(value) for name, value in (given | numbers).items()}
        assert Settings.from_environment(environment) == Settings(**given, **numbers)
        assert Settings.from_environment(environment).queue_limit == 7

    def test_given_outright_comes_before_the_environment(self) -> None:
        assert Settings.from_environment({"OSTEON_WORKERS": "2"}, workers=3).workers == 3

    def test_default_where_nothing_is_said(self) -> None:
        assert Settings.from_environment({}) == Settings()

    @pytest.mark.parametrize(
        ("variable", "value"),
        [("WORKERS", "many"), ("WORKERS", "0"), ("WORKERS", "9"), ("MAX_UPLOAD_MB", "-1"), ("MAX_UPLOAD_MB", "nan"),
         ("QUEUE_LIMIT", "0"), ("MAX_FILES", "0"), ("MAX_ATTEMPTS", "0"), ("IMMEDIATE", "perhaps")],
    )  # fmt: skip
    def test_value_that_cannot_work_names_its_variable(self, variable: str, value: str) -> None:
        with pytest.raises(ConfigurationError) as refused:
            Settings.from_environment({f"OSTEON_{variable}": value})
        assert variable.lower() in (str(refused.value) + refused.value.hint).lower()

    def test_application_reads_the_environment_when_it_is_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_files: models.ModelFiles
    ) -> None:
        monkeypatch.setenv("OSTEON_DATA_DIR", str(tmp_path / "here"))
        monkeypatch.setenv("OSTEON_GATE", str(model_files.gate))
        create_app().state.service.stop()
        assert (tmp_path / "here" / "osteon.sqlite3").exists()

    def test_missing_gate_is_said_at_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(ModelMismatch, match="no model file"):
            create_app(Settings(data_dir=tmp_path, gate=tmp_path / "none.onnx"))

    def test_gate_that_cannot_decide_is_said_at_the_start(self, tmp_path: Path) -> None:
        gate = tmp_path / "gate.onnx"
        onnx.save(models.gate_model(models.gate_card(operating_points={})), str(gate))
        with pytest.raises(ModelMismatch, match="operating point"):
            create_app(Settings(data_dir=tmp_path, gate=gate))

    def test_documents_list_every_setting(self) -> None:
        text = DOCS.read_text(encoding="utf-8")
        for name in Settings.model_fields:
            assert f"`OSTEON_{name.upper()}`" in text


class TestCatalogue:
    def test_no_key_is_missing_in_a_language(self) -> None:
        assert catalogue()["en"].keys() == catalogue()["ru"].keys()

    def test_places_to_fill_are_the_same(self) -> None:
        def places(text: str) -> list[str]:
            return sorted(re.findall(r"\{(\w+)\}", text))

        for key, text in catalogue()["en"].items():
            assert places(text) == places(catalogue()["ru"][key]), key

    def test_russian_is_russian(self) -> None:
        same = {"api", "link.json", "language.en", "language.ru"}
        for key, text in catalogue()["ru"].items():
            assert key in same or re.search("[а-яё]", text, re.IGNORECASE), key

    def test_every_key_is_used_and_every_used_key_exists(self) -> None:
        sources = [
            *FOLDER.rglob("*.py"),
            *SERVICE.glob("*.py"),
            *FOLDER.glob("templates/*"),
            *FOLDER.glob("static/*.js"),
            *(DOCS.parents[1] / "frontend" / "src").glob("*.ts"),
        ]
        text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
        literal = set(re.findall(r"""["'`]([a-z_]+(?:\.[A-Za-z_]+)*)["'`]""", text))
        families = {"sample", "decision", "meaning", "reason", "grade", "model", "status", "problem", "step", "state"}
        families |= {"language", "report", "verdict", "box"}
        for key in catalogue()["en"]:
            assert key in literal or key.split(".")[0] in families, f"{key} is not used"
        worded = set(re.findall(r"""(?:word|fact)\(["']([\w.]*\w)["']""", text)) | set(
            re.findall(r"""words\[["']([\w.]+)["']\]""", text)
        )
        assert len(worded) > 40
        assert worded <= catalogue()["en"].keys()

    def test_every_sample_decision_and_status_has_a_name(self) -> None:
        keys = catalogue()["en"].keys()
        assert {f"sample.{sample.key}" for sample in samples.samples()} <= keys
        assert {f"{what}.{name}" for what in ("decision", "meaning") for name in
                ("fracture", "doubt", "no_fracture", "not_a_radiograph")} <= keys  # fmt: skip

    @pytest.mark.parametrize(
        ("accepted", "language"), [("", "en"), ("ru-RU,ru;q=0.9", "ru"), ("fr,de", "en"), ("en-US,ru", "en")]
    )
    def test_browser_language_is_heeded(self, accepted: str, language: str) -> None:
        assert preferred(accepted) == language

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_page_says_what_it_is_not(self, shared: Running, language: str) -> None:
        page = shared.client.get("/", headers={"accept-language": language}).text
        assert f'<html lang="{language}">' in page
        assert catalogue()[language]["disclaimer"] in page.split('id="config"')[1].split("<body>")[1]  # type: ignore[index]
        assert catalogue()["en"]["disclaimer"] == "Decision support for research. Not a medical device."


class TestSamples:
    def test_drawn_ones_are_always_there(self) -> None:
        assert {"drawn", "photograph"} <= {sample.key for sample in samples.samples()}

    @pytest.mark.skipif(find_spec("data_store") is None, reason="pydicom-data is not installed")
    def test_real_radiographs_are_there_where_their_package_is(self) -> None:
        by_key = {sample.key: sample for sample in samples.samples()}
        assert read(by_key["leg"].content())[0].height_px == 1760
        assert read(by_key["chest"].content())[0].height_px > 1000

    def test_every_sample_is_served_and_readable(self, shared: Running) -> None:
        for sample in samples.samples():
            answer = shared.client.get(f"/samples/{sample.key}")
            assert answer.headers["content-type"] == "application/octet-stream"
            assert read(answer.content)[0].pixels.std() > 5

    def test_photograph_is_turned_away(self, shared: Running) -> None:
        radiographs = read(samples.photograph())
        assert not shared.service.pipeline.bone(radiographs[0]).present


class TestReport:
    def test_says_decision_findings_models_and_what_it_is_not(self, serve: Callable[..., Running]) -> None:
        if shutil.which("pdftotext") is None:
            pytest.skip("pdftotext (poppler-utils) is not installed")
        server = serve(immediate=True)
        analysis = server.analysed(radiograph(), name="wrist <b>&.png")
        for language in LANGUAGES:
            answer = server.client.get(analysis["links"]["report"], params={"language": language})
            assert answer.headers["content-type"] == "application/pdf"
            assert analysis["name"] not in answer.headers["content-disposition"]
            text = subprocess.run(
                ["pdftotext", "-layout", "-", "-"], input=answer.content, capture_output=True, check=True
            ).stdout.decode()
            flat = " ".join(text.split())
            words = catalogue()[language]
            for key in ("report.title", "decision.fracture", "meaning.fracture", "grade.fracture", "disclaimer"):
                assert words[key] in flat, (language, key)
            fracture = analysis["findings"]["fractures"][0]
            assert re.search(rf"{fracture['probability'] * 100:.0f} ?%", flat)
            for model in analysis["findings"]["models"].values():
                assert model["name"] in flat and model["version"] in flat and model["sha256"] in flat
            assert "wrist <b>&.png" in flat

    def test_is_written_for_each_decision(self, serve: Callable[..., Running]) -> None:
        server = serve(immediate=True)
        for content in (radiograph(spot=200), radiograph(spot=150), samples.photograph()):
            analysis = server.analysed(content)
            assert server.client.get(analysis["links"]["report"]).content.startswith(b"%PDF-")


class TestPictures:
    def test_findings_survive_their_json(self) -> None:
        findings = Findings(
            source="a.png",
            sha256="0" * 64,
            height_px=10,
            width_px=20,
            bone=BoneEvidence(True, 0.25, 0.5),
            decision="fracture",
            fractures=(Fracture((1.0, 2.0, 3.0, 4.0), 0.5, 0.25, "fracture", Anchor("ulna", 0.75, 0.5, "distal")),),
            gate=ModelRef("g", "1", "a"),
            detector=None,
            timing_ms={"total": 1.0},
            candidates=(Fracture((1.0, 2.0, 3.0, 4.0), 0.1, 0.05, None),),
            bones=(),
            instances=ModelRef("b", "2", "c"),
        )
        assert pictures.findings_from_json(json.loads(json.dumps(findings.to_json()))) == findings

    def test_analysed_page_is_what_the_pipeline_says(self, server: Running) -> None:
        content = radiograph()
        direct = server.service.pipeline.analyse(read(content, name="wrist.png")[0]).to_json()
        served = server.analysed(content)["findings"]
        assert {k: v for k, v in served.items() if k != "timing_ms"} == {
            k: v for k, v in direct.items() if k != "timing_ms"
        }


def test_importing_the_application_loads_no_torch() -> None:
    code = "import sys, osteon.web.app; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_pipeline_type_is_the_released_one(shared: Running) -> None:
    assert isinstance(shared.service.pipeline, Pipeline)
