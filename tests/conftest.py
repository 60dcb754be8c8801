"""Cases shared by the tests: a shale phantom, its sinogram and the projector that reconstructs it."""

import copy
import math
import os
import signal
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tomopy_ganrec.phantoms import shale
from tomopy_ganrec.projector import ParallelBeamProjector


class FailingModel:
    """A forward model that gives NaN from some iteration of a fit on, or from some projection of any kind on."""

    def __init__(self, model, iteration=math.inf, projection=math.inf):
        self._model, self._iteration, self._projection, self._fits, self._all = model, iteration, projection, 0, 0
        self.domain_shape, self.range_shape, self.theta, self.center = (
            model.domain_shape,
            model.range_shape,
            model.theta,
            model.center,
        )
        self.back_project, self.pixel_size = model.back_project, model.pixel_size

    def resampled(self, *args, **kwargs):
        """The same on another grid, where it fails, too, and goes on counting."""
        other = copy.copy(self)
        other._model = self._model.resampled(*args, **kwargs)
        other.domain_shape, other.back_project = other._model.domain_shape, other._model.back_project
        return other

    def forward_project(self, x):
        fits = x.requires_grad and torch.is_grad_enabled()
        fails = self._all >= self._projection or (fits and self._fits >= self._iteration)
        self._all, self._fits = self._all + 1, self._fits + fits
        return self._model.forward_project(x) * (math.nan if fails else 1.0)


class Case(NamedTuple):
    """A known object, (slices, n, n), its measurement, (slices, angles, n), the angles and the forward model."""

    truth: np.ndarray
    sinogram: torch.Tensor
    theta: np.ndarray
    model: ParallelBeamProjector


@pytest.fixture(scope="session", autouse=True)
def torch_threads_and_warnings():
    """One thread unless OMP_NUM_THREADS asks for more, and each of torch's warnings every time.

    These problems are so small that a second thread costs more than it brings, and on a busy machine ten times as much.
    With warnings once a process, the order of the tests would decide which of them sees one.
    """
    threads, always = torch.get_num_threads(), torch.is_warn_always_enabled()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_warn_always(True)
    yield
    torch.set_num_threads(threads)
    torch.set_warn_always(always)


@cache
def _case(size, wedge, step, slices, oversample, photons, seed):
    pytest.importorskip("astra")
    from tomopy_ganrec.benchmark.simulation import simulate

    theta = np.deg2rad(np.arange(0, wedge, step))
    truth = shale(size, slices, seed, oversample)
    objects, protocol = (truth, "pixel") if oversample == 1 else (shale(size * oversample, slices, seed), "subpixel")
    sinogram = simulate(objects, theta, protocol, oversample, photons)
    return Case(truth, torch.from_numpy(sinogram), theta, ParallelBeamProjector(size, theta, size))


@pytest.fixture(scope="session")
def shale_case():
    """A function that gives a `Case`, simulated once a session.

    Its arguments are size=64, wedge=120 (the angular range in degrees), step=1, slices=1, oversample=1, photons=None
    (per detector pixel) and seed=0.

    The sinogram and the truth are shared by all tests: do not write into them.
    """

    def case(size=64, wedge=120, step=1, slices=1, oversample=1, photons=None, seed=0):
        return _case(size, wedge, step, slices, oversample, photons, seed)

    return case


@pytest.fixture(scope="session")
def case(shale_case):
    """One 64² slice of shale, noise-free, over 120° in steps of 1°."""
    return shale_case()


@pytest.fixture(scope="session")
def small_case(shale_case):
    """One 32² slice of shale, noise-free, over 120° in steps of 2°: for tests of behaviour rather than of quality."""
    return shale_case(size=32, step=2)


@pytest.fixture
def interruptible():
    """Interrupts raise KeyboardInterrupt, also where the tests run in the background, which ignores them."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def failing_model():
    """`FailingModel`: a forward model that gives NaN after a while."""
    return FailingModel


@pytest.fixture
def measured_start():
    """A function (case, **options) that gives a `Measurement`, its start image and the options.

    These are what the stages after the start image work on.
    """
    from tomopy_ganrec.fit.measurement.constraints import Constraints
    from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights, initial_weights
    from tomopy_ganrec.fit.stage_progress import StageProgress
    from tomopy_ganrec.fit.start_image import PixelModelTrial, StartImage
    from tomopy_ganrec.options import GanrecOptions
    from tomopy_ganrec.solvers.forward_model import data_scale, field_of_view

    def start(case, **options):
        options = GanrecOptions(**options)
        support = field_of_view(case.model) if options.mask else None
        scale = data_scale(case.model, case.sinogram, support)
        weights = RegularizationWeights(tuple(initial_weights(case.model, case.sinogram, scale, options)))
        constraints, progress = Constraints(options.nonnegative, support), StageProgress("start")
        with torch.no_grad():
            trial = PixelModelTrial(case.model, options)
            measurement, solver = trial.run(case.sinogram / scale, weights, constraints, None, progress)[0]
            image, measurement = StartImage(measurement, options, scale, solver).run(None, progress)
        return measurement, image, options

    return start
