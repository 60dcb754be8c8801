"""Measurements with upper bounds on attenuation: of each slice, kept by what is derived from them."""

import math

import pytest
import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import AttenuationBound, Measurement
from tomopy_ganrec.fit.measurement.regularization import RegularizationWeights, initial_weights
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import data_scale

N = 16
BOUNDS = (AttenuationBound(0.75, "found", 0.002), None, AttenuationBound(1.5, "given", 0.1))


@pytest.fixture(scope="module")
def measurement():
    """Of three squares, without bounds, of area means."""
    model = ParallelBeamProjector(N, [0.1 * k for k in range(20)], N)
    image = torch.zeros(3, N, N)
    for k in range(3):
        image[k, 4 : 9 + k, 5:11] = 1 + k
    sinogram = model.forward_project(image)
    scale = data_scale(model, sinogram)
    weights = RegularizationWeights(tuple(initial_weights(model, sinogram, scale, GanrecOptions())))
    return Measurement.of_area_means(model, sinogram / scale, weights, Constraints())


def test_without_bounds_there_are_none(measurement):
    assert measurement.bounds == () and measurement.constraints.maximum is None
    assert measurement.bounded([None] * 3).constraints.maximum is None
    assert measurement.bounded([]).bounds == ()
    assert measurement.bounded(BOUNDS).bounded([None] * 3).constraints == measurement.constraints


def test_bounds_are_those_of_the_constraints(measurement):
    bounded = measurement.bounded(list(BOUNDS))
    assert bounded.bounds == BOUNDS
    maximum = bounded.constraints.maximum
    assert maximum.shape == (3, 1, 1) and maximum.dtype == measurement.data.dtype
    assert maximum.flatten().tolist() == [0.75, math.inf, 1.5]
    assert measurement.bounds == ()  # a copy is returned
    assert math.isnan(AttenuationBound(1.0, "neighbour").residual_rise)


def test_what_is_derived_keeps_the_bounds(measurement):
    bounded = measurement.bounded(BOUNDS)
    some = bounded.take(torch.tensor([2, 1]))
    assert some.bounds == (BOUNDS[2], None) and some.constraints.maximum.flatten().tolist() == [1.5, math.inf]
    assert measurement.take(torch.tensor([2, 1])).bounds == ()
    for other in (
        bounded.whitened(),
        bounded.on_finer_grid(2, 0.7),
        bounded.single(),
        bounded.learn_noise(torch.zeros(3, N, N), GanrecOptions()),
    ):
        assert other.bounds == BOUNDS and other.constraints.maximum.flatten().tolist() == [0.75, math.inf, 1.5]


def test_bounds_survive_single_precision(measurement):
    double = Measurement.of_point_pixels(
        measurement.model, measurement.data.double(), measurement.weights, Constraints().to(torch.float64)
    ).bounded([AttenuationBound(0.1, "found")] * 3)
    assert double.constraints.maximum[0].item() == 0.1
    assert double.single().constraints.maximum.dtype == torch.float32
