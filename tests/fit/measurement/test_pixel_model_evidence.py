"""Where data lie between what point pixels and area means explain."""

import numpy as np
import pytest
import torch

from tomopy_ganrec.fit.measurement.pixel_model_evidence import are_area_means, position_between

NO_NOISE = torch.zeros(1, 1, 1)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def sinograms():
    """The sinograms (3, 40, 64) of two reconstructions that differ a little: point pixels, area means."""
    point = random(3, 40, 64)
    return point, point + 0.1 * random(3, 40, 64, seed=1)


@pytest.mark.parametrize("columns", (16, 20, 64, 100))
@pytest.mark.parametrize("position", (-0.2, 0.0, 0.5, 0.8, 1.0))
def test_data_between_two_sinograms_have_their_position(columns, position):
    point = random(2, 40, columns)
    area = point + 0.1 * random(2, 40, columns, seed=1)
    found, error = position_between(point + position * (area - point), point, area, NO_NOISE)
    assert found.tolist() == pytest.approx([position] * 2, abs=1e-9)  # float64
    assert error.tolist() == [0, 0]


@pytest.mark.parametrize("gain", (0.5, 1.1, 2.0))
def test_lost_contrast_moves_nothing(sinograms, gain):
    point, area = sinograms
    data = point + 0.3 * (area - point) + (gain - 1) * (point + area) / 2
    assert position_between(data, point, area, NO_NOISE)[0].tolist() == pytest.approx([0.3] * 3, abs=1e-9)


@pytest.mark.parametrize("joint", (False, True))
@pytest.mark.parametrize("columns", (32, 64))
def test_the_error_is_that_of_noise(joint, columns):
    point = random(1, 40, columns).expand(400, -1, -1)
    area = point + 0.1 * random(1, 40, columns, seed=1)
    sigma, group = 0.05, 4
    noisy = (point + area) / 2 + sigma * random(400, 40, columns, seed=2)
    noise = torch.full((400, 1, 1), sigma)
    if joint:
        parts = [
            position_between(*(x[k : k + group] for x in (noisy, point, area, noise)), joint=True)
            for k in range(0, 400, group)
        ]
        found, error = torch.stack([part[0][0] for part in parts]), parts[0][1][0]
    else:
        found, errors = position_between(noisy, point, area, noise)
        error = errors[0]
    # Of 100 or 400 draws a standard deviation is known to 7 or 4 %; the longer transform of 32 columns correlates
    # neighbouring frequencies.
    assert float(found.std()) == pytest.approx(float(error), rel=0.25)
    assert float(found.mean()) == pytest.approx(0.5, abs=4 * float(error) / len(found) ** 0.5)


def test_slices_are_independent_unless_they_are_joint(sinograms):
    point, area = sinograms
    target = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    data = point + target[:, None, None] * (area - point)
    assert position_between(data, point, area, NO_NOISE)[0].tolist() == pytest.approx(target.tolist(), abs=1e-9)
    together = position_between(data, point, area, NO_NOISE, joint=True)[0]
    assert together.unique().numel() == 1
    assert 0.4 < float(together[0]) < 0.6  # the mean, weighted by how much the sinograms differ


def test_units_move_nothing(sinograms):
    point, area = sinograms
    data, noise = random(3, 40, 64, seed=3), torch.full((3, 1, 1), 0.1, dtype=torch.float64)
    expected = position_between(data, point, area, noise)
    scaled = position_between(*(1e-3 * x for x in (data, point, area, noise)))
    for one, other in zip(expected, scaled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=0)  # float64


def test_nothing_to_choose_from_counts_as_area_means():
    nothing = torch.zeros(2, 30, 40)
    position, error = position_between(nothing, nothing, nothing, torch.ones(2, 1, 1))
    assert position.tolist() == [1, 1]
    assert error.tolist() == [0, 0]


@pytest.mark.parametrize(("degrees", "deviations"), ((50, -1.0), (70, -1.0), (80, 0.25), (90, 1.5), (180, 1.5)))
def test_noise_speaks_for_area_means_over_a_narrow_range_and_against_them_over_a_wide_one(degrees, deviations):
    error = torch.tensor([0.0, 0.0, 0.1, 0.1])
    limit = 0.6 + deviations * error
    position = limit + torch.tensor([-0.01, 0.01, -0.01, 0.01])
    chosen = are_area_means(position, error, np.deg2rad(np.arange(degrees)))
    assert chosen.tolist() == [False, True, False, True]
