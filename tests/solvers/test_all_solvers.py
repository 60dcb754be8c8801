"""Each solver: the same for any units, in any batch and for any forward model; none writes into its data."""

from dataclasses import dataclass, field

import pytest
import torch
from solver_cases import Identity, N, blobs

from tomopy_ganrec.solvers.classical import fbp, mlem, sirt
from tomopy_ganrec.solvers.operators import gaussian_blur
from tomopy_ganrec.solvers.reweighting import total_variation
from tomopy_ganrec.solvers.total_variation import TotalVariation

METHODS = {
    "fbp": lambda model, b: fbp(model, b, model.theta),
    "sirt": lambda model, b: sirt(model, b, iterations=20),
    "mlem": lambda model, b: mlem(model, b, iterations=20),
    "tv": lambda model, b: total_variation(model, b, iterations=50),
    "reweighted": lambda model, b: total_variation(model, b, iterations=50, rounds=2),
}


@pytest.mark.parametrize("factor", (1e-3, 1e3))
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_scale_free(model, sinograms, method, factor):
    expected = factor * method(model, sinograms)
    # float32 rounding of the scaled data, through at most 130 iterations
    assert (method(model, factor * sinograms) - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_batch_gives_what_its_slices_give_alone(model, sinograms, method):
    together = method(model, sinograms)
    for image, sinogram in zip(together, sinograms, strict=True):
        # float32 sums in another order
        assert (method(model, sinogram[None])[0] - image).abs().max() <= 1e-5 * image.abs().max()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_no_signal_gives_zero(model, method):
    image = method(model, torch.zeros(1, *model.range_shape))
    assert torch.equal(image, torch.zeros(1, N, N))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_data_are_left_alone(model, sinograms, method):
    before = sinograms.clone()
    method(model, sinograms)
    assert torch.equal(sinograms, before)


# Forward models other than a projector


def test_solvers_do_not_write_into_what_a_model_returns():
    truth = blobs(N)
    data = truth.clone()
    model = Identity()
    for image in (sirt(model, data, 5), mlem(model, data, 5), TotalVariation(model, data).run(1e-4, 600)):
        assert (image - truth).norm() < 0.02 * truth.norm()  # A = 1: the data are the image, but for a little smoothing
    assert torch.equal(data, truth)


@dataclass
class Blur:
    """A dataclass with its own equality, and therefore not hashable: a natural way to write a forward model."""

    domain_shape: tuple = (N, N)
    range_shape: tuple = (N, N)
    widths: list = field(default_factory=lambda: [1.0])

    def forward_project(self, x):
        return gaussian_blur(x, self.widths[0])

    def back_project(self, y):  # symmetric but for the mirrored edge, where the object is zero
        return gaussian_blur(y, self.widths[0])


def test_a_model_need_not_be_hashable():
    truth = blobs(N)
    model = Blur()
    image = TotalVariation(model, model.forward_project(truth)).run(1e-5, 300)
    assert (image - truth).norm() < 0.05 * truth.norm()  # the blur is small against the object's structure
