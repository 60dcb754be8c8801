"""The optional members of a forward model, and quantities derived from one: norm, scale of data, field of view."""

import math

import numpy as np
import pytest
import torch
from solver_cases import DEGREES, Identity, N, dense_problem, radius

from tomopy_ganrec.projector import ParallelBeamProjector
from tomopy_ganrec.solvers.forward_model import (
    angles_of,
    can_resample,
    center_of,
    data_scale,
    dtype_of,
    field_of_view,
    has_double_precision,
    is_recordable,
    operator_norm,
    pixel_size_of,
    required_angles,
)
from tomopy_ganrec.solvers.operators import ramp_filter
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import has_missing_wedge

# Members of a forward model


def test_a_model_of_four_members_has_defaults_for_the_others():
    model = Identity()
    assert angles_of(model) is None and dtype_of(model) is None and not has_missing_wedge(model)
    assert (center_of(model), pixel_size_of(model)) == (N / 2, 1.0)
    assert not (is_recordable(model) or can_resample(model) or has_double_precision(model))


def test_a_projector_describes_its_scan():
    model = ParallelBeamProjector(N, DEGREES[:60], N, center=14.5, pixel_size=0.9)
    assert angles_of(model) is model.theta and required_angles(model) is model.theta
    assert (center_of(model), pixel_size_of(model), dtype_of(model)) == (14.5, 0.9, torch.float32)
    assert is_recordable(model) and can_resample(model) and has_double_precision(model) and has_missing_wedge(model)


def test_directions_need_angles():
    model = Identity()
    with pytest.raises(ValueError, match="Identity has no projection angles.*`theta`"):
        TotalVariation(model, torch.zeros(1, N, N), wedge_tv_weight=0.5)


# Norm, scale and field of view


def test_operator_norm_is_the_largest_singular_value_squared():
    model, matrix, data, _, _ = dense_problem()
    assert operator_norm(model, data) == pytest.approx(np.linalg.norm(matrix, 2) ** 2, rel=1e-3)  # 20 power iterations
    filtered = np.fft.irfft(
        np.fft.rfft(matrix.reshape(-1, 12, 144), axis=1) * ramp_filter(12).numpy()[:, None], n=12, axis=1
    )
    expected = np.linalg.eigvalsh(matrix.T @ filtered.reshape(-1, 144)).max()
    # Its largest values lie close together.
    assert operator_norm(model, data, ramp_filter(12).double()) == pytest.approx(expected, rel=0.05)


def test_data_scale_is_twice_the_mean_attenuation(model):
    mask = field_of_view(model)
    image = 0.3 * mask[None]
    data = model.forward_project(torch.cat([image, 5 * image]))
    # Joseph's sums at the rim.
    assert data_scale(model, data, mask).flatten().tolist() == pytest.approx([0.6, 3.0], rel=0.01)


def test_data_scale_without_signal_is_one(model):
    assert data_scale(model, torch.zeros(2, *model.range_shape)).tolist() == [[[1.0]], [[1.0]]]


def test_data_scale_of_a_phase_object_is_positive_and_linear(model):
    y, x = np.mgrid[:N, :N] - (N - 1) / 2
    signed = torch.from_numpy((np.sign(x) * (radius(N) < 12)).astype(np.float32))[None]
    scale = data_scale(model, model.forward_project(signed))
    assert 0.1 < float(scale) < 1  # of the order of the image
    torch.testing.assert_close(data_scale(model, -7 * model.forward_project(signed)), 7 * scale)


@pytest.mark.parametrize("factor", (2.0**-100, 2.0**100))
def test_data_scale_does_not_overflow(model, sinograms, factor):
    assert torch.equal(data_scale(model, sinograms * factor), data_scale(model, sinograms) * factor)


def test_field_of_view_is_what_a_full_turn_sees():
    theta = DEGREES[:3]
    # Pixels cut by the rim.
    assert float(field_of_view(ParallelBeamProjector(64, theta, 64)).sum()) == pytest.approx(math.pi * 32**2, rel=0.01)
    off_center = field_of_view(ParallelBeamProjector(64, theta, 64, center=24.0))
    assert torch.equal(off_center, torch.from_numpy(radius(64) <= 40).float())
    fine = field_of_view(ParallelBeamProjector(64, theta, 32, pixel_size=0.5))
    assert torch.equal(fine, torch.from_numpy(radius(64) / 2 <= 16).float())
