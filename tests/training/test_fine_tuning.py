"""A detector learns new pictures and keeps what it knew of the old."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import drawn
import numpy as np
import pytest
import torch

import models
from osteon.datasets.case import Manifest
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError, InvalidDataset, ModelMismatch
from osteon.inference.pipeline import DETECTOR_FILE, DETECTOR_FLOAT_FILE, GATE_FILE
from osteon.inference.session import read_card
from osteon.models.nanocsp import NanoCsp
from osteon.training.architectures import build, start
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import TUNING_LOOP, DetectorSettings, LoopSettings, TuningSettings
from osteon.training.export import export, parity, write_card
from osteon.training.fine_tuning import FineTuning, Parts, TuningData, merged
from osteon.training.pictures import load
from osteon.training.quantise import quantise
from osteon.training.released import float_file
from osteon.training.runs import Run, fine_tune_detector, train_detector

torch.set_num_threads(1)
DETECTOR = DetectorSettings(
    side_px=96,
    canvas_px=96,
    settle_epochs=0,
    rotation_degrees=5.0,
    scale_low=0.9,
    scale_high=1.1,
    quarter_turn=0.0,
)
BASE = LoopSettings(epochs=30, batch=6, warmup_steps=5, evaluate_every=10, learning_rate=2e-3, ema=0.95)
LOOP = replace(
    TUNING_LOOP, epochs=8, batch=6, warmup_steps=2, learning_rate=1e-3, pretrained_rate=1e-3, ema=0.9, evaluate_every=2
)
TUNING = TuningSettings(anchor=0.1, replay=1.0, margin=0.05)
FORGETFUL = TuningSettings(anchor=0.0, replay=0.0, margin=0.05)


@dataclass(frozen=True)
class Trained:
    """A detector of squares, on squares and rings, and where its weights lie."""

    data: TuningData
    old: tuple[Manifest, Split]
    new: tuple[Manifest, Split]
    weights: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("tuning")
    sets = []
    for kind in ("square", "ring"):
        (folder / kind).mkdir()
        sets.append(drawn.marks(folder / kind, kind))
    train_detector(*sets[0], Run(folder / "base"), settings=DETECTOR, loop=BASE)
    return Trained(merged(sets[1], sets[0]), sets[0], sets[1], str(folder / "base" / "best.pt"))


def tune(trained: Trained, folder: Path, *, tuning: TuningSettings = TUNING, **changes: Any) -> Checkpoint:
    return fine_tune_detector(
        trained.data, Run(folder, trained.weights), settings=DETECTOR, loop=replace(LOOP, **changes), tuning=tuning
    )


@pytest.fixture(scope="module")
def pair(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one detector in float and in 8 bit."""
    folder = tmp_path_factory.mktemp("pair")
    card = models.detector_card(side_px=96)
    export(Checkpoint.read(Path(trained.weights)), folder / "base-float.onnx", card)
    quantise(folder / "base-float.onnx", folder / "base.onnx", [np.random.default_rng(0).random((96, 96), np.float32)])
    write_card(folder / "base.onnx", folder / "base.onnx", replace(card, settings={"eight_bit": True}))
    return folder


def copied(pair: Path, folder: Path) -> Path:
    """Both files in another folder; the 8-bit one."""
    for name in ("base.onnx", "base-float.onnx"):
        shutil.copy(pair / name, folder)
    return folder / "base.onnx"


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def tuned(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    """The detector of squares trained on for rings."""
    folder = tmp_path_factory.mktemp("tuned")
    return folder, tune(trained, folder)


class TestForgetting:
    def test_the_new_figure_rises_and_the_old_holds(self, tuned: tuple[Path, Checkpoint]) -> None:
        folder, best = tuned
        first = history(folder)[0]
        assert first["epoch"] == 0
        assert first["kept"] > 0.7, "the detector had not learned the squares"
        assert best.metrics["kept"] >= first["kept"] - TUNING.margin
        assert best.metrics["new"] >= first["new"] + 0.3

    def test_without_replay_and_anchor_the_old_figure_falls_and_such_epochs_do_not_count(
        self, trained: Trained, tmp_path: Path
    ) -> None:
        best = tune(trained, tmp_path, tuning=FORGETFUL, epochs=4)
        rows = [row for row in history(tmp_path) if "kept" in row]
        assert rows[-1]["kept"] < rows[0]["kept"] - 0.3
        assert rows[-1]["new"] > rows[0]["new"]
        assert rows[-1]["selection"] < 0
        assert best.epoch == 0
        begun = Checkpoint.read(Path(trained.weights)).weights
        assert all(torch.equal(value, begun[name]) for name, value in best.weights.items())

    def test_the_anchor_keeps_weights_near_the_start(self, trained: Trained, tmp_path: Path) -> None:
        begun = Checkpoint.read(Path(trained.weights)).weights

        def way(anchor: float) -> float:
            folder = tmp_path / str(anchor)
            tune(trained, folder, tuning=TuningSettings(anchor=anchor, replay=0.0, margin=2.0), epochs=2)
            weights = Checkpoint.read(folder / "last.pt").weights
            return sum(float((weights[n] - v).square().sum()) for n, v in begun.items() if n.endswith("conv.weight"))

        assert way(3.0) < 0.6 * way(0.0)

    def test_normalisation_keeps_its_statistics(self, trained: Trained, tuned: tuple[Path, Checkpoint]) -> None:
        begun = Checkpoint.read(Path(trained.weights)).weights
        learned = Checkpoint.read(tuned[0] / "last.pt").resume["model"]
        for name, value in begun.items():
            if "running" in name:
                assert torch.equal(value, learned[name]), name
        assert any(not torch.equal(value, learned[name]) for name, value in begun.items() if "conv" in name)


class TestRun:
    def test_an_interrupted_run_goes_on_as_if_nothing_had_been(self, trained: Trained, tmp_path: Path) -> None:
        class Interrupted(Exception):
            pass

        def stop(what: str, _done: int, _of: int) -> None:
            if what.startswith("epoch 2/"):
                raise Interrupted

        words = {"settings": DETECTOR, "loop": replace(LOOP, epochs=2, evaluate_every=1), "tuning": TUNING}
        with pytest.raises(Interrupted):
            fine_tune_detector(trained.data, Run(tmp_path / "parts", trained.weights), progress=stop, **words)
        assert [row["epoch"] for row in history(tmp_path / "parts")] == [0, 1]
        for name in ("parts", "whole"):
            fine_tune_detector(trained.data, Run(tmp_path / name, trained.weights), **words)
        parts, whole = (Checkpoint.read(tmp_path / name / "last.pt") for name in ("parts", "whole"))
        assert parts.resume["task"]["kept_at_start"] == whole.resume["task"]["kept_at_start"] is not None
        assert all(torch.equal(value, parts.weights[name]) for name, value in whole.weights.items())

    def test_the_checkpoint_tells_how(self, trained: Trained, tuned: tuple[Path, Checkpoint]) -> None:
        _, best = tuned
        assert best.settings["tuning"] == {"anchor": 0.1, "replay": 1.0, "margin": 0.05}
        assert best.settings["pictures"] == {"fractured": 6, "normal": 6, "valid": 8, "kept": 12, "kept_valid": 8}
        assert best.split_hash == trained.data.split.hash

    def test_it_needs_something_to_start_from(self, trained: Trained, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="trained detector"):
            fine_tune_detector(trained.data, Run(tmp_path), settings=DETECTOR, loop=LOOP, tuning=TUNING)

    def test_kept_data_without_fractures_are_refused(self, trained: Trained, tmp_path: Path) -> None:
        bare = Manifest("bare", tuple(case for case in trained.old[0] if not case.fractured))
        with pytest.raises(InvalidDataset, match="holds no fracture"):
            tune(replace(trained, data=merged(trained.new, (bare, trained.old[1]))), tmp_path)


class TestBatches:
    @pytest.fixture
    def task(self, trained: Trained) -> FineTuning:
        new, old = (
            Parts(*(load(split.select(manifest, part).cases, side_px=96)[0] for part in ("train", "valid")))
            for manifest, split in (trained.new, trained.old)
        )
        kept = Parts(old.train[:9], old.valid)
        words = {"settings": DETECTOR, "loop": replace(LOOP, batch=3), "tuning": replace(TUNING, replay=0.5)}
        return FineTuning(new, kept, build("detector", "nanocsp"), split_hash="", **words)

    def test_an_epoch_shows_all_new_and_a_share_of_kept_fractured_and_not(self, task: FineTuning) -> None:
        names = [picture.case.name for picture in task._order(0)]
        assert task.steps() == 6
        assert sorted(n for n in names if n.startswith("ring")) == sorted(f"ring-{i}.png" for i in range(12))
        kept = [int(n.removeprefix("square-").removesuffix(".png")) for n in names if n.startswith("square")]
        assert len(kept) == 6
        assert sum(number % 2 for number in kept) == 3

    def test_epochs_draw_differently_and_alike_for_one_seed(self, task: FineTuning) -> None:
        first, other = ([p.case.name for p in task._order(epoch)] for epoch in (0, 1))
        assert first != other
        assert [p.case.name for p in task._order(0)] == first


class TestMerged:
    def test_each_case_stays_in_its_part(self, trained: Trained) -> None:
        parts = trained.data.split.part_of()
        assert parts == trained.new[1].part_of() | trained.old[1].part_of()
        assert trained.data.kept == {case.name for case in trained.old[0]}

    def test_a_new_case_that_would_leak_is_left_out(self, trained: Trained) -> None:
        """A training case that duplicates a kept validation case, and the other way about; not those on one side."""
        groups = [("ring-0.png", "square-15.png"), ("ring-13.png", "square-1.png"), ("ring-2.png", "square-3.png")]
        parts = merged(trained.new, trained.old, groups).split.part_of()
        assert {name for name in trained.new[1].part_of() if name not in parts} == {"ring-0.png", "ring-13.png"}
        assert trained.old[1].part_of().items() <= parts.items()

    def test_a_common_name_is_refused(self, trained: Trained) -> None:
        with pytest.raises(InvalidDataset, match="20 names"):
            merged(trained.old, trained.old)


class TestReleased:
    def test_the_released_detector_says_in_torch_what_it_says_in_onnx(self) -> None:
        model = build("detector", "nanocsp")
        assert start(model, str(DETECTOR_FILE))
        settings = {"detector": {"side_px": 640}}
        restored = Checkpoint("detector", "nanocsp", model.state_dict(), settings, "", 0, {}, {})
        square = models.radiograph_pixels(640, 640).astype(np.float32) / 255
        result = parity(restored, DETECTOR_FLOAT_FILE, [square])
        assert result.largest["boxes"] < 1e-2
        assert result.largest["scores"] < 1e-5

    def test_its_training_only_layer_begins_by_saying_nothing(self) -> None:
        model = build("detector", "nanocsp")
        start(model, str(DETECTOR_FILE))
        assert isinstance(model, NanoCsp)
        assert not model.mask_head.weight.any()

    def test_a_detector_is_tuned_from_onnx(self, trained: Trained, tmp_path: Path) -> None:
        path = tmp_path / "base.onnx"
        export(Checkpoint.read(Path(trained.weights)), path, models.detector_card(side_px=96))
        tune(replace(trained, weights=str(path)), tmp_path / "run", epochs=1, evaluate_every=1, pretrained_rate=1e-4)
        rows = history(tmp_path / "run")
        assert rows[0]["kept"] > 0.7
        assert rows[1]["kept"] >= rows[0]["kept"] - TUNING.margin

    def test_weights_outside_of_convolutions_are_not_left_behind(self, tmp_path: Path) -> None:
        state = {
            name: value.clone() for name, value in build("detector", "ssd300-vgg16", side_px=96).state_dict().items()
        }
        path = tmp_path / "ssd.onnx"
        saved = Checkpoint("detector", "ssd300-vgg16", state, {"detector": {"side_px": 96}}, "", 0, {}, {})
        export(saved, path, models.detector_card(side_px=96))
        with pytest.raises(ModelMismatch):
            start(build("detector", "ssd300-vgg16", side_px=96), str(path))

    def test_an_eight_bit_file_is_refused_without_its_float_file(self) -> None:
        with pytest.raises(ModelMismatch, match=r"gate\.onnx is in 8 bit, and there is no gate-float\.onnx") as caught:
            start(build("gate", "unet-csp"), str(GATE_FILE))
        assert "cannot be trained further" in caught.value.hint

    def test_an_eight_bit_detector_gives_the_weights_of_the_float_file_beside_it(
        self, pair: Path, tmp_path: Path
    ) -> None:
        path = copied(pair, tmp_path)
        assert float_file(path) == tmp_path / "base-float.onnx"
        assert float_file(tmp_path / "base-float.onnx") == tmp_path / "base-float.onnx"
        restored, straight = build("detector", "nanocsp"), build("detector", "nanocsp")
        assert start(restored, str(path)) and start(straight, str(tmp_path / "base-float.onnx"))
        for mine, theirs in zip(restored.parameters(), straight.parameters(), strict=True):
            assert torch.equal(mine, theirs)

    @pytest.mark.parametrize("change", [{"version": "2"}, {"split_hash": "0"}, {"settings": {"epoch": 3}}])
    def test_the_float_file_of_another_training_is_refused(
        self, pair: Path, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        path = copied(pair, tmp_path)
        beside = tmp_path / "base-float.onnx"
        write_card(beside, beside, replace(read_card(beside)[0], **change))
        with pytest.raises(ModelMismatch, match="two trainings"):
            start(build("detector", "nanocsp"), str(path))

    def test_an_eight_bit_file_is_no_float_file(self, pair: Path, tmp_path: Path) -> None:
        path = copied(pair, tmp_path)
        shutil.copy(path, tmp_path / "base-float.onnx")
        with pytest.raises(ModelMismatch, match="not the float file"):
            start(build("detector", "nanocsp"), str(path))

    def test_a_file_of_another_architecture_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelMismatch):
            start(build("gate", "unet-csp"), str(DETECTOR_FILE))
        with pytest.raises(ModelMismatch):
            start(build("gate", "segnet"), str(DETECTOR_FILE))
        (tmp_path / "none.onnx").write_bytes(b"no model")
        with pytest.raises(ModelMismatch):
            start(build("detector", "nanocsp"), str(tmp_path / "none.onnx"))
