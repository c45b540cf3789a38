"""Decoder processes: they give what reading gives, and a file that does harm costs itself only."""

import errno
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from serving import PATIENT, png

import builders
import models
from osteon import files
from osteon.dicom.study import study_of
from osteon.errors import (
    ConfigurationError,
    DecoderCrashed,
    DecoderTimedOut,
    ImageTooLarge,
    InvalidImage,
    OsteonError,
    UnsupportedDicom,
)
from osteon.limits import Limits
from osteon.service import decoding
from osteon.service.decoders import DecodedFile, Decoders
from osteon.service.scratch import Scratch
from osteon.service.shelf import Shelf

CHILD = (sys.executable, str(Path(__file__).parent / "decoder_child.py"))
PICTURE = builders.drawing().pixels
STUDY = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    scratch = Scratch(tmp_path / "scratch")
    yield scratch
    scratch.close()


@pytest.fixture
def decoders(scratch: Scratch) -> Iterator[Decoders]:
    decoders = Decoders(scratch, processes=1)
    yield decoders
    decoders.stop()


@pytest.fixture
def harmed(scratch: Scratch) -> Iterator[Decoders]:
    """Decoders whose processes do harm where a file asks for it."""
    decoders = Decoders(scratch, processes=1, seconds=30, memory_bytes=2**29, program=CHILD)
    yield decoders
    decoders.stop()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def dicom(picture: NDArray[np.uint8] = PICTURE, **attributes: object) -> bytes:
    return builders.written(builders.grey12(picture, **attributes))


def left(scratch: Scratch) -> list[str]:
    return [path.name for path in scratch.path.iterdir() if path.name != "lock"]


SOUND = {
    "jpeg": builders.raster(PICTURE, "JPEG", quality=90),
    "png-16": png(builders.deep(PICTURE)),
    "dicom-12": dicom(),
    "tiff-pages": builders.pages(PICTURE, PICTURE[::-1], PICTURE[:50]),
    "turned": builders.turned(PICTURE, 6, "JPEG"),
}


class TestSoundFiles:
    @pytest.mark.parametrize("kind", SOUND)
    def test_give_what_reading_gives(self, decoders: Decoders, file: Path, kind: str) -> None:
        file.write_bytes(SOUND[kind])
        decoded = decoders.decode(file, name="hand.x")
        read = files.read(SOUND[kind], name="hand.x")
        assert len(decoded.pages) == len(read)
        for page, expected in zip(decoded.pages, read, strict=True):
            radiograph = page.radiograph()
            assert radiograph.pixels.dtype == expected.pixels.dtype
            assert np.array_equal(radiograph.pixels, expected.pixels)
            assert replace(radiograph, pixels=expected.pixels).__dict__ == expected.__dict__
            assert (page.low, page.high) == (expected.pixels.min(), expected.pixels.max())
            shown = files.read(page.picture)[0]
            assert np.array_equal(shown.pixels, expected.as_uint8())
        assert max(files.read(decoded.thumbnail)[0].pixels.shape) <= decoding.THUMBNAIL_SIDE_PX

    def test_leave_nothing_once_removed(self, decoders: Decoders, scratch: Scratch, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"])
        decoded = decoders.decode(file, name="a")
        pixels = decoded.pages[0].pixels()
        assert decoded.size_bytes > pixels.nbytes
        decoded.remove()
        assert left(scratch) == []
        assert pixels.any(), "what is mapped stays readable"

    def test_are_decoded_side_by_side(self, scratch: Scratch, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"])
        decoders = Decoders(scratch, processes=2)
        results: list[DecodedFile] = []
        threads = [threading.Thread(target=lambda: results.append(decoders.decode(file, name="a"))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        decoders.stop()
        assert len({result.folder for result in results}) == 6

    def test_noise_on_standard_output_is_no_answer(
        self, harmed: Decoders, file: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        file.write_bytes(SOUND["jpeg"] + b"NOISE")
        assert harmed.decode(file, name="a").pages[0].height_px == PICTURE.shape[0]
        assert PATIENT not in "".join(capfd.readouterr())


class TestRefusedFiles:
    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (b"", InvalidImage),
            (b"text", InvalidImage),
            (SOUND["jpeg"][:900], InvalidImage),
            (dicom()[:2000], InvalidImage),
        ],
        ids=["empty", "text", "truncated-jpeg", "truncated-dicom"],
    )
    def test_say_what_reading_says(
        self, decoders: Decoders, scratch: Scratch, file: Path, content: bytes, kind: type[OsteonError]
    ) -> None:
        file.write_bytes(content)
        with pytest.raises(kind) as here:
            files.read(content)
        with pytest.raises(kind) as there:
            decoders.decode(file, name="a")
        assert type(there.value) is type(here.value)
        assert (there.value.message, there.value.hint) == (here.value.message, here.value.hint)
        assert left(scratch) == []

    def test_kinds_of_errors_come_across(self, decoders: Decoders, file: Path) -> None:
        video = builders.dataset(np.zeros((2, 2), np.uint8))
        del video.PixelData
        video.ContentSequence = []
        file.write_bytes(builders.written(video))
        with pytest.raises(UnsupportedDicom):
            decoders.decode(file, name="a")

    def test_bomb_is_refused_before_it_is_decoded(self, scratch: Scratch, file: Path) -> None:
        file.write_bytes(png(np.zeros((3000, 3000), np.uint8)))
        assert file.stat().st_size < 100_000
        decoders = Decoders(scratch, processes=1, limits=Limits(max_pixels=8_000_000))
        with pytest.raises(ImageTooLarge, match="3000x3000"):
            decoders.decode(file, name="a")
        decoders.stop()

    def test_preview_has_limits_of_its_own(self, decoders: Decoders, file: Path) -> None:
        file.write_bytes(png(np.zeros((513, 100), np.uint8)))
        with pytest.raises(ImageTooLarge, match="512"):
            decoders.preview(file, name="a")
        assert decoders.decode(file, name="a").pages[0].height_px == 513


class TestHarmfulFiles:
    @pytest.mark.parametrize("harm", [b"CRASH", b"SEGMENT"])
    def test_crash_costs_one_file(self, harmed: Decoders, scratch: Scratch, file: Path, harm: bytes) -> None:
        file.write_bytes(SOUND["jpeg"] + harm)
        with pytest.raises(DecoderCrashed) as crashed:
            harmed.decode(file, name=PATIENT)
        assert crashed.value.hint and PATIENT not in str(crashed.value)
        assert left(scratch) == []
        file.write_bytes(SOUND["jpeg"])
        assert len(harmed.decode(file, name="a").pages) == 1

    @pytest.mark.parametrize("harm", [b"HANG", b"SPIN"])
    def test_hang_costs_one_file_and_a_set_time(
        self, scratch: Scratch, file: Path, harm: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        harmed = Decoders(scratch, processes=1, seconds=1, memory_bytes=16 * 2**30, program=CHILD)
        file.write_bytes(SOUND["jpeg"] + harm)
        with pytest.raises(DecoderTimedOut, match="longer than 1 s"):
            harmed.decode(file, name=PATIENT)
        file.write_bytes(SOUND["jpeg"])
        assert len(harmed.decode(file, name="a").pages) == 1
        assert "decoder process was lost" in caplog.text and PATIENT not in caplog.text
        harmed.stop()

    def test_memory_is_bounded(self, harmed: Decoders, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"] + b"BLOAT")
        with pytest.raises(DecoderCrashed, match="memory"):
            harmed.decode(file, name="a")
        file.write_bytes(SOUND["jpeg"])
        assert len(harmed.decode(file, name="a").pages) == 1

    def test_mistake_tells_its_kind_and_no_text(self, harmed: Decoders, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"] + b"RAISE")
        with pytest.raises(DecoderCrashed, match="RuntimeError") as crashed:
            harmed.decode(file, name="a")
        assert PATIENT not in str(crashed.value)

    @pytest.mark.parametrize("harm", [b"NONSENSE", b"NOTHING"])
    def test_answer_without_sense_is_no_file(self, harmed: Decoders, scratch: Scratch, file: Path, harm: bytes) -> None:
        file.write_bytes(SOUND["jpeg"] + harm)
        with pytest.raises(DecoderCrashed, match="no sense"):
            harmed.decode(file, name="a")
        assert left(scratch) == []

    @pytest.mark.parametrize("harm", [b"LIE", b"PICKLE"])
    def test_pixels_are_checked_and_never_unpickled(self, harmed: Decoders, file: Path, harm: bytes) -> None:
        file.write_bytes(SOUND["jpeg"] + harm)
        page = harmed.decode(file, name="a").pages[0]
        with pytest.raises(DecoderCrashed):
            page.radiograph()

    def test_preview_does_not_wait_for_a_file_that_hangs(self, scratch: Scratch, tmp_path: Path) -> None:
        harmed = Decoders(scratch, processes=1, seconds=60, program=CHILD)
        hangs, small = tmp_path / "hangs", tmp_path / "small"
        hangs.write_bytes(SOUND["jpeg"] + b"HANG")
        small.write_bytes(SOUND["jpeg"])
        begun = threading.Event()

        def decode() -> None:
            begun.set()
            with pytest.raises(ChildProcessError, match="from outside"):
                harmed.decode(hangs, name="a")

        thread = threading.Thread(target=decode)
        thread.start()
        assert begun.wait(10)
        assert harmed.preview(small, name="b").pages[0].height_px == PICTURE.shape[0]
        assert thread.is_alive()
        harmed.stop()
        thread.join(10)
        assert not thread.is_alive(), "stopping ends what hangs"


class TestProcesses:
    def test_full_disk_is_no_fault_of_the_file(self, scratch: Scratch, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"] + b"FULL")
        harmed = Decoders(scratch, processes=1, program=CHILD)
        with pytest.raises(ChildProcessError, match="no room"):
            harmed.decode(file, name="a")
        harmed.stop()

    def test_place_of_one_that_cannot_be_replaced_is_not_lost(
        self, scratch: Scratch, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        harmed = Decoders(scratch, processes=1, program=CHILD)
        popen = subprocess.Popen

        def first_only(*words: Any, **options: Any) -> Any:
            if started:
                raise OSError(errno.EAGAIN, "no more processes")
            started.append(1)
            return popen(*words, **options)

        started: list[int] = []
        monkeypatch.setattr(subprocess, "Popen", first_only)
        file.write_bytes(SOUND["jpeg"] + b"CRASH")
        with pytest.raises(DecoderCrashed):
            harmed.decode(file, name="a")
        file.write_bytes(SOUND["jpeg"])
        with pytest.raises(ChildProcessError, match="did not start"):
            harmed.decode(file, name="a")
        monkeypatch.setattr(subprocess, "Popen", popen)
        assert harmed.decode(file, name="a").pages[0].height_px == PICTURE.shape[0]
        harmed.stop()

    def test_program_that_does_not_start_is_said(self, scratch: Scratch, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"])
        decoders = Decoders(scratch, processes=1, program=(sys.executable, "-c", "raise SystemExit(3)"))
        with pytest.raises(ChildProcessError, match="did not start"):
            decoders.decode(file, name="a")
        decoders.stop()

    def test_one_that_died_in_its_sleep_is_replaced(self, decoders: Decoders, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"])
        decoders.decode(file, name="a")
        process = decoders._files._idle.queue[0]
        assert process
        process._popen.kill()
        process._popen.wait()
        assert len(decoders.decode(file, name="a").pages) == 1

    def test_end_with_a_parent_that_is_killed(self, tmp_path: Path) -> None:
        code = (
            "import sys, os, signal; from pathlib import Path\n"
            "from osteon.service.decoders import Decoders; from osteon.service.scratch import Scratch\n"
            "decoders = Decoders(Scratch(Path(sys.argv[1])), processes=1); decoders.start()\n"
            "pids = [lane._idle.queue[0]._popen.pid for lane in (decoders._files, decoders._previews)]\n"
            "print(*pids, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        words = [sys.executable, "-c", code, str(tmp_path)]
        told = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        pids = [int(pid) for pid in told.split()]
        assert len(pids) == 2
        until = time.monotonic() + 30
        while any(_lives(pid) for pid in pids):
            assert time.monotonic() < until, "a decoder outlived its parent"
            time.sleep(0.05)

    def test_know_no_database_no_model_and_no_web(self) -> None:
        code = "import json, sys, osteon.service.decoding; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert not set(json.loads(loaded)) & {"sqlalchemy", "onnxruntime", "fastapi", "pydantic", "torch"}

    def test_application_knows_no_dicom(self) -> None:
        code = "import json, sys, osteon.web.app; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert not set(json.loads(loaded)) & {"pydicom", "imagecodecs"}


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


class TestStudies:
    def test_views_of_one_study_have_one_hash(self, decoders: Decoders, file: Path) -> None:
        hashes: list[str] = []
        for uid, salt in ((STUDY, "a"), (STUDY, "a"), (STUDY + "2", "a"), (STUDY, "b")):
            file.write_bytes(dicom(StudyInstanceUID=uid))
            hashes.append(decoders.decode(file, name="x", salt=salt).study)
        assert hashes[0] == hashes[1]
        assert len(set(hashes)) == 3
        assert all(len(one) == 32 and STUDY not in one for one in hashes)

    @pytest.mark.parametrize("uid", ["", PATIENT, "1..2"])
    def test_what_is_no_uid_groups_nothing(self, uid: str) -> None:
        assert study_of(dicom(StudyInstanceUID=uid), salt="a") == ""

    def test_picture_without_a_study_has_none(self, decoders: Decoders, file: Path) -> None:
        file.write_bytes(SOUND["jpeg"])
        assert decoders.decode(file, name="x").study == ""


class TestScratch:
    def test_what_a_killed_process_left_is_removed_and_a_living_one_keeps_its_own(self, tmp_path: Path) -> None:
        code = (
            "import os, sys, signal; from pathlib import Path; from osteon.service.scratch import Scratch\n"
            "(Scratch(Path(sys.argv[1])).file()).write_bytes(b'x'); os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
        (abandoned,) = tmp_path.iterdir()
        assert len(list(abandoned.iterdir())) == 2
        first = Scratch(tmp_path)
        assert not abandoned.exists()
        first.file().write_bytes(b"y")
        second = Scratch(tmp_path)
        assert len(list(first.path.iterdir())) == 2, "another process, or service, of now"
        first.close()
        second.close()
        assert list(tmp_path.iterdir()) == []

    def test_folder_that_cannot_be_made_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(ConfigurationError, match="cannot write"):
            Scratch(tmp_path / "file")


class TestShelf:
    def test_file_is_taken_once(self, decoders: Decoders, file: Path) -> None:
        shelf = Shelf()
        kept = self._decoded(decoders, file)
        shelf.put("a", kept)
        assert shelf.take("a") == kept
        assert shelf.take("a") is None
        assert kept.folder.exists(), "it belongs to who took it"

    def test_oldest_make_room(self, decoders: Decoders, file: Path) -> None:
        size = self._decoded(decoders, file).size_bytes
        shelf = Shelf(most_bytes=2 * size)
        kept = [self._decoded(decoders, file) for _ in range(3)]
        for number, one in enumerate(kept):
            shelf.put(f"{number}", one)
        assert not kept[0].folder.exists()
        assert shelf.take("0") is None and shelf.take("1") == kept[1] and shelf.take("2") == kept[2]

    def test_nothing_is_kept_for_long(self, decoders: Decoders, file: Path) -> None:
        shelf = Shelf(kept_seconds=0)
        kept = self._decoded(decoders, file)
        shelf.put("a", kept)
        assert shelf.take("a") is None
        assert not kept.folder.exists()

    def test_what_is_dropped_cleared_or_replaced_is_removed(self, decoders: Decoders, file: Path) -> None:
        shelf = Shelf()
        kept = [self._decoded(decoders, file) for _ in range(4)]
        shelf.put("a", kept[0])
        shelf.put("a", kept[1])
        assert not kept[0].folder.exists()
        shelf.drop("a")
        shelf.drop("unknown")
        shelf.put("b", kept[2])
        shelf.put("c", kept[3])
        shelf.clear()
        assert not any(one.folder.exists() for one in kept)

    @staticmethod
    def _decoded(decoders: Decoders, file: Path) -> DecodedFile:
        file.write_bytes(SOUND["jpeg"])
        return decoders.decode(file, name="a")


def test_pixels_of_a_large_radiograph_are_the_models_input(decoders: Decoders, file: Path, tmp_path: Path) -> None:
    content = png(models.radiograph_pixels(900, 700))
    file.write_bytes(content)
    pipeline = models.pipeline(tmp_path)
    here = pipeline.analyse(files.read(content, name="a")[0])
    there = pipeline.analyse(decoders.decode(file, name="a").pages[0].radiograph())
    assert replace(here, timing_ms={}).to_json() == replace(there, timing_ms={}).to_json()
