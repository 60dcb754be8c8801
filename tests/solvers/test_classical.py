"""FBP, SIRT and MLEM: right scale, falling residual, constraints, and grids wider than the detector."""

import math

import numpy as np
import pytest
import torch
from solver_cases import DEGREES, N, disk_sinogram, radius, relative_residual

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.classical import fbp, mlem, sirt
from tomopy_ganrec.solvers.forward_model import field_of_view

# Filtered back projection


@pytest.mark.parametrize("angles", (90, 180, 181))
def test_fbp_has_the_right_scale(angles):
    theta = np.linspace(0, math.pi, angles, endpoint=angles == 181)
    image = fbp(ParallelBeamProjector(64, theta, 64), disk_sinogram(64, theta, 24, 0.7), theta)[0].numpy()
    assert image[radius(64) < 20].mean() == pytest.approx(0.7, rel=0.01)  # the requirement; 1e-4 measured
    # Nothing outside, where all projections see.
    assert abs(image[(radius(64) > 28) & (radius(64) < 31)].mean()) < 0.01 * 0.7


def test_fbp_of_a_finer_grid_has_the_right_scale():
    model = ParallelBeamProjector(128, DEGREES, 64, pixel_size=0.5, rays_per_bin=2)
    image = fbp(model, disk_sinogram(64, DEGREES, 24), DEGREES)[0].numpy()
    assert image[radius(128) < 40].mean() == pytest.approx(1.0, rel=0.01)  # the requirement


def test_fbp_takes_angles_in_any_order(sinograms, model):
    order = np.random.default_rng(0).permutation(len(model.theta))
    shuffled = ParallelBeamProjector(N, model.theta[order], N)
    image = fbp(model, sinograms, model.theta)
    # float32 sums in another order
    assert (fbp(shuffled, sinograms[:, order], model.theta[order]) - image).abs().max() <= 1e-5 * image.abs().max()


@pytest.mark.parametrize(
    "theta",
    (np.deg2rad(np.arange(360.0)), np.linspace(0, 2 * math.pi, 361), np.arange(180) * math.pi * (3 - math.sqrt(5))),
    ids=("full turn", "full turn with both ends", "golden angle"),
)
def test_fbp_has_the_right_scale_for_other_scans(theta):
    image = fbp(ParallelBeamProjector(64, theta, 64), disk_sinogram(64, theta, 24), theta)[0].numpy()
    assert image[radius(64) < 20].mean() == pytest.approx(1.0, rel=0.01)  # as for a plain half turn


# SIRT and MLEM


@pytest.mark.parametrize("method", (sirt, mlem))
def test_residual_falls(model, sinograms, method):
    residuals = [
        relative_residual(model, method(model, sinograms, iterations=k), sinograms) for k in (1, 2, 4, 8, 16, 32, 64)
    ]
    assert all(later < earlier for earlier, later in zip(residuals, residuals[1:], strict=False))
    assert residuals[-1] < 0.1 * residuals[0]  # a twentieth measured


def test_sirt_constraints(model, sinograms):
    mask = field_of_view(model)
    image = sirt(model, sinograms, 10, mask=mask)
    assert image.min() == 0 and (image[:, mask == 0] == 0).all()
    assert sirt(model, -sinograms, 10, nonnegative=False).min() < 0


def test_sirt_goes_on_from_an_image(model, sinograms):
    halfway = sirt(model, sinograms, 10)
    kept = halfway.clone()
    assert torch.equal(sirt(model, sinograms, 10, init=halfway), sirt(model, sinograms, 20))
    assert torch.equal(halfway, kept)


def test_sirt_stops_on_a_true_answer(model, sinograms):
    answers = iter((False, False, True, False))
    assert torch.equal(sirt(model, sinograms, 10, on_iteration=lambda: next(answers)), sirt(model, sinograms, 3))


def test_mlem_keeps_counts_and_sign(model, sinograms):
    image = mlem(model, sinograms, 20)
    counts, expected = model.forward_project(image).sum((1, 2)), sinograms.sum((1, 2))
    torch.testing.assert_close(counts, expected, rtol=1e-4, atol=0)  # exact but for float32 sums over 60·32 rays
    assert image.min() >= 0


def test_mlem_counts_negative_data_as_zero(model, sinograms):
    shifted = sinograms - 0.1 * sinograms.max()
    assert torch.equal(mlem(model, shifted, 5), mlem(model, shifted.clamp(min=0), 5))


# Grids wider than the detector: pixels that few projections see, and none


WIDE = {
    "twice": dict(size=64, columns=32, theta=DEGREES[::3]),
    "three times": dict(size=96, columns=32, theta=DEGREES[:120:2]),
    "odd": dict(size=67, columns=31, theta=DEGREES[:120:2]),
    "axis aside": dict(size=61, columns=32, center=9.3, theta=DEGREES[:90:2]),
    "axis at the edge": dict(size=80, columns=32, center=31.0, theta=DEGREES[::3]),
    "wide only": dict(size=(32, 90), columns=32, theta=DEGREES[:60]),
    "high only": dict(size=(90, 33), columns=32, center=17.5, theta=np.deg2rad(np.arange(0, 360, 4.0))),
    "few angles": dict(size=80, columns=32, theta=DEGREES[:10:2]),
    "many angles": dict(size=80, columns=32, theta=np.linspace(0, 1, 300)),
    "narrow": dict(size=20, columns=32, theta=DEGREES[::3]),
}


@pytest.mark.parametrize("init", (False, True), ids=("uniform", "init"))
@pytest.mark.parametrize("iterations", (3, 60))
@pytest.mark.parametrize("method", (mlem, sirt))
@pytest.mark.parametrize("geometry", WIDE.values(), ids=WIDE)
def test_wide_grids_by_fourier_are_as_by_the_matrix(geometry, method, iterations, init):
    size = geometry["size"]
    rows, cols = size if isinstance(size, tuple) else (size, size)
    y, x = np.mgrid[:rows, :cols] - np.array([(rows - 1) / 2, (cols - 1) / 2])[:, None, None]
    truth = torch.from_numpy(1.0 * (np.hypot(y - 2, x + 1) < 9) + 0.1 * (np.hypot(y + 3, x) < 3)).float()[None]
    models = [ParallelBeamProjector(**geometry, backend=backend) for backend in ("matrix", "fourier")]
    sinogram = models[0].forward_project(truth)
    start = dict(init=torch.full_like(truth, 0.1)) if init else {}
    by_matrix, by_fourier = (method(model, sinogram, iterations, **start) for model in models)
    assert by_fourier.isfinite().all() and by_fourier.min() >= 0
    assert by_fourier.max() <= 1.25 * by_matrix.max()  # five projections weigh their edges
    # What the two projectors differ by at sharp edges.
    assert (by_fourier - by_matrix).norm() <= 0.08 * by_matrix.norm()
