"""Which bone each one is, in the company of the others: a film shows an upper limb or a lower one, hardly both."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from osteon.anatomy import BONE, bone_name

STRAY = 0.02
"""What a name of the other limb counts for beside one of this."""
LEAST_EVIDENCE = 0.2
"""Bones with a lower score say nothing about the film."""
LEAST_SURE = 0.5
"""Probability of a name below which a bone is called no more than that, where the model knows the word."""

Odds = NDArray[np.float32]


def in_company(odds: Odds, scores: NDArray[np.float32], names: Sequence[str]) -> Odds:
    """The probabilities of the names of one film's bones, given each other.

    Both limbs are equally likely beforehand. How likely each is after is told by the bones, each with the weight of its
    score: the share of its names that the limb has. So one tibia among three bones of a foot stays a tibia, even if on
    its own it looks more like a humerus.

    Args:
        odds: (n, c) probabilities of the names of each bone alone; rows sum to 1.
        scores: (n,) that they are bones, in [0, 1].
        names: c labels of `anatomy.BONES`, or others, which any limb may have.

    Returns:
        (n, c) likewise.
    """
    limbs = [bone_name(name).limb for name in names]
    allowed = np.array([[1.0 if of in (None, limb) else STRAY for of in limbs] for limb in ("upper", "lower")])
    shares = np.log(np.maximum(odds @ allowed.T, 1e-9))
    evidence = np.where(scores >= LEAST_EVIDENCE, scores, 0.0) @ shares
    likely = np.exp(evidence - evidence.max())
    together = odds * (likely / likely.sum() @ allowed)
    return np.asarray(together / together.sum(axis=1, keepdims=True), np.float32)


def named(odds: Odds, scores: NDArray[np.float32], names: Sequence[str]) -> list[str]:
    """The name of each of one film's bones: the likeliest, or that it is a bone where none is likely enough.

    Args:
        odds: (n, c), see `in_company`.
        scores: (n,).
        names: c labels.
    """
    together = in_company(odds, scores, names)
    unsure = BONE if BONE in names else None
    best = together.argmax(axis=1)
    return [
        unsure if unsure and row[index] < LEAST_SURE else names[index]
        for row, index in zip(together, best, strict=True)
    ]
