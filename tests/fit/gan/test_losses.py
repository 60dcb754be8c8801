"""Losses of the adversarial fit, against values worked out by hand."""

import math

import pytest
import torch

from tomopy_ganrec.fit.gan import losses
from tomopy_ganrec.solvers.operators import ramp_filter


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_data_l1_with_a_flat_filter_is_the_mean_absolute_value():
    residual = torch.tensor([[[1.0, -2.0, 3.0, 0.0]], [[0.5, 0.5, -0.5, 0.5]]])
    # Rounded off below 3e-4: that much less for each value but zero, of order δ²/e beside it.
    expected = torch.tensor([1.5 - 0.75 * losses.SMOOTHING, 0.5 - losses.SMOOTHING])
    torch.testing.assert_close(losses.data_l1(residual, torch.ones(5)), expected, rtol=0, atol=1e-6)


def test_data_l1_is_smooth_at_zero():
    delta = losses.SMOOTHING
    assert delta == 3e-4
    residual = torch.tensor([0.0, 1e-3, 0.5, -1.0, 1.0, 1e3], dtype=torch.float64)[:, None, None] * delta
    residual = residual.expand(-1, 1, 4).clone().requires_grad_()
    value = losses.data_l1(residual, torch.ones(5, dtype=torch.float64))
    e = residual[:, 0, 0].detach()
    torch.testing.assert_close(value.detach(), torch.sqrt(e**2 + delta**2) - delta, rtol=1e-9, atol=1e-15)  # float64
    value.sum().backward()
    # The slope goes through zero, e/√(e² + δ²), where that of an absolute value jumps from −1 to 1.
    torch.testing.assert_close(residual.grad.sum((1, 2)), e / torch.sqrt(e**2 + delta**2), rtol=1e-9, atol=1e-12)


def test_data_l1_filters_by_frequency():
    columns, k = 32, 6
    half_ramp = torch.sqrt(ramp_filter(2 * columns, 0.01).double())
    impulse = torch.zeros(1, 1, columns, dtype=torch.float64)
    impulse[..., 7] = 1
    kernel = torch.fft.irfft(half_ramp, n=2 * columns)
    expected_signal = kernel.roll(7)[:columns]  # an impulse shows the filter's own kernel
    expected = (torch.sqrt(expected_signal**2 + losses.SMOOTHING**2) - losses.SMOOTHING).mean()
    torch.testing.assert_close(losses.data_l1(impulse, half_ramp)[0], expected)
    wave = torch.cos(2 * math.pi * k * torch.arange(columns, dtype=torch.float64) / columns)[None, None]
    bands = torch.zeros(columns + 1, dtype=torch.float64)
    bands[0] = 1  # passes only the mean of the zero-padded signal
    expected = math.hypot(0.5, losses.SMOOTHING) - losses.SMOOTHING
    torch.testing.assert_close(losses.data_l1(wave + 1, bands), torch.tensor([expected], dtype=torch.float64))


def test_data_l1_does_not_wrap_around_the_detector():
    kernel = torch.fft.rfft(torch.tensor([0.0, 1.0] + [0.0] * 6))  # moves the signal on by one column
    residual = torch.tensor([[[0.0, 0.0, 0.0, 4.0]]])
    assert float(losses.data_l1(residual, kernel)) == pytest.approx(0, abs=1e-6)  # off the end, not back at the front


def test_data_l2_is_the_mean_square():
    residual = torch.tensor([[[1.0, -2.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]])
    assert losses.data_l2(residual).tolist() == [3.5, 1.0]


def test_weighted_variation_of_a_ramp():
    image = (3.0 * torch.arange(5.0) + 4.0 * torch.arange(5.0)[:, None])[None]
    # 16 inner pixels of slope 5, four in the last row of slope 3, four in the last column of slope 4
    expected = (16 * 5 + 4 * 3 + 4 * 4) / 25
    assert float(losses.weighted_variation(image, 1.0)) == pytest.approx(expected, abs=1e-3)  # smoothed below 1e-3
    weight = torch.zeros(1, 5, 5)
    weight[0, 2, 2] = 2
    assert float(losses.weighted_variation(image, weight)) == pytest.approx(10 / 25, abs=1e-3)
    assert losses.weighted_variation(torch.ones(2, 5, 5), 1.0).tolist() == [0, 0]


def test_weighted_variation_has_a_gradient_where_the_image_is_flat():
    image = torch.ones(1, 5, 5, requires_grad=True)
    losses.weighted_variation(image, 1.0).sum().backward()
    assert (image.grad == 0).all()


def test_log_sum_of_a_step():
    image = torch.zeros(1, 4, 4)
    image[..., 2:] = 1.0
    edge_threshold = torch.tensor([[[0.1]]])
    # Four edge pixels of 16.
    assert float(losses.log_sum(image, edge_threshold)) == pytest.approx(4 * 0.1 * math.asinh(10) / 16, rel=1e-6)


def test_log_sum_is_total_variation_for_a_large_edge_threshold():
    image = random(2, 8, 8)
    total_variation = losses.weighted_variation(image, 1.0)
    # The latter is smoothed below 1e-3.
    torch.testing.assert_close(losses.log_sum(image, torch.tensor(1e3)), total_variation, rtol=0, atol=2e-3)


def test_log_sum_descends_along_the_reweighted_variation():
    image, edge_threshold = random(2, 16, 16), torch.tensor([[[0.05]], [[0.4]]], dtype=torch.float64)
    gx, gy = torch.zeros_like(image), torch.zeros_like(image)
    gx[..., :-1], gy[..., :-1, :] = image.diff(dim=2), image.diff(dim=1)
    weight = edge_threshold / torch.sqrt(gx * gx + gy * gy + edge_threshold**2)  # edge weights without blur
    gradients = []
    for penalty in (lambda x: losses.log_sum(x, edge_threshold), lambda x: losses.weighted_variation(x, weight)):
        x = image.clone().requires_grad_()
        penalty(x).sum().backward()
        gradients.append(x.grad)
    # the variation is smoothed below 1e-3: a relative error of (1e-3/g)²/2, and the gradients here are of order 1
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[0].norm()


def test_log_sum_lies_below_its_tangent():
    image, other, edge_threshold = random(1, 16, 16), random(1, 16, 16, seed=1), torch.tensor(0.2, dtype=torch.float64)
    for to in (other, 0.5 * image, 3 * image):
        gx, gy = torch.zeros_like(image), torch.zeros_like(image)
        gx[..., :-1], gy[..., :-1, :] = image.diff(dim=2), image.diff(dim=1)
        weight = edge_threshold / torch.sqrt(gx * gx + gy * gy + edge_threshold**2)
        rise = losses.weighted_variation(to, weight) - losses.weighted_variation(image, weight)
        # The variation's smoothing.
        assert losses.log_sum(to, edge_threshold) - losses.log_sum(image, edge_threshold) <= rise + 1e-3


def test_level_distance():
    image = torch.tensor([[[0.0, 0.1], [0.45, 0.9]], [[0.0, 0.1], [0.45, 0.9]]])
    levels = torch.tensor([[0.0, 0.5, 1.0], [0.0, 1.0, torch.nan]])
    reach = torch.tensor([0.2, 0.3])[:, None, None]
    expected = [(0 + 0.1 + 0.05 + 0.1) / 4, (0 + 0.1 + 0.3 + 0.1) / 4]  # 0.45 from a level is more than its reach
    assert losses.level_distance(image, levels, reach).tolist() == pytest.approx(expected)


def test_level_distance_without_levels_does_nothing():
    image = torch.rand(1, 4, 4, requires_grad=True)
    distance = losses.level_distance(image, torch.full((1, 2), torch.nan), torch.zeros(1, 1, 1))
    distance.sum().backward()
    assert float(distance.detach()) == 0 and (image.grad == 0).all()


def test_adversarial_and_discrimination():
    logits = torch.tensor([[[[0.0, 2.0]]], [[[-1.0, -1.0]]]])
    softplus = [[math.log(2), math.log1p(math.exp(-2))], [math.log1p(math.e)] * 2]  # −log sigmoid(logit)
    assert losses.adversarial(logits).tolist() == pytest.approx([sum(softplus[0]) / 2, softplus[1][0]])
    balanced = losses.discrimination(torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3))
    assert balanced.tolist() == pytest.approx(
        [2 * math.log(2)] * 2
    )  # log 2 each for data and model that it cannot tell apart
    certain = losses.discrimination(torch.full((1, 1, 3, 3), 20.0), torch.full((1, 1, 3, 3), -20.0))
    assert float(certain) < 1e-8


@pytest.mark.parametrize(
    "loss",
    (
        lambda x: losses.data_l1(x, torch.ones(9)),
        losses.data_l2,
        lambda x: losses.weighted_variation(x, 1.0),
        lambda x: losses.log_sum(x, torch.tensor(0.1)),
        lambda x: losses.level_distance(x, torch.tensor([[0.0, 1.0]]), torch.tensor(0.3)),
        losses.adversarial,
    ),
    ids=("data_l1", "data_l2", "weighted_variation", "log_sum", "level_distance", "adversarial"),
)
def test_each_slice_has_a_value_of_its_own(loss):
    images = random(3, 8, 8, dtype=torch.float32)
    values = loss(images)
    assert values.shape == (3,)
    torch.testing.assert_close(values, torch.cat([loss(images[k : k + 1]) for k in range(3)]))
