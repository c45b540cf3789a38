"""Single bones on request: found once by a worker, kept, told in findings, report and page; and what cannot be."""

import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from serving import PATIENT, Running, form, lent, photograph, radiograph, running
from sqlalchemy import select
from test_web_http import assert_problem, decoded
from test_web_jobs import each_run, pages, service_of, taken_in, until

import cluster
import models
from osteon.errors import BonesImpossible, BonesNotFound, TooManyWaiting
from osteon.findings import Bone, BoneEvidence, Findings, Fracture, Grade, ModelRef
from osteon.service import bone_files
from osteon.service.backup import backup
from osteon.service.bone_jobs import placed
from osteon.service.bones import BonesClaims, BonesTasks
from osteon.service.claims import Claims
from osteon.service.files import LocalFiles
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore, Upload
from osteon.service.tables import AuditRow, BonesRow

Serve = Callable[..., Running]
UNKNOWN = "0" * 32
LABELS = ["radius", "carpals"]
"""What the drawn model finds on `serving.radiograph`: the bone, and its lower end."""


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory,
    model_files: models.ModelFiles,
    bones_model: Path,
    instances: cluster.Instances | None,
) -> Iterator[Running]:
    """One server for all tests that look at one film."""
    folder = tmp_path_factory.mktemp("kept")
    with lent(folder, model_files, bones_model, instances) as settings, running(settings) as server:
        yield server


@pytest.fixture
def server(kept: Running) -> Iterator[Running]:
    """With an empty store after each test."""
    yield kept
    for analysis in kept.client.get("/api/v1/analyses").json()["analyses"]:
        kept.client.delete(analysis["links"]["self"])


def ask(server: Running, analysis: dict[str, Any], **params: Any) -> Any:
    return server.client.post(analysis["links"]["bones"], params={"wait": 30} | params)


def found(server: Running, analysis: dict[str, Any], **params: Any) -> dict[str, Any]:
    answer = ask(server, analysis, **params)
    assert answer.status_code == 200, answer.text
    bones: dict[str, Any] = answer.json()
    assert bones["status"] == "succeeded", bones
    return bones


class TestRequest:
    def test_bones_are_found_once_and_told_as_coco_with_names(self, server: Running) -> None:
        told = server.client.get("/metrics").text
        analysis = server.analysed(radiograph())
        assert "bones" not in analysis["findings"] and "text" not in analysis["findings"]["fractures"][0]
        bones = found(server, analysis)
        assert bones["images"] == [{"id": 1, "width": 350, "height": 450, "file_name": "wrist.png"}]
        assert [one["label"] for one in bones["annotations"]] == LABELS
        radius, carpals = bones["annotations"]
        assert 1 >= radius["score"] > carpals["score"] > 0.5
        assert radius["bbox"] == pytest.approx([122, 22, 105, 338], abs=2), "what is drawn"
        (part,) = radius["segmentation"]
        drawn = cv2.fillPoly(np.zeros((450, 350), np.uint8), [np.array(part, np.int32).reshape(-1, 2)], 1)
        true = np.zeros_like(drawn)
        true[22:360, 122:227] = 1
        assert (drawn & true).sum() / (drawn | true).sum() > 0.9
        assert abs(radius["area"] - int(drawn.sum())) < 0.02 * radius["area"]
        category = next(one for one in bones["categories"] if one["id"] == radius["category_id"])
        assert category["name"] == "radius" and category["names"] == {"en": "radius", "ru": "лучевая кость"}
        assert server.client.get(analysis["links"]["bones"]).json() == bones
        runs: list[int] = []
        each_run(server.service.pipeline.bones_session(), lambda: runs.append(1))
        assert found(server, analysis) == bones and not runs, "kept"
        assert found(server, analysis, again=True) == bones and len(runs) == 1
        if not server.service.settings.queue_url:  # else a worker counts
            assert 'osteon_model_loaded{task="bones"} 0.0' in told
            told = server.client.get("/metrics").text
            assert 'osteon_model_loaded{task="bones"} 1.0' in told
            assert 'osteon_stage_seconds_count{stage="bones"} 2.0' in told

    def test_findings_say_on_which_bone_a_fracture_lies(self, server: Running) -> None:
        before = server.analysed(radiograph())
        found(server, before)
        after = server.client.get(before["links"]["self"]).json()
        (fracture,) = after["findings"]["fractures"]
        assert fracture["bone"] == "radius" and fracture["bone_overlap"] > 0.9 and not fracture["outside_bone"]
        assert fracture["text"]["en"].startswith("suspected fracture: radius")
        assert fracture["text"]["ru"].startswith("подозрение на перелом: лучевая кость")
        assert fracture["box_xyxy_px"] == before["findings"]["fractures"][0]["box_xyxy_px"]
        assert [one["label"] for one in after["findings"]["bones"]] == LABELS
        assert after["findings"]["models"]["bones"]["name"] == "osteon-bones-drawn"
        assert after["findings"]["timing_ms"]["bones"] > 0
        assert after["decision"] == before["decision"] == "fracture"

    def test_each_bone_is_judged_and_the_decision_stays(self, server: Running) -> None:
        before = server.analysed(radiograph())
        assert "damage" not in before["findings"]
        bones = found(server, before)
        after = server.client.get(before["links"]["self"]).json()["findings"]
        words = [bone["damage"] for bone in after["bones"]]
        assert all(0 < one["score"] < 1 and 0 < one["probability"] < 1 for one in words)
        assert [one["damage"] for one in bones["annotations"]] == words
        assert after["damage"]["score"] == max(one["score"] for one in words)
        assert after["models"]["bone_judge"]["name"] == "osteon-bone-judge-drawn"
        assert after["timing_ms"]["judge"] > 0
        for name in ("decision", "suspicion"):
            assert after.get(name) == before["findings"].get(name)
        assert [one["grade"] for one in after["fractures"]] == [one["grade"] for one in before["findings"]["fractures"]]
        percent = f"{after['damage']['probability'] * 100:.0f}"
        for language, text in (("en", "With each bone judged by itself"), ("ru", "оценки каждой кости")):
            address = f"/api/v1/analyses/{before['id']}/report.html"
            said = server.client.get(address, params={"language": language}).text
            assert text in said and percent in said.split(text)[1][:60]

    def test_without_a_judge_bones_are_found_all_the_same(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(bone_judge=tmp_path / "none.onnx")
        analysis = server.analysed(radiograph())
        assert [one["damage"] for one in found(server, analysis)["annotations"]] == [None, None]
        after = server.client.get(analysis["links"]["self"]).json()["findings"]
        assert "damage" not in after and "bone_judge" not in after["models"] and "judge" not in after["timing_ms"]

    @pytest.mark.parametrize("address", ["/api/v1/analyses", "upload"])
    def test_may_be_asked_for_with_the_file(self, server: Running, address: str) -> None:
        content = radiograph()
        given: dict[str, Any] = {"files": form(content)}
        if address == "upload":
            made = server.client.post("/api/v1/uploads", json={"name": "a.png", "size_bytes": len(content)}).json()
            octets = {"Upload-Offset": "0", "Content-Type": "application/octet-stream"}
            server.client.patch(made["links"]["self"], content=content, headers=octets)
            address, given = made["links"]["analysis"], {}
        answer = server.client.post(address, params={"wait": 30, "bones": True}, **given)
        assert answer.status_code == 200
        assert answer.json()["findings"]["fractures"][0]["bone"] == "radius"
        assert found(server, answer.json()["analyses"][0])["annotations"]

    def test_the_same_file_with_bones_is_the_same_analysis(self, server: Running) -> None:
        first = server.analysed(radiograph())
        second = server.client.post("/api/v1/analyses", params={"wait": 30, "bones": True}, files=form(radiograph()))
        assert second.json()["id"] == first["id"]
        assert second.json()["findings"]["bones"]

    def test_every_page_has_its_own_and_one_without_bone_none(self, server: Running) -> None:
        bones = found(server, server.analysed(pages(2), name="two.tif"))
        assert [one["image_id"] for one in bones["annotations"]] == [1, 1, 2, 2]
        assert [one["id"] for one in bones["images"]] == [1, 2]
        analysis = server.analysed(photograph())
        assert found(server, analysis)["annotations"] == []
        after = server.client.get(analysis["links"]["self"]).json()["findings"]
        assert after["bones"] == [] and after["models"]["bones"] is None

    def test_pictures_show_them(self, server: Running) -> None:
        analysis = server.analysed(radiograph())
        plain = decoded(server.client.get(analysis["links"]["overlay"]).content)
        found(server, analysis)
        layer = decoded(server.client.get(analysis["links"]["bones"] + ".png").content)
        assert layer.shape == (450, 350, 4)
        assert layer[200, 100:140, 3].max() == 255 and layer[200, 175, 3] == 0
        drawn = decoded(server.client.get(analysis["links"]["overlay"]).content)
        assert drawn.shape == plain.shape

    def test_report_names_them_in_both_languages(self, server: Running) -> None:
        analysis = server.analysed(radiograph())
        found(server, analysis)
        address = f"/api/v1/analyses/{analysis['id']}/report"
        for language, texts in (
            ("en", ("Suspected fracture: radius", "radius, carpal bones", "osteon-bones-drawn")),
            ("ru", ("Подозрение на перелом: лучевая кость", "кости запястья", "Отдельные кости")),
        ):
            said = server.client.get(f"{address}.html", params={"language": language}).text
            assert all(text in said for text in texts)
            assert server.client.get(f"{address}.pdf", params={"language": language}).content.startswith(b"%PDF")


class TestRefusals:
    def test_without_a_model(self, serve: Serve, tmp_path: Path) -> None:
        server = serve(bones=tmp_path / "none.onnx")
        assert server.client.get("/readyz").status_code == 200
        analysis = server.analysed(radiograph())
        assert "OSTEON_BONES" in assert_problem(ask(server, analysis), 501)["hint"]
        with_file = server.client.post("/api/v1/analyses", params={"bones": True}, files=form(photograph()))
        assert assert_problem(with_file, 501)["type"] == "/docs#NoBonesModel"
        assert len(server.client.get("/api/v1/analyses").json()["analyses"]) == 1, "nothing was taken in"

    def test_before_anybody_asked_or_where_there_is_no_analysis(self, server: Running) -> None:
        analysis = server.analysed(radiograph())
        assert "POST" in assert_problem(server.client.get(analysis["links"]["bones"]), 404)["hint"]
        assert_problem(server.client.get(analysis["links"]["bones"] + ".png"), 404)
        for ending in ("bones", "bones.png"):
            assert_problem(server.client.get(f"/api/v1/analyses/{UNKNOWN}/{ending}"), 404)
        assert_problem(server.client.post(f"/api/v1/analyses/{UNKNOWN}/bones"), 404)

    def test_of_an_analysis_that_was_cancelled(self, settings: Settings, store: AnalysisStore) -> None:
        (cancelled,) = taken_in(store, radiograph())
        store.cancel(cancelled)
        tasks = BonesTasks(store.database)
        for asked in (lambda: tasks.ask(cancelled, queue_limit=9), lambda: tasks.find(cancelled)):
            with pytest.raises(BonesImpossible, match="cancelled"):
                asked()
        assert tasks.progress([cancelled, UNKNOWN])[cancelled].finished

    def test_where_too_many_wait(self, store: AnalysisStore, claims: Claims) -> None:
        ids = taken_in(store, b"1", b"2")
        for _ in ids:
            claim = claims.take_next()
            assert claim and claims.succeed(claim, [])
        tasks = BonesTasks(store.database)
        assert tasks.ask(ids[0], queue_limit=1).status == "queued"
        with pytest.raises(TooManyWaiting):
            tasks.ask(ids[1], queue_limit=1)
        assert tasks.ask(ids[0], queue_limit=1).status == "queued", "the same again is no other"

    def test_with_files_where_too_many_wait_nothing_is_taken_in(self, settings: Settings) -> None:
        with service_of(settings.changed(queue_limit=1)) as service:
            (analysis_id,) = taken_in(service.store, radiograph())
            service.runner.submit(analysis_id)
            service.bones.ask(analysis_id, queue_limit=1)
            with pytest.raises(TooManyWaiting):
                service.accept([Upload("b.png", photograph())], bones=True)
            assert [one.id for one in service.store.page()] == [analysis_id]
            assert service.accept([Upload("b.png", photograph())])[0]

    def test_of_somebody_elses(self, store: AnalysisStore, claims: Claims) -> None:
        (mine,) = taken_in(store, b"1")
        tasks = BonesTasks(store.database)
        for asked in (
            lambda: tasks.ask(mine, queue_limit=9, owner="another"),
            lambda: tasks.find(mine, owner="another"),
        ):
            with pytest.raises(Exception, match="no analysis has this id"):
                asked()


class TestDurability:
    def test_what_was_asked_for_early_waits_for_the_analysis(self, settings: Settings) -> None:
        with service_of(settings) as service:
            (analysis_id,) = taken_in(service.store, radiograph())
            assert service.bones.ask(analysis_id, queue_limit=9).status == "queued"
            assert service.bones.find(analysis_id).status == "queued"
            service.runner.submit(analysis_id)
            assert service.bones.find(analysis_id).status == "succeeded"
            assert service.store.find(analysis_id).pages[0]["bones"]

    def test_a_restart_takes_up_what_was_interrupted(self, settings: Settings) -> None:
        settings = settings.changed(lease_seconds=1)
        with running(settings) as server:
            analysis = server.analysed(radiograph())
        with closing(AnalysisStore.of(settings)) as store:
            BonesTasks(store.database).ask(analysis["id"], queue_limit=9)
            assert BonesClaims(store.database, settings, "killed").take(analysis["id"])
        with running(settings) as server:
            assert found(server, analysis)["annotations"]
            assert server.service.bones.find(analysis["id"]).attempts == 2
            with server.service.store.database.reading() as session:
                actions = set(session.scalars(select(AuditRow.action)))
            assert {"bones_asked", "bones_begun", "bones_interrupted", "bones_succeeded"} <= actions

    def test_a_failure_leaves_the_analysis_as_it_is_and_is_tried_when_asked_again(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        faults = [RuntimeError(PATIENT)]

        def failing_once() -> None:
            if faults:
                raise faults.pop()

        with service_of(settings) as service:
            (analysis_id,) = taken_in(service.store, radiograph())
            service.runner.submit(analysis_id)
            before = service.store.find(analysis_id)
            each_run(service.pipeline.bones_session(), failing_once)
            service.ask_bones(analysis_id)
            task = service.bones.find(analysis_id)
            assert task.status == "failed" and task.error and task.error["hint"]
            assert service.store.find(analysis_id) == before
            assert PATIENT not in caplog.text + str(task.error)
            service.ask_bones(analysis_id)
            assert service.bones.find(analysis_id).status == "succeeded"

    def test_a_worker_that_was_given_up_has_no_say_once_somebody_asked_again(
        self, store: AnalysisStore, settings: Settings, claims: Claims
    ) -> None:
        (analysis_id,) = taken_in(store, b"1")
        claim = claims.take_next()
        assert claim and claims.succeed(claim, [])
        tasks = BonesTasks(store.database)
        bones = BonesClaims(store.database, settings, "worker")
        tasks.ask(analysis_id, queue_limit=9)
        late = bones.take(analysis_id)
        assert late and bones.fail(late, {"type": "AnalysisTimedOut", "message": "late", "hint": ""})
        tasks.ask(analysis_id, queue_limit=9)
        anew = bones.take(analysis_id)
        assert anew and (anew.worker, anew.attempts) == (late.worker, late.attempts)
        assert bones.advance(late, 0.5) == "lost"
        assert not bones.fail(late, {"type": "AnalysisTimedOut", "message": "late", "hint": ""})
        assert not bones.succeed(late, [])
        assert bones.succeed(anew, [])

    def test_removal_takes_them_along_also_while_they_are_looked_for(self, server: Running) -> None:
        analysis = server.analysed(radiograph())
        begun, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            go_on.wait(20)

        session = server.service.pipeline.bones_session()
        run = session.run
        each_run(session, hold)
        assert ask(server, analysis, wait=0).status_code == 202
        assert begun.wait(20)
        assert server.client.delete(analysis["links"]["self"]).status_code == 204
        go_on.set()
        session.run = run  # type: ignore[method-assign]
        files = server.service.store.files
        until(lambda: not files.names(analysis["id"]), "what was written since is removed, too")
        with server.service.store.database.reading() as session:
            assert session.scalars(select(BonesRow)).all() == []

    def test_a_backup_holds_them(self, server: Running, tmp_path: Path, embedded: None) -> None:
        analysis = server.analysed(radiograph())
        found(server, analysis)
        backup(server.service.settings, tmp_path / "backup.tar")
        with tarfile.open(tmp_path / "backup.tar") as tar:
            assert any(name.endswith("/bones-1.json") for name in tar.getnames())


class TestPlaced:
    @pytest.mark.parametrize(("grade", "then"), [("fracture", "doubt"), ("doubt", "doubt")])
    @pytest.mark.parametrize("demotes", [True, False])
    def test_outside_of_all_bones_a_fracture_loses_a_grade_and_none_goes(
        self, grade: Grade, then: Grade, demotes: bool
    ) -> None:
        model = ModelRef("m", "1", "0")
        fracture = Fracture((80.0, 80.0, 95.0, 95.0), 0.9, 0.9, grade)
        findings = Findings(
            "a.png", "0", 100, 100, BoneEvidence(True, 1, 1), "fracture", (fracture,), model, model, {"total": 1.0}
        )
        bone = Bone("ulna", 0.9, (0.0, 0.0, 20.0, 90.0), (0, 0), np.ones((90, 20), bool))
        (placed_there,) = placed(findings, (bone,), demotes=demotes)
        assert placed_there.anchor and placed_there.anchor.outside
        assert placed_there.grade == (then if demotes else grade)


class TestFiles:
    @pytest.fixture
    def files(self, tmp_path: Path) -> Iterator[LocalFiles]:
        yield LocalFiles(tmp_path)

    def test_a_mask_comes_back_from_its_outline(self, files: LocalFiles) -> None:
        mask = np.zeros((60, 40), np.uint8)
        cv2.ellipse(mask, (20, 25), (15, 22), 20, 0, 360, 1, -1)
        mask[50:58, 2:12] = 1
        bone = Bone("fibula", 0.5, (100.0, 200.0, 140.0, 260.0), (100, 200), mask.astype(bool))
        bone_files.save(files, UNKNOWN, 0, [bone])
        (back,) = bone_files.bones(files, UNKNOWN, 0)
        before, after = (one.on(300, 200) for one in (bone, back))
        assert (before & after).sum() / (before | after).sum() > 0.97
        assert (back.label, back.score, back.box_xyxy_px) == (bone.label, bone.score, bone.box_xyxy_px)

    def test_a_name_stands_within_the_bone(self, files: LocalFiles) -> None:
        ring = np.zeros((50, 50), np.uint8)
        cv2.ellipse(ring, (25, 25), (20, 20), 0, 0, 250, 1, 6)
        bone_files.save(files, UNKNOWN, 0, [Bone("bone", 0.5, (0.0, 0.0, 50.0, 50.0), (0, 0), ring.astype(bool))])
        (record,) = bone_files.records(files, UNKNOWN, 0)
        x, y = record["inside_xy_px"]
        assert ring[int(y), int(x)]

    def test_a_speck_has_an_outline(self, files: LocalFiles) -> None:
        bone_files.save(files, UNKNOWN, 0, [Bone("bone", 0.5, (3.0, 4.0, 4.0, 5.0), (3, 4), np.ones((1, 1), bool))])
        (record,) = bone_files.records(files, UNKNOWN, 0)
        assert record["segmentation"] == [[3.0, 4.0, 4.0, 4.0, 4.0, 5.0, 3.0, 5.0]]

    def test_what_is_not_there_is_said(self, files: LocalFiles) -> None:
        with pytest.raises(BonesNotFound):
            bone_files.records(files, UNKNOWN, 0)

    def test_coco_numbers_what_it_lists(self) -> None:
        page = {"width_px": 4, "height_px": 3, "source": "a.png"}
        record = {
            "label": "hamate",
            "score": 0.5,
            "box_xyxy_px": [0, 0, 2, 2],
            "area_px": 4,
            "segmentation": [[0.5, 0.5, 1.5, 0.5, 1.5, 1.5]],
            "inside_xy_px": [1, 1],
        }
        coco = bone_files.coco([(page, [record]), (page, [record])])
        assert [one["id"] for one in coco["annotations"]] == [1, 2]
        assert [one["image_id"] for one in coco["annotations"]] == [1, 2]
        (category,) = coco["categories"]
        assert category["name"] == "hamate" and category["id"] == coco["annotations"][0]["category_id"]
        json.dumps(coco)
