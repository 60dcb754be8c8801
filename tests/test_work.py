"""Work of a reconstruction, counted instead of timed: projections, values in memory, iterations.

Seconds are measured by performance/speed.py.
"""

import sys

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit import fit
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector


class Counted:
    """A forward model that counts the slices that it projects each way; models made from it count with it."""

    def __init__(self, model, counts=None):
        self._model, self.counts = model, dict(forward=0, back=0) if counts is None else counts
        self.domain_shape, self.range_shape = model.domain_shape, model.range_shape
        self.theta, self.center, self.pixel_size = model.theta, model.center, model.pixel_size

    def resampled(self, *args, **kwargs):
        return Counted(self._model.resampled(*args, **kwargs), self.counts)

    def forward_project(self, x):
        self.counts["forward"] += len(x)
        y = self._model.forward_project(x)
        if y.requires_grad:
            y.register_hook(self._back)
        return y

    def back_project(self, y):
        self.counts["back"] += len(y)
        return self._model.back_project(y)

    def _back(self, gradient):
        self.counts["back"] += len(gradient)


def counted_fit(case, **options):
    model = Counted(case.model)
    result = fit(model, case.sinogram, GanrecOptions(**options))
    return result, model.counts


def test_an_iteration_of_the_fit_projects_once_each_way(small_case):
    few, many = (counted_fit(small_case, init="none", num_iter=n, patience=0)[1] for n in (5, 15))
    assert many["forward"] - few["forward"] == many["back"] - few["back"] == 10


def test_an_iteration_of_total_variation_projects_once_each_way(small_case):
    few, many = (counted_fit(small_case, pixel_model="point", num_iter=0, reweight_rounds=n)[1] for n in (1, 2))
    assert many["forward"] - few["forward"] == many["back"] - few["back"] == 28  # a round of reweighting


def test_a_default_run_projects_no_more_than_three_times_mlem_200(shale_case):
    case = shale_case(size=64)
    result, counts = counted_fit(case, max_attenuation=None)
    # Two trials of 105 iterations, one of them continued to 120 or 170, 8 rounds of 28, 50 iterations, two operator
    # norms of 20 and residuals between: at most 605 each way where MLEM-200 has 200.
    assert counts["forward"] <= 3.05 * 200 and counts["back"] <= 3.05 * 200
    assert mssim(case.truth[0], result.image[0]) >= 0.98  # .985 measured: work saved did not cost the quality
    # The search for a bound: 20 iterations without one, six bounds of 20, 24 more, two rounds of 28 with and without.
    search = 7 * 20 + 24 + 4 * 28
    counts = counted_fit(case)[1]
    assert counts["forward"] <= 3.05 * 200 + search + 20 and counts["back"] <= 3.05 * 200 + search + 20


def test_slices_of_a_batch_share_the_operator_norms(shale_case):
    one, three = shale_case(size=32), shale_case(size=32, slices=3)
    counts = [counted_fit(case, pixel_model="point", num_iter=3, reweight_rounds=0)[1] for case in (one, three)]
    shared = (3 * counts[0]["forward"] - counts[1]["forward"]) / 2
    assert shared == 2 * 20  # iterations of the power method, for ‖A‖² and with the ramp filter


def test_settled_slices_take_no_more_rounds(shale_case):
    """An empty slice has settled after the first round; it does not cost the rounds of the others."""
    case = shale_case(size=32, step=2)
    alone = counted_fit(case, pixel_model="point", max_attenuation=None, num_iter=0)[1]["forward"]
    with_empty = counted_fit(
        case._replace(sinogram=torch.cat([case.sinogram, 0 * case.sinogram])),
        pixel_model="point",
        max_attenuation=None,
        num_iter=0,
    )[1]["forward"]
    # The empty slice: 170 iterations and a round of 28, and what is looked at; without the rule up to eight rounds.
    assert with_empty - alone <= 170 + 28 + 5


@pytest.mark.parametrize("angles", (30, 90))
@pytest.mark.parametrize("size", (128, 256))
def test_the_fourier_projector_holds_a_fraction_of_the_matrix(size, angles):
    """At 256² a seventh of Joseph's values is multiplied; what is stored says how much work a projection is."""
    theta = np.deg2rad(np.arange(0, 180, 180 / angles))
    fourier, matrix = (
        ParallelBeamProjector(size, theta, size, backend=backend)._backends[0].nbytes
        for backend in ("fourier", "matrix")
    )
    assert fourier <= (0.5 if size == 128 else 0.25) * matrix


def test_memory_of_the_matrix_grows_with_the_rays_not_with_their_square():
    sizes = [
        ParallelBeamProjector(n, np.deg2rad(np.arange(0, 180, 6.0)), n, backend="matrix")._backends[0].nbytes
        for n in (64, 128)
    ]
    assert sizes[1] <= 4.2 * sizes[0]  # twice the rays, each twice as long


@pytest.mark.parametrize("backend", ("matrix", "fourier"))
def test_a_projector_is_built_without_a_loop_over_rays(backend):
    """The calls of functions while it is built, Python's and NumPy's, grow with the angles, not with rays or pixels."""
    theta, found = np.deg2rad(np.arange(0, 180, 12.0)), []
    for size in (32, 128):
        calls = 0

        def count(frame, event, argument):
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            ParallelBeamProjector(size, theta, size, backend=backend)
        finally:
            sys.setprofile(None)
        found.append(calls)
    assert 0 < found[1] <= 1.5 * found[0]
