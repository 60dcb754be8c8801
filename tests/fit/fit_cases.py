"""Runs of the fit, their quality, and objects and forward models shared by the tests of the fit."""

import math

import numpy as np
import torch

from tomopy_ganrec.fit import fit
from tomopy_ganrec.fit.measurement.regularization import initial_weights
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.forward_model import data_scale, field_of_view

INITS = ("tv", "sirt", "fbp", "none")
SHALE_LEVELS = (0, 1 / 3, 2 / 3, 1)
QUICK = dict(num_iter=10, reweight_rounds=1)  # where behaviour matters, not quality


def run(case, init_image=None, callback=None, **options):
    """The fit of a case with some options."""
    return fit(case.model, case.sinogram, GanrecOptions(**options), init=init_image, callback=callback)


def quality(case, images):
    """MSSIM of the first slice."""
    return mssim(case.truth[0], images[0])


def measured(case, image):
    """A case with another object, an (n, n) array, measured by the case's own projector."""
    truth = np.asarray(image, np.float32)[None]
    return case._replace(truth=truth, sinogram=case.model.forward_project(torch.from_numpy(truth)))


def pixel_offsets(n):
    """Rows and columns of an (n, n) grid, from its centre."""
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    return y, x


class DenseModel:
    """A linear measurement that is no projection, without theta or center: a sparse random matrix."""

    def __init__(self, domain_shape=(16, 20), range_shape=(24, 12)):
        self.domain_shape, self.range_shape = domain_shape, range_shape
        shape, rng = (math.prod(range_shape), math.prod(domain_shape)), torch.Generator().manual_seed(0)
        self.matrix = torch.rand(shape, generator=rng) * (torch.rand(shape, generator=rng) < 0.1)

    def forward_project(self, x):
        return (x.flatten(1) @ self.matrix.T).unflatten(1, self.range_shape)

    def back_project(self, y):
        return (y.flatten(1) @ self.matrix).unflatten(1, self.domain_shape)


def weights_of(case, **options):
    """The initial weights of each slice."""
    scale = data_scale(case.model, case.sinogram, field_of_view(case.model))
    return initial_weights(case.model, case.sinogram, scale, GanrecOptions(**options))
