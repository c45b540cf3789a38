"""Miniature trainings from data to checkpoint."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import drawn
import numpy as np
import pytest
import torch

from osteon.datasets.case import Manifest
from osteon.datasets.labels import FRACTURE_LABELS
from osteon.datasets.split import Split
from osteon.errors import InvalidDataset, ModelMismatch
from osteon.models.criteria import DetectionTargets
from osteon.training.architectures import build, start
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import LoopSettings
from osteon.training.detector import Batch, DetectorTask, example
from osteon.training.gate import view
from osteon.training.loop import Average, moved, rate_at
from osteon.training.masks import targets
from osteon.training.pictures import load, mirrored
from osteon.training.runs import Run, train_detector, train_gate

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
Films = tuple[Manifest, Split]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    return drawn.films(tmp_path_factory.mktemp("films"))


class Interrupted(Exception):
    """The power went."""


def gate(films: Films, folder: Path, *, stop: str = "", weights: str = "none", **changes: Any) -> Checkpoint:
    def progress(what: str, _done: int, _of: int) -> None:
        if stop and what.startswith(stop):
            raise Interrupted

    loop = replace(drawn.LOOP, **changes)
    return train_gate(*films, Run(folder, weights), settings=drawn.GATE, loop=loop, progress=progress)


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(films: Films, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    """A gate of three epochs, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, gate(films, folder, epochs=3)


def test_a_gate_trains_to_a_checkpoint_that_tells_how(films: Films, trained: tuple[Path, Checkpoint]) -> None:
    folder, best = trained
    assert (best.task, best.arch, best.split_hash) == ("gate", "segnet", films[1].hash)
    assert best.settings["gate"]["side_px"] == 64
    assert best.settings["loop"]["epochs"] == 3
    assert best.settings["pictures"] == {"positive": 8, "negative": 4, "valid": 6}
    assert best.resume == {}
    assert set(best.metrics) == {"dice", "iou", "turned_away", "selection"}
    rows = history(folder)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert best.metrics["selection"] == max(row["selection"] for row in rows)
    assert all(math.isfinite(row["loss_mask"]) for row in rows)


def test_the_loss_of_the_gate_falls(trained: tuple[Path, Checkpoint]) -> None:
    rows = history(trained[0])
    assert rows[-1]["loss_mask"] < rows[0]["loss_mask"]


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(
    films: Films, trained: tuple[Path, Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        gate(films, tmp_path, epochs=3, stop="epoch 2/")
    assert [row["epoch"] for row in history(tmp_path)] == [1]
    gate(films, tmp_path, epochs=3)
    whole, parts = (Checkpoint.read(folder / "last.pt") for folder in (trained[0], tmp_path))
    assert parts.epoch == whole.epoch == 3
    for name, value in whole.weights.items():
        assert torch.equal(parts.weights[name], value), name
    for mine, theirs in zip(
        parts.resume["optimiser"]["param_groups"], whole.resume["optimiser"]["param_groups"], strict=True
    ):
        assert mine["lr"] == theirs["lr"]
    timeless = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in history(f)] for f in (trained[0], tmp_path)
    ]
    assert timeless[0] == timeless[1]


def test_a_finished_training_is_not_trained_again(films: Films, trained: tuple[Path, Checkpoint]) -> None:
    before = history(trained[0])
    again = gate(films, trained[0], epochs=3)
    assert history(trained[0]) == before
    assert again.epoch == trained[1].epoch


def test_another_split_or_model_does_not_go_on(films: Films, trained: tuple[Path, Checkpoint]) -> None:
    other = drawn.split(list(films[0]), [0, 1, 2, 3, 12, 13])
    with pytest.raises(ModelMismatch, match="split"):
        gate((films[0], other), trained[0], epochs=3)
    with pytest.raises(ModelMismatch):
        train_gate(*films, Run(trained[0]), settings=replace(drawn.GATE, arch="unet"), loop=drawn.LOOP)


def test_a_training_starts_from_a_checkpoint(films: Films, trained: tuple[Path, Checkpoint], tmp_path: Path) -> None:
    model = build("gate", "segnet")
    assert start(model, str(trained[0] / "best.pt"))
    assert all(torch.equal(value, trained[1].weights[name]) for name, value in model.state_dict().items())
    tuned = gate(films, tmp_path, epochs=1, weights=str(trained[0] / "best.pt"))
    assert tuned.epoch == 1


def test_a_part_without_masks_is_refused(films: Films, tmp_path: Path) -> None:
    manifest, split = films
    bare = Manifest("bare", tuple(replace(c, instances=None) for c in manifest))
    with pytest.raises(InvalidDataset, match="training part"):
        gate((bare, split), tmp_path)
    undrawn = {c.name for c in manifest if c.name in split.parts["valid"]}
    half = Manifest("half", tuple(replace(c, instances=None) if c.name in undrawn else c for c in manifest))
    with pytest.raises(InvalidDataset, match="validation part"):
        gate((half, split), tmp_path)


@pytest.fixture(scope="module")
def detector(films: Films, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("detector")
    return train_detector(*films, Run(folder), settings=drawn.DETECTOR, loop=drawn.LOOP)


def test_a_detector_trains_to_a_checkpoint_that_tells_how(films: Films, detector: Checkpoint) -> None:
    assert (detector.task, detector.arch, detector.split_hash) == ("detector", "nanocsp", films[1].hash)
    assert detector.settings["pictures"] == {"fractured": 4, "normal": 4, "valid": 4}
    assert {"map50", "auroc", "selection"} <= set(detector.metrics)
    assert all(torch.isfinite(v).all() for v in detector.weights.values())


def test_without_normals_the_best_epoch_is_still_kept(films: Films, tmp_path: Path) -> None:
    fractured = Manifest("fractured", tuple(case for case in films[0] if case.fractured))
    best = train_detector(
        fractured, films[1], Run(tmp_path), settings=drawn.DETECTOR, loop=replace(drawn.LOOP, epochs=1)
    )
    assert math.isfinite(best.metrics["selection"])


def test_films_nobody_labelled_are_neither_trained_nor_validated_on(films: Films, tmp_path: Path) -> None:
    manifest, split = films
    unlabelled = Manifest("drawn", tuple(replace(c, fractured=None) if not c.fractured else c for c in manifest))
    best = train_detector(unlabelled, split, Run(tmp_path), settings=drawn.DETECTOR, loop=replace(drawn.LOOP, epochs=1))
    assert best.settings["pictures"] == {"fractured": 4, "normal": 0, "valid": 2}


def test_a_part_without_boxes_is_refused(films: Films, tmp_path: Path) -> None:
    normal = Manifest("normal", tuple(case for case in films[0] if not case.fractured))
    with pytest.raises(InvalidDataset, match="training part"):
        train_detector(normal, films[1], Run(tmp_path), settings=drawn.DETECTOR, loop=drawn.LOOP)


def test_drawn_bones_are_no_fractures_to_learn(films: Films) -> None:
    pictures, broken = load([c for c in films[0] if c.radiograph][:6], side_px=96)
    assert broken == []
    for picture in pictures:
        assert len(picture.outlines(FRACTURE_LABELS)) == int(bool(picture.case.fractured))
        shown = example(picture, np.random.default_rng(0), drawn.DETECTOR, gentle=True)
        assert len(shown.boxes_xyxy) == int(bool(picture.case.fractured))
        assert shown.mask.any() == bool(picture.case.fractured)


def test_boxes_follow_the_picture(films: Films) -> None:
    """The mask, painted apart from the boxes, lies where the boxes say."""
    pictures, _ = load([c for c in films[0] if c.fractured], side_px=96)
    for picture in pictures:
        for seed in range(5):
            shown = example(picture, np.random.default_rng(seed), drawn.DETECTOR, gentle=False)
            assert shown.pixels.shape == (64, 64)
            for x0, y0, x1, y1 in shown.boxes_xyxy.tolist():
                assert 0 <= x0 < x1 <= 64
                assert 0 <= y0 < y1 <= 64
                inside = shown.mask[int(y0 // 8) : math.ceil(y1 / 8), int(x0 // 8) : math.ceil(x1 / 8)]
                assert inside.max() > 0


def test_batches_are_the_same_for_the_same_seed_and_differ_by_epoch(films: Films) -> None:
    pictures, _ = load([c for c in films[0] if c.radiograph], side_px=96)

    def task(seed: int) -> DetectorTask:
        return DetectorTask(
            pictures,
            [],
            settings=drawn.DETECTOR,
            loop=LoopSettings(batch=4, seed=seed),
            split_hash="",
            pretrained=False,
        )

    first, second = task(0), task(0)
    assert torch.equal(first.batch(1, 0)[0], second.batch(1, 0)[0])
    second.batch(2, 0)
    assert torch.equal(first.batch(1, 1)[0], second.batch(1, 1)[0])
    assert not torch.equal(first.batch(1, 0)[0], first.batch(2, 0)[0])
    assert not torch.equal(first.batch(1, 0)[0], task(1).batch(1, 0)[0])


def test_a_gates_target_lies_on_its_bones(films: Films) -> None:
    (target,) = targets(load([next(iter(films[0]))], side_px=64)[0])
    assert target.bone.shape == target.picture.pixels.shape
    bright = target.picture.pixels[target.bone > 200].mean()
    assert bright > target.picture.pixels[target.bone == 0].mean() + 20
    grey, wanted = view(target, np.random.default_rng(0), drawn.GATE)
    assert grey.shape == wanted.shape == (64, 64)
    assert 0 <= wanted.min() <= wanted.max() <= 1


def test_pictures_that_cannot_be_read_are_named(films: Films, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no")
    case = next(iter(films[0]))
    pictures, broken = load([replace(case, name="broken.png", path=tmp_path / "broken.png"), case], side_px=64)
    assert (len(pictures), broken) == (1, ["broken.png"])


def test_the_rate_rises_then_falls_to_its_end() -> None:
    settings = LoopSettings(warmup_steps=10, final_rate=0.02)
    rates = [rate_at(step, 200, settings) for step in range(201)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[200] == pytest.approx(0.02)


def test_the_average_follows_at_once_and_settles() -> None:
    source, target = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    average = Average(target, decay=0.998)
    source.weight.data.fill_(5)
    source.num_batches_tracked.fill_(7)
    average.update(source)
    assert target.weight.detach().tolist() == pytest.approx([5, 5], abs=0.05)
    assert int(target.num_batches_tracked) == 7
    average.steps = 100_000
    source.weight.data.fill_(0)
    average.update(source)
    assert target.weight.detach().tolist() == pytest.approx([4.99, 4.99], abs=0.02)


def test_a_batch_goes_to_the_device_whole() -> None:
    """All tensors of its named tuples and lists; what is none stays, and so does the kind of everything."""
    boxes = [torch.zeros(2, 4), torch.zeros(0, 4)]
    batch = Batch(torch.zeros(2, 1, 4, 4), DetectionTargets(boxes, torch.zeros(2, 1, 1, 1)), (3, -1))
    there = moved(batch, torch.device("meta"))
    assert type(there) is Batch and type(there.targets) is DetectionTargets and there.normals == (3, -1)
    tensors = [there.pixels, *there.targets.boxes_xyxy, there.targets.masks]
    assert [t.device.type for t in tensors] == ["meta"] * 4
    assert [t.shape for t in there.targets.boxes_xyxy] == [(2, 4), (0, 4)]


def test_mirrored_pictures_carry_their_fractures(films: Films) -> None:
    """A bright fracture stays under its outline and its box in all four."""
    (picture,), _ = load([next(c for c in films[0] if c.fractured)], side_px=96)
    marked = picture.pixels.copy()
    (outline,) = picture.outlines(FRACTURE_LABELS)
    x0, y0 = outline.min(axis=0).astype(int)
    x1, y1 = np.ceil(outline.max(axis=0)).astype(int)
    marked[:] = 0
    marked[y0:y1, x0:x1] = 255
    views = mirrored(replace(picture, pixels=marked))
    assert len({seen.pixels.tobytes() for seen in views}) == 4
    assert np.array_equal(views[0].pixels, marked)
    settings = replace(drawn.DETECTOR, augment=False)
    for seen in views:
        shown = example(seen, np.random.default_rng(0), settings, gentle=False)
        ((left, top, right, bottom),) = shown.boxes_xyxy.tolist()
        rows, columns = np.nonzero(shown.pixels)
        assert (columns.min(), rows.min()) == pytest.approx((left, top), abs=1.01)
        assert (columns.max() + 1, rows.max() + 1) == pytest.approx((right, bottom), abs=1.01)
        assert shown.mask.sum() > 0


def test_without_augmentation_a_picture_is_shown_as_inference_sees_it(films: Films) -> None:
    (picture,), _ = load([next(c for c in films[0] if c.fractured)], side_px=96)
    settings = replace(drawn.DETECTOR, augment=False)
    views = [
        example(picture, np.random.default_rng(seed), settings, gentle=gentle)
        for seed, gentle in ((0, True), (1, False))
    ]
    for seen in views:
        np.testing.assert_array_equal(seen.pixels, picture.square())
        assert seen.boxes_xyxy[0].tolist() == pytest.approx(
            [*picture.outlines(FRACTURE_LABELS)[0].min(0), *picture.outlines(FRACTURE_LABELS)[0].max(0)], abs=1e-3
        )


def test_the_four_fold_enlargement_shows_every_picture_four_times(films: Films) -> None:
    pictures, _ = load([c for c in films[0] if c.radiograph], side_px=96)

    def task(**changes: bool) -> DetectorTask:
        settings = replace(drawn.DETECTOR, **changes)
        loop = LoopSettings(batch=4)
        return DetectorTask(pictures, [], settings=settings, loop=loop, split_hash="", pretrained=False)

    once, four = task(augment=False), task(augment=False, four_fold=True)
    assert four.steps() == 4 * once.steps()
    assert (len(four.fractured), len(four.normal)) == (4 * len(once.fractured), 4 * len(once.normal))
    shown = {pixels.numpy().tobytes() for step in range(four.steps()) for pixels in four.batch(0, step)[0]}
    assert len(shown) == 4 * len(pictures)


def test_each_process_brings_what_it_learned_of_the_normals() -> None:
    task = DetectorTask([], [], settings=drawn.DETECTOR, loop=LoopSettings(), split_hash="", pretrained=False)
    task.restore({"hardness": torch.ones(3, dtype=torch.float64)})
    task.merge(
        [
            {"hardness": torch.tensor([0.2, 1.0, 1.0], dtype=torch.float64)},
            {"hardness": torch.tensor([1.0, 1.0, 0.7], dtype=torch.float64)},
        ]
    )
    assert task.state()["hardness"].tolist() == [0.2, 1.0, 0.7]
    task.merge(
        [
            {"hardness": torch.tensor([0.2, 1.0, 0.7], dtype=torch.float64)},
            {"hardness": torch.tensor([0.9, 1.0, 0.7], dtype=torch.float64)},
        ]
    )
    assert task.state()["hardness"].tolist() == [0.9, 1.0, 0.7]
