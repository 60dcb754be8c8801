"""The preset of the published GANrec: its normalisation, and images in attenuation units at the end."""

import math

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit import Status, fit
from tomopy_ganrec.fit.gan.published import _least_squares, standardized, unit_range
from tomopy_ganrec.metrics import mssim
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.results import NonFiniteError
from tomopy_ganrec.solvers.forward_model import field_of_view


def run(case, callback=None, **options):
    return fit(case.model, case.sinogram, GanrecOptions(preset="paper", **options), callback=callback)


def rescaled(case, factor):
    return case._replace(sinogram=factor * case.sinogram)


@pytest.fixture(scope="module")
def result(small_case):
    return run(small_case, num_iter=100)


def test_residual_falls(small_case, result):
    first = float(
        (small_case.model.forward_project(result.start) - small_case.sinogram).norm() / small_case.sinogram.norm()
    )
    assert result.info[0]["residual"] < 0.5 * first
    assert result.history["objective"].min() < 0.25 * result.history["objective"][0, 0]  # a sixth measured


def test_residual_reported_is_that_of_the_image(small_case, result):
    residual = float(
        (small_case.model.forward_project(result.image) - small_case.sinogram).norm() / small_case.sinogram.norm()
    )
    assert result.info[0]["residual"] == pytest.approx(residual, rel=1e-4)  # float32


def test_image_is_in_attenuation_units(small_case, result):
    assert float(result.image.mean()) == pytest.approx(float(small_case.truth.mean()), rel=0.05)  # the requirement
    total = small_case.model.forward_project(result.image).sum()
    # The attenuation that was measured.
    assert float(total) == pytest.approx(float(small_case.sinogram.sum()), rel=0.02)


def test_image_is_like_the_truth(small_case, result):
    # From .1 to .5 or more.
    assert mssim(small_case.truth[0], result.image[0]) > mssim(small_case.truth[0], result.start[0]) + 0.2


def test_nothing_lies_outside_the_field_of_view(small_case, result):
    outside = field_of_view(small_case.model) == 0
    assert (result.image[0][outside] == 0).all() and (result.start[0][outside] == 0).all()
    assert (run(small_case, num_iter=3, mask=False).image[0][outside] != 0).any()


def test_negative_values_need_nonnegative_off(small_case):
    y, x = np.mgrid[:32, :32] - 15.5
    signed = torch.from_numpy(np.where(np.hypot(y, x) < 13, np.where(x * y > 0, 0.5, -0.5), 0).astype(np.float32))[None]
    case = small_case._replace(sinogram=small_case.model.forward_project(signed))
    assert float(run(case, num_iter=20, nonnegative=False).image.min()) < -0.05
    assert float(run(case, num_iter=20).image.min()) >= 0


@pytest.mark.parametrize("factor", (2.0**-10, 2.0**10))
def test_scale_free_to_the_last_bit_for_powers_of_two(small_case, factor):
    expected = run(small_case, num_iter=10)
    scaled = run(rescaled(small_case, factor), num_iter=10)
    # The same fit; lstsq rounds on its own.
    torch.testing.assert_close(scaled.image, factor * expected.image, rtol=1e-5, atol=0)


@pytest.mark.parametrize("factor", (1e-3, 1e3))
def test_scale_free(small_case, result, factor):
    expected = factor * run(small_case, num_iter=0).image
    # The requirement.
    assert (run(rescaled(small_case, factor), num_iter=0).image - expected).norm() <= 1e-3 * expected.norm()
    if factor < 1:
        return
    # Other factors round the data, and rounding decides which pixel of a slice is the lowest or the highest, which the
    # gradient of the normalisation depends on: the fits end in different images of equal quality (.46 to .56 measured
    # over seeds).
    scaled = run(rescaled(small_case, factor), num_iter=100)
    assert mssim(small_case.truth[0], scaled.image[0] / factor) == pytest.approx(
        mssim(small_case.truth[0], result.image[0]), abs=0.15
    )
    assert float(scaled.image.mean()) == pytest.approx(factor * float(result.image.mean()), rel=0.02)


def test_a_seed_repeats_bit_for_bit(small_case):
    first, again, other = (run(small_case, num_iter=10, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.image, again.image)
    assert all(np.array_equal(first.history[key], again.history[key]) for key in first.history)
    assert not torch.equal(first.image, other.image)


def test_a_batch_begins_with_what_its_slices_begin_with(small_case):
    batch = small_case._replace(sinogram=torch.cat([small_case.sinogram, 3 * small_case.sinogram.flip(2)]))
    together = run(batch, num_iter=0)
    for k in range(2):
        alone = run(batch._replace(sinogram=batch.sinogram[k : k + 1]), num_iter=0)
        # float32 sums in another order
        assert (together.image[k] - alone.image[0]).abs().max() <= 1e-4 * alone.image.max()


def test_slices_of_a_batch_do_not_see_each_other(small_case):
    first, second, third = small_case.sinogram, small_case.sinogram.flip(2), 3 * small_case.sinogram.flip(1)
    one, other = (
        run(small_case._replace(sinogram=torch.cat(pair)), num_iter=10) for pair in ((first, second), (first, third))
    )
    assert torch.equal(one.image[0], other.image[0])
    assert np.array_equal(one.history["objective"][:, 0], other.history["objective"][:, 0])


def test_num_iter_0_returns_the_first_image(small_case):
    first = run(small_case, num_iter=0)
    torch.testing.assert_close(first.image, first.start.clamp(min=0))
    assert first.info[0]["iteration"] == 0


def test_callback_sees_each_iteration_and_stops(small_case):
    seen = []
    stopped = run(small_case, num_iter=20, callback=lambda status: seen.append(status) or status.iteration == 7)
    assert all(isinstance(status, Status) for status in seen)
    assert [(s.stage, s.iteration, s.total) for s in seen] == [("fit", k, 20) for k in range(1, 8)]
    assert all(math.isfinite(s.residual) for s in seen)
    assert stopped.info[0]["stopped"] == "callback" and stopped.info[0]["iteration"] <= 7
    assert stopped.history["objective"].shape == (8, 1) and stopped.history["discriminator"].shape == (7, 1)
    assert torch.equal(stopped.image, run(small_case, num_iter=7).image)


@pytest.mark.parametrize("adversarial", (0.0, 0.1))
def test_history_shapes(small_case, adversarial):
    fitted = run(small_case, num_iter=5, adversarial=adversarial)
    assert fitted.history["objective"].shape == (6, 1) and fitted.info[0]["stopped"] == "finished"
    assert ("discriminator" in fitted.history) == (adversarial > 0)
    if adversarial:
        assert fitted.history["discriminator"].shape == (5, 1)


def test_iteration_returned_is_that_of_the_lowest_distance(result):
    curve = result.history["objective"][:, 0]
    assert result.info[0]["iteration"] == curve.argmin() and result.info[0]["objective"] == pytest.approx(curve.min())


def test_rates_given_are_used(small_case):
    still = run(small_case, num_iter=5, learning_rate=1e-12)
    assert np.ptp(still.history["objective"]) < 1e-4
    assert np.ptp(run(small_case, num_iter=5).history["objective"]) > 1e-2


def test_no_signal_gives_zero(small_case):
    dark = run(small_case._replace(sinogram=torch.zeros_like(small_case.sinogram)), num_iter=5)
    assert torch.equal(dark.image, torch.zeros(1, 32, 32))
    assert math.isfinite(dark.info[0]["residual"])


@pytest.mark.parametrize("where", (dict(iteration=5), dict(projection=8)), ids=("for some iterations", "from then on"))
def test_non_finite_losses_end_the_fit_with_the_best_image(small_case, failing_model, where):
    with pytest.raises(NonFiniteError, match=r"at iteration \d;") as raised:
        run(small_case._replace(model=failing_model(small_case.model, **where)), num_iter=10)
    kept = raised.value.result
    assert kept.image.shape == (1, 32, 32) and kept.image.isfinite().all()
    if "iteration" in where:
        assert "at iteration 5;" in str(raised.value)
        torch.testing.assert_close(kept.image, run(small_case, num_iter=4).image)


def test_unit_range():
    x = torch.tensor([[[1.0, 3.0], [2.0, 5.0]], [[-1.0, -1.0], [-3.0, -2.0]], [[7.0, 7.0], [7.0, 7.0]]])
    expected = [[[0, 0.5], [0.25, 1]], [[1, 1], [0, 0.5]], [[0, 0], [0, 0]]]
    assert unit_range(x).tolist() == expected
    assert unit_range(x[:, None]).tolist() == [[image] for image in expected]


def test_standardized():
    x = torch.tensor([[[1.0, 3.0], [1.0, 3.0]], [[4.0, 4.0], [4.0, 4.0]]])
    assert standardized(x).tolist() == [[[-1, 1], [-1, 1]], [[0, 0], [0, 0]]]


def test_the_two_step_normalisation_removes_scale_and_offset(small_case):
    x = small_case.sinogram
    # float32
    torch.testing.assert_close(unit_range(standardized(3 * x + 7)), unit_range(standardized(x)), rtol=0, atol=1e-5)


def test_scale_and_offset_are_found_again(small_case):
    model, view = small_case.model, field_of_view(small_case.model)
    images = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)) * view
    a, b = torch.tensor([2.0, 1e-3])[:, None, None], torch.tensor([-0.5, 3.0])[:, None, None]
    projected, support = model.forward_project(images), model.forward_project(view.expand_as(images))
    fitted = _least_squares(projected, support, model.forward_project(a * images + b * view))
    assert fitted[0].shape == fitted[1].shape == (2, 1, 1)
    # float32 projections of an image whose pattern is a thousandth of its offset
    torch.testing.assert_close(fitted, (a, b), rtol=1e-2, atol=1e-4)
