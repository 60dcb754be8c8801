"""Options by their kind, and values for which Python or NumPy raise errors of their own."""

import dataclasses
from fractions import Fraction

import numpy as np

from tomopy_ganrec.options import GanrecOptions

NAMES = [field.name for field in dataclasses.fields(GanrecOptions)]
# Whole numbers, and the least that each may be.
WHOLE = {
    "num_iter": 0,
    "warm_iter": 0,
    "reweight_rounds": 0,
    "wedge_rounds": 0,
    "grid_factor": 1,
    "joint_slices": 1,
    "uncertainty_samples": 0,
    "patience": 0,
    "seed": 0,
    "batch_size": 1,
}
NOT_NEGATIVE = ("noise", "tv_weight", "adversarial", "levels_weight")
POSITIVE = (
    "edge_threshold",
    "learning_rate",
    "pixel_rate",
    "discriminator_rate",
    "data_weight",
    "projector_memory",
    "wedge_tv_weight",
)
SWITCHES = ("nonnegative", "network", "trust_theta", "progress")
CHOICES = {
    "preset": ("default", "paper"),
    "quality": ("fast", "default", "best"),
    "pixel_model": ("auto", "area", "point"),
    "init": ("tv", "sirt", "fbp", "none"),
    "loss": ("auto", "l1", "l2"),
    "center_convention": ("edge", "index"),
    "backend": ("auto", "fourier", "matrix", "astra", "astra_cuda"),
}


class Unprintable:
    """An object whose representation raises an error."""

    def __repr__(self):
        raise ZeroDivisionError


HUGE = (10**400, 10**5000, -(10**400), Fraction(10**400, 3), float("inf"), float("-inf"), float("nan"), 1e39)
STRANGE = (
    Unprintable(),
    np.zeros((3, 1)),
    np.zeros((2, 2)),
    np.array(["auto"]),
    [[1], [1, 2]],
    {"a": 1},
    b"1",
    object(),
    "x" * 10**5,
)
