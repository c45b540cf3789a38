"""Settings of the trainings: one frozen dataclass each, every default written here and nowhere else."""

from dataclasses import dataclass

BUNDLED = "bundled"
"""Instead of a model's file: the installed model."""


@dataclass(frozen=True)
class LoopSettings:
    """How a model is optimised, whatever it learns.

    `learning_rate` is the peak for new layers, `pretrained_rate` for those that start from other weights. `ema` is
    the decay of the averaged weights by step; the average is what is evaluated, saved as best, and exported.
    """

    epochs: int = 48
    batch: int = 8
    learning_rate: float = 1.5e-3
    pretrained_rate: float = 5e-4
    weight_decay: float = 0.02
    warmup_steps: int = 300
    final_rate: float = 0.02
    clip_norm: float = 10.0
    ema: float = 0.998
    seed: int = 0
    evaluate_every: int = 2


@dataclass(frozen=True)
class DetectorSettings:
    """The fracture detector's data and augmentation.

    Pictures are letterboxed to `side_px` and then turned, scaled and shifted into a canvas of `canvas_px`, which
    shows a fracture with probability `centred`; the last `settle_epochs` use the whole square and gentle changes.
    `normals` are drawn anew each epoch, as a multiple of the fractured pictures; the share `hard_normals` of them by
    the highest score that each got when it was last shown (those never shown come first), the others evenly.

    Without `augment` every picture is shown whole, as it is. `four_fold` enlarges the training part: each picture is
    there as it is and mirrored left to right, top to bottom, and both.
    """

    arch: str = "nanocsp"
    side_px: int = 640
    canvas_px: int = 448
    normals: float = 1.0
    hard_normals: float = 0.5
    settle_epochs: int = 3
    centred: float = 0.75
    rotation_degrees: float = 25.0
    scale_low: float = 0.7
    scale_high: float = 1.45
    quarter_turn: float = 0.25
    augment: bool = True
    four_fold: bool = False


@dataclass(frozen=True)
class TuningSettings:
    """How a trained detector learns new data without forgetting the old.

    `anchor` is the strength of the penalty on every weight's way from where it started (L2-SP, Xuhong et al. 2018).
    `replay` is how many kept pictures an epoch shows, as a multiple of the new ones. An epoch counts only where the
    kept validation figure has fallen by no more than `margin` from what it was at the start.
    """

    anchor: float = 0.1
    replay: float = 1.0
    margin: float = 0.02


TUNING_LOOP = LoopSettings(
    epochs=12,
    learning_rate=2e-4,
    pretrained_rate=1e-4,
    weight_decay=0.0,
    warmup_steps=50,
    ema=0.99,
    evaluate_every=1,
)
"""How a trained model is optimised further: low rates, a short memory, no decay towards zero, every epoch judged."""


@dataclass(frozen=True)
class GateSettings:
    """The gate's data and augmentation: pictures letterboxed to `side_px`, masks of bone, strongly changed.

    `negative_share` is how many pictures without bone an epoch shows, as a multiple of those with.
    """

    arch: str = "unet-csp"
    side_px: int = 224
    rotation_degrees: float = 40.0
    scale_low: float = 0.6
    scale_high: float = 1.5
    negative_share: float = 0.5
    quarter_turn: float = 0.3


@dataclass(frozen=True)
class BonesSettings:
    """The data and augmentation of single bones.

    `classes` is "bone" (all bones alike, metal left out), "bone,implant", or "anatomy" (labels as they stand). Pictures
    are letterboxed to `side_px`, turned and scaled at random into a canvas of `canvas_px`; the last `settle_epochs` use
    the whole square and gentle changes. A picture with a class that is on a share f of the pictures is shown
    sqrt(`repeat` / f) times as often, where that is more than once (repeat factor sampling, Gupta et al. 2019).
    `share` of the training pictures, drawn by the seed, are used: what would fewer outlines give? Onto `drawn_metal` of
    the views without metal, where it is a class, metal is drawn.
    """

    arch: str = "bones-csp"
    classes: str = "anatomy"
    side_px: int = 512
    canvas_px: int = 384
    settle_epochs: int = 3
    rotation_degrees: float = 30.0
    scale_low: float = 0.5
    scale_high: float = 1.35
    quarter_turn: float = 0.25
    repeat: float = 0.3
    share: float = 1.0
    drawn_metal: float = 0.4


@dataclass(frozen=True)
class BoneJudgeSettings:
    """The bone judge's data and augmentation: crops of single bones, `side_px` high and half as wide.

    An epoch shows every broken bone once, and `intact` times as many whole ones, drawn anew; the share `alike` of
    those has the same labels as often as the broken ones, the rest is drawn evenly. `shared` counts bones as broken
    whose fracture may be another's, too (it lies on both). `place_weight` is how much it counts in the loss where the
    fracture lies.
    """

    arch: str = "csp"
    side_px: int = 256
    margin: float = 0.12
    intact: float = 2.0
    alike: float = 0.5
    shared: bool = True
    rotation_degrees: float = 12.0
    scale_low: float = 0.85
    scale_high: float = 1.15
    place_weight: float = 0.5


BONES_LOOP = LoopSettings(
    epochs=32, batch=4, learning_rate=1.2e-3, pretrained_rate=6e-4, warmup_steps=150, ema=0.998, evaluate_every=32
)
"""How single bones are optimised. The last epoch is used: nothing is chosen on the validation part."""

JUDGE_LOOP = LoopSettings(
    epochs=20,
    batch=32,
    learning_rate=1e-3,
    pretrained_rate=3e-4,
    weight_decay=0.05,
    warmup_steps=60,
    ema=0.99,
    evaluate_every=20,
)
"""How a bone judge is optimised. The last epoch is used: nothing is chosen on the validation part, so that what is
measured there is what to expect."""
