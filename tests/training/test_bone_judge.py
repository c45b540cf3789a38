"""The bone judge: network, batches, a miniature training, and its file."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bone_judges import rods
from osteon.cli import main
from osteon.datasets.bone_crops import Framing
from osteon.datasets.case import Manifest
from osteon.datasets.crop_store import Crops
from osteon.datasets.split import Split
from osteon.datasets.synthetic import ANNOTATION_FILE, write_dataset
from osteon.errors import ConfigurationError, InvalidDataset, ModelMismatch
from osteon.inference.bone_judge import damage, framing_of
from osteon.inference.session import Session, read_card
from osteon.models.bone_judge import BoneJudge, Judgement, judge_loss, within
from osteon.training.architectures import build
from osteon.training.bone_judge import BoneJudgeTask, train_bone_judge, view
from osteon.training.bone_judge_release import release_bone_judge
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import JUDGE_LOOP, BoneJudgeSettings, LoopSettings
from osteon.training.release import Release, release
from osteon.training.runs import Run

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit
SETTINGS = BoneJudgeSettings(side_px=64)
LOOP = LoopSettings(
    epochs=4, batch=6, warmup_steps=2, evaluate_every=4, learning_rate=2e-3, pretrained_rate=2e-3, ema=0.8
)


@pytest.fixture(scope="module")
def crops() -> Crops:
    """20 films of two rods: every second is fractured and has one broken rod, the other unknown."""
    return rods("duiiudii" * 5)


def split(crops: Crops, *, valid: int = 8) -> Split:
    return Split("rods", {"train": crops.films[:-valid], "valid": crops.films[-valid:]}, 0, "by hand")


def task(crops: Crops, *, seed: int = 0, **changes: object) -> BoneJudgeTask:
    parts = (range(len(crops)), range(0))
    loop, settings = replace(LOOP, seed=seed), replace(SETTINGS, **changes)
    return BoneJudgeTask(crops, parts, settings=settings, loop=loop, split_hash="", pretrained=False)


@pytest.fixture(scope="module")
def trained(crops: Crops, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    """A training from weights (which fits normalisation to the crops), stopped after an epoch and gone on with."""
    folder = tmp_path_factory.mktemp("judge")
    torch.manual_seed(0)
    torch.save(build("bone-judge", "csp").state_dict(), folder / "start.pth")
    run = Run(folder, str(folder / "start.pth"))
    train_bone_judge(crops, split(crops), replace(run, until=1), settings=SETTINGS, loop=LOOP)
    assert Checkpoint.read(folder / "last.pt").epoch == 1
    return folder, train_bone_judge(crops, split(crops), run, settings=SETTINGS, loop=LOOP)


class TestNetwork:
    def test_the_mask_says_which_bone_is_meant(self) -> None:
        torch.manual_seed(0)
        model = BoneJudge().eval()
        pixels = torch.rand(1, 1, 64, 64)
        left, right = torch.zeros(2, 1, 1, 64, 64)
        left[..., :20], right[..., 44:] = 1, 1
        with torch.inference_mode():
            found = [model(torch.cat([pixels, mask], 1)) for mask in (left, right)]
        assert found[0].logits.shape == (1,)
        assert found[0].places.shape == (1, 1, 4, 4)
        assert abs(float(found[0].logits - found[1].logits)) > 1e-4

    def test_only_cells_at_the_bone_count(self) -> None:
        cells = within(torch.tensor([[0.0] * 6, [0.0, 0.0, 0.05, 0.5, 0.0, 0.0]])[:, None, None, :])
        assert cells.reshape(2, 6).tolist() == [[1.0] * 6, [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]]

    def test_an_empty_mask_gives_a_number(self) -> None:
        found = BoneJudge().eval()(torch.rand(2, 2, 64, 32) * torch.tensor([1.0, 0.0])[:, None, None])
        assert torch.isfinite(found.logits).all()

    def test_it_is_small_and_its_encoder_starts_from_the_detectors(self) -> None:
        assert sum(p.numel() for p in build("bone-judge", "csp").parameters()) == 969_251
        with pytest.raises(ConfigurationError, match="unknown bone-judge architecture 'resnet'"):
            build("bone-judge", "resnet")

    def test_the_loss_of_the_places_looks_at_the_fracture(self) -> None:
        fracture = torch.zeros(1, 1, 64, 32)
        fracture[..., 20:24, 4:8] = 1  # within cell (1, 0) of 4 x 2
        right, wrong = torch.full((2, 1, 1, 4, 2), -6.0)
        right[..., 1, 0], wrong[..., 3, 1] = 6, 6
        losses = [
            judge_loss(Judgement(torch.zeros(1), places), torch.ones(1), fracture, place_weight=0.5)
            for places in (right, wrong)
        ]
        assert losses[0]["bone"] == losses[1]["bone"] == pytest.approx(np.log(2))
        assert losses[0]["place"] < 0.01 < 1 < losses[1]["place"]


class TestBatches:
    def test_an_epoch_shows_every_broken_bone_once_and_no_unknown_one(self, crops: Crops) -> None:
        made = task(crops)
        for epoch in range(3):
            seen = Counter(crops.rows[i].damage for i in made.order(epoch))
            assert seen == {"damaged": 10, "intact": 20}
            assert max(Counter(made.order(epoch)).values()) == 1
        assert made.order(0) != made.order(1)
        assert made.settings()["bones"] == {"broken": 10, "intact": 20, "valid": 0}
        assert made.steps() == 5

    def test_shared_fractures_count_unless_they_shall_not(self) -> None:
        few = rods("suiiii")
        assert len(task(few).broken) == 1
        assert len(task(few, shared=False).broken) == 0

    def test_whole_bones_are_like_the_broken_ones(self) -> None:
        """All broken rods are femora."""
        femora = rods("du" * 6 + "ii" * 40)
        labels = Counter(femora.rows[i].label for i in task(femora, alike=1.0).order(0))
        assert labels == {"femur": 18}
        evenly = Counter(femora.rows[i].label for i in task(femora, alike=0.0).order(0))
        assert evenly["tibia"] > 2

    def test_a_batch_is_the_same_for_the_same_seed(self, crops: Crops) -> None:
        first, again, other = task(crops), task(crops), task(crops, seed=1)
        assert all(torch.equal(a, b) for a, b in zip(first.batch(1, 0), again.batch(1, 0), strict=True))
        assert not torch.equal(first.batch(1, 0).crops, first.batch(2, 0).crops)
        assert not torch.equal(first.batch(1, 0).crops, other.batch(1, 0).crops)
        batch = first.batch(1, 1)
        assert batch.crops.shape == (6, 2, 64, 32)
        assert batch.fracture.amax((1, 2, 3)).tolist() == batch.damaged.tolist()

    def test_mask_and_fracture_move_with_the_picture(self, crops: Crops) -> None:
        for seed in range(6):
            grey, mask, fracture = view(crops, 0, np.random.default_rng(seed), SETTINGS)
            assert grey[(mask > 0) & (fracture == 0)].mean() > grey[fracture > 0].mean() + 0.1
            assert set(np.unique(mask)) == {0, 1}
            assert (mask[fracture > 0] > 0).mean() > 0.8


class TestTraining:
    def test_it_learns_to_tell_broken_rods(self, crops: Crops, trained: tuple[Path, Checkpoint]) -> None:
        best = trained[1]
        assert (best.task, best.arch) == ("bone-judge", "csp")
        assert Checkpoint.read(trained[0] / "last.pt").epoch == LOOP.epochs
        assert best.settings["bones"] == {"broken": 6, "intact": 12, "valid": 12}
        assert best.metrics["auroc_bone"] > 0.9

    def test_the_command_writes_a_file_that_says_what_torch_says(self, tmp_path: Path) -> None:
        names = [case.name for case in write_dataset(tmp_path, count=6, height_px=110, width_px=90)]
        folds = Split("drawn", {"fold1": tuple(names[:3]), "fold2": tuple(names[3:])}, 0, "by hand")
        folds.write(tmp_path / "folds.json")
        data = ["--data", tmp_path, "--bones", tmp_path / ANNOTATION_FILE, "--split", tmp_path / "folds.json"]
        brief = ["--fold", "fold1", "--side-px", 64, "--epochs", 1, "--batch", 4, "--place-weight", 0.3]
        words = ["train", "bone-judge", *data, *brief, "--crops", tmp_path / "crops", "--out", tmp_path / "runs"]
        done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
        folder = tmp_path / "runs" / "fold1"
        assert (done.exit_code, done.stdout.strip()) == (0, str(folder / "bone-judge.onnx"))
        assert {file.name for file in folder.iterdir()} == {"best.pt", "last.pt", "history.jsonl", "bone-judge.onnx"}
        card, _ = read_card(folder / "bone-judge.onnx")
        assert (card.task, card.labels, card.split_hash) == ("bone-judge", ("damaged",), folds.fold("fold1").hash)
        assert framing_of(card) == Framing(64)
        assert card.settings["bone-judge"]["place_weight"] == 0.3
        assert card.metrics["broken_bones"] >= 1
        model = build("bone-judge", "csp").eval()
        model.load_state_dict(Checkpoint.read(folder / "best.pt").weights)
        session = Session(folder / "bone-judge.onnx", task="bone-judge", threads=1)
        crop = rods("d").crop(0)
        with torch.inference_mode():
            mine = float(model(torch.from_numpy(crop[None] / np.float32(255))).logits.sigmoid())
        assert damage(session, crop) == pytest.approx(mine, abs=1e-4)

    def test_a_file_of_another_split_is_refused(
        self, crops: Crops, trained: tuple[Path, Checkpoint], tmp_path: Path
    ) -> None:
        about = Release("osteon-bone-judge", "0.1.0", "Apache-2.0", "drawn")
        with pytest.raises(ModelMismatch, match="was trained on split"):
            release_bone_judge(trained[1], tmp_path / "j.onnx", about, crops=crops, split=split(crops, valid=4))
        with pytest.raises(ModelMismatch, match="by its own training"):
            release(trained[1], tmp_path / "j.onnx", about, manifest=Manifest("none", ()), split=split(crops))

    def test_parts_and_crops_must_fit(self, crops: Crops, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="crops of 64 px"):
            train_bone_judge(crops, split(crops), Run(tmp_path), settings=BoneJudgeSettings(), loop=LOOP)
        whole = rods("iiii")
        with pytest.raises(InvalidDataset, match="0 broken and 2 whole"):
            train_bone_judge(whole, split(whole, valid=1), Run(tmp_path), settings=SETTINGS, loop=LOOP)

    def test_nothing_is_chosen_on_the_validation_part(self) -> None:
        assert JUDGE_LOOP.evaluate_every == JUDGE_LOOP.epochs
