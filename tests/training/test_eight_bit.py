"""A detector that rehearses 8 bits computes what its file will, learns on, and is a plain checkpoint again."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import drawn
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch.nn.utils import parametrize

import models
from osteon.cli import main
from osteon.datasets import synthetic
from osteon.datasets.case import Manifest
from osteon.datasets.recognise import open_dataset
from osteon.datasets.split import Split
from osteon.errors import ConfigurationError, ModelMismatch
from osteon.models.csp import ConvBlock
from osteon.models.nanocsp import NanoCsp
from osteon.models.points import Predictions
from osteon.training.architectures import build
from osteon.training.checkpoint import Checkpoint
from osteon.training.config import REHEARSAL_LOOP
from osteon.training.eight_bit import Rehearsal, Rounded, RoundedWeights, fold, likeness_loss, plain_weights
from osteon.training.export import export
from osteon.training.quantise import quantise
from osteon.training.runs import Run, rehearse_eight_bit, train_detector

torch.set_num_threads(1)  # quicker for small models, and the same to the last bit


@pytest.fixture(scope="module")
def detector() -> NanoCsp:
    """A detector whose normalisation has seen something."""
    torch.manual_seed(0)
    model = build("detector", "nanocsp").train()
    for _ in range(4):
        model(torch.rand(2, 1, 64, 64))
    return model.eval()  # type: ignore[return-value]


def test_folding_changes_nothing() -> None:
    torch.manual_seed(1)
    block = ConvBlock(3, 4).train()
    for _ in range(20):
        block(torch.rand(2, 3, 8, 8) * 3)
    block.norm.weight.data.uniform_(0.5, 2)
    block.norm.bias.data.normal_()
    block.eval()
    x = torch.rand(2, 3, 8, 8)
    before = block(x)
    fold(block)
    assert torch.allclose(block(x), before, atol=1e-5)
    assert block.norm.running_mean.abs().max() == 0 and block.norm.weight.detach().unique().tolist() == [1]


def test_weights_are_rounded_for_each_output_and_learn_as_if_they_were_not() -> None:
    weights = torch.tensor([[127.0, 0.6, -0.4], [1.27, 0.006, -1.0]])[..., None, None].requires_grad_()
    rounded = RoundedWeights()(weights)
    expected = [[127.0, 1.0, 0.0], [1.27, 0.01, -1.0]]
    assert torch.allclose(rounded[..., 0, 0], torch.tensor(expected), atol=1e-5)
    rounded.sum().backward()
    assert weights.grad is not None and weights.grad.unique().tolist() == [1]


def test_values_are_rounded_over_the_range_that_was_seen() -> None:
    rounded = Rounded().train()
    rounded(torch.tensor([-1.0, 4.1]))
    rounded.eval()
    values = torch.linspace(-1, 4.1, 400, requires_grad=True)
    found = rounded(values)
    assert len(found.unique()) == 256
    assert (found - values).abs().max() <= 0.0101
    assert rounded(torch.zeros(1)).item() == pytest.approx(0, abs=1e-6)
    assert rounded(torch.tensor([9.0])).item() == pytest.approx(4.1, abs=0.011)
    assert float(rounded.high) == pytest.approx(4.1)  # nothing is learnt of what is judged
    found.sum().backward()
    assert values.grad is not None and values.grad[1:-1].unique().tolist() == [1]


def test_what_stays_in_float_in_the_file_is_not_rounded(detector: NanoCsp) -> None:
    model = Rehearsal(copy.deepcopy(detector)).detector
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, ConvBlock)}
    rounded = {name for name, block in blocks.items() if parametrize.is_parametrized(block.conv)}
    assert {name for name in blocks if name not in rounded} == {
        name for name in blocks if name.startswith(("backbone.stem", "backbone.stages.0", "backbone.stages.1"))
    }
    assert {name for name in rounded if name.startswith(("backbone.stages.2", "laterals", "class_convs"))}
    assert not any(parametrize.is_parametrized(head) for head in (*model.class_heads, *model.box_heads))


def test_a_rehearsal_is_nearly_its_detector_and_leaves_a_plain_one(detector: NanoCsp) -> None:
    model = Rehearsal(copy.deepcopy(detector)).train()
    for seed in range(3):
        model(torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(seed)))
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(9))
    model.eval()
    with torch.inference_mode():
        plain, rounded = (said(x).bins.numpy() for said in (detector, model))
    assert 0 < np.abs(rounded - plain).max() < 0.1 * np.abs(plain).max()
    again = build("detector", "nanocsp").eval()
    again.load_state_dict(plain_weights(model.state_dict()))
    with torch.inference_mode():
        assert np.abs(again(x).bins.numpy() - plain).max() < 1e-4


def test_its_normalisation_stays_as_it_is_and_its_weights_move(detector: NanoCsp) -> None:
    model = Rehearsal(copy.deepcopy(detector)).train()
    before = {name: value.clone() for name, value in plain_weights(model.state_dict()).items()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.rand(2, 1, 64, 64)).logits.square().mean().backward()
    optimiser.step()
    after = plain_weights(model.state_dict())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "class_convs.0.conv.weight" in changed and "backbone.stem.conv.weight" in changed
    assert not {name for name in changed if "running" in name or "num_batches" in name}


def test_the_loss_is_least_for_what_the_teacher_says(detector: NanoCsp) -> None:
    said = detector(torch.rand(1, 1, 64, 64))
    wanted = Predictions(*(value.detach() for value in said))
    logits, bins = (value.clone().requires_grad_() for value in (wanted.logits, wanted.bins))
    same = likeness_loss(wanted._replace(logits=logits, bins=bins), wanted)
    sum(same.values()).backward()
    assert logits.grad.abs().max() < 1e-6 and bins.grad.abs().max() < 1e-6
    for part, other in (("score", {"logits": wanted.logits + 0.1}), ("edge", {"bins": wanted.bins.flip(-1)})):
        assert likeness_loss(wanted._replace(**other), wanted)[part] > same[part]


def test_the_file_takes_the_ranges_of_the_rehearsal(detector: NanoCsp, tmp_path: Path) -> None:
    saved = Checkpoint("detector", "nanocsp", detector.state_dict(), {"detector": {"side_px": 64}}, "", 1, {}, {})
    export(saved, tmp_path / "float.onnx", models.detector_card(side_px=64))
    squares = [np.random.default_rng(seed).random((64, 64), np.float32) for seed in range(2)]
    ranges = {"class_convs.1": [[-3.0, 5.0], [-1.0, 6.65]], "laterals.0": [[-2.0, 3.1]]}
    quantise(tmp_path / "float.onnx", tmp_path / "small.onnx", squares, ranges)
    graph = onnx.load(tmp_path / "small.onnx").graph
    numbers = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    steps: dict[str, list[float]] = {}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] in made:
            source, kind = made[node.input[0]], made[node.input[0]].op_type
            while source.op_type != "Conv" and source.input[0] in made:
                source = made[source.input[0]]
            if source.op_type == "Conv" and kind in ("Conv", "LeakyRelu"):
                steps.setdefault(source.input[1].split("_DequantizeLinear")[0], []).append(
                    float(numbers[node.input[1]])
                )
    of = {name: next(v for k, v in steps.items() if f"{name}.conv.weight" in k) for name in ranges}
    assert of["class_convs.1"] == pytest.approx([8 / 255, 7.65 / 255], rel=1e-5)
    assert of["laterals.0"] == pytest.approx([5.1 / 255], rel=1e-5)


LOOP = replace(REHEARSAL_LOOP, epochs=1, batch=4, evaluate_every=1)


@dataclass(frozen=True)
class Trained:
    """A miniature training, on films in a folder, to rehearse from."""

    place: Path
    manifest: Manifest
    split: Split
    checkpoint: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    place, folder = (tmp_path_factory.mktemp(name) for name in ("films", "run"))
    synthetic.write_dataset(place, count=12, height_px=110, width_px=90)
    manifest = open_dataset(place)
    names = sorted(case.name for case in manifest)
    split = Split("drawn", {"train": tuple(names[:8]), "valid": tuple(names[8:])}, 0, "by hand")
    loop = replace(drawn.LOOP, epochs=1)
    train_detector(manifest, split, Run(folder), settings=drawn.DETECTOR, loop=loop)
    split.write(folder / "split.json")
    return Trained(place, manifest, split, folder / "best.pt")


def test_a_rehearsed_checkpoint_is_one_of_the_same_training(trained: Trained, tmp_path: Path) -> None:
    before, run = Checkpoint.read(trained.checkpoint), Run(tmp_path, str(trained.checkpoint))
    done = rehearse_eight_bit(trained.manifest, trained.split, run, loop=LOOP)
    read = Checkpoint.read(tmp_path / "best.pt")
    assert (read.arch, read.split_hash, read.epoch) == (before.arch, before.split_hash, before.epoch)
    assert read.settings["loop"] == before.settings["loop"]
    assert read.settings["rehearsal"]["loop"]["epochs"] == 1
    ranges = read.settings["rehearsal"]["ranges"]
    assert len(ranges["class_convs.0"]) == 2 and len(ranges["laterals.0"]) == 1
    assert all(low <= 0 <= high and low < high for limits in ranges.values() for low, high in limits)
    assert read.metrics == done.metrics and read.metrics["auroc"] >= 0
    assert all(torch.equal(value, done.weights[name]) for name, value in read.weights.items())
    build("detector", "nanocsp").load_state_dict(read.weights)
    again = rehearse_eight_bit(trained.manifest, trained.split, run, loop=LOOP)  # nothing is left to do
    assert all(torch.equal(value, again.weights[name]) for name, value in done.weights.items())


def test_what_cannot_rehearse_is_refused(trained: Trained, tmp_path: Path) -> None:
    manifest, split, saved = trained.manifest, trained.split, Checkpoint.read(trained.checkpoint)
    yolo = build("detector", "yolov8n").state_dict()
    replace(saved, arch="yolov8n", weights=yolo).write(tmp_path / "yolo.pt")
    with pytest.raises(ConfigurationError, match="cannot rehearse"):
        rehearse_eight_bit(manifest, split, Run(tmp_path / "a", str(tmp_path / "yolo.pt")), loop=LOOP)
    other = replace(split, parts={"train": split.parts["valid"], "valid": split.parts["train"]})
    with pytest.raises(ModelMismatch, match="not a detector on"):
        rehearse_eight_bit(manifest, other, Run(tmp_path / "b", str(trained.checkpoint)), loop=LOOP)


def test_the_command_leaves_a_checkpoint_to_export(trained: Trained, tmp_path: Path) -> None:
    words = ["train", "eight-bit", trained.checkpoint, "--data", trained.place, "--out", tmp_path, "--threads", "1"]
    done = CliRunner().invoke(main, [*map(str, words), "--epochs", "1", "--batch", "4"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "best.pt")
    assert Checkpoint.read(tmp_path / "best.pt").settings["rehearsal"]["loop"]["batch"] == 4
