"""The network that repairs a slice: each image by itself, nothing before the first step, weights from a seed."""

import pytest
import torch
from wedge_cases import seeded

from tomopy_ganrec.fit.wedge_network import WedgeNetwork


@pytest.mark.parametrize("shape", ((32, 32), (33, 33), (31, 20), (17, 40), (5, 7)))
def test_network_changes_nothing_before_its_first_step(shape):
    x = torch.randn(3, 2, *shape, generator=seeded())
    assert torch.equal(WedgeNetwork(seeded())(x), x[:, 0])


def with_output(network):
    """A network whose last weights, which begin at zero, are random."""
    with torch.no_grad():
        network.out.weight.normal_(generator=seeded(9))
    return network


@pytest.mark.parametrize("shape", ((32, 32), (33, 31), (18, 41)))
def test_network_treats_each_image_alone(shape):
    network, x = with_output(WedgeNetwork(seeded())), torch.randn(3, 2, *shape, generator=seeded())
    with torch.no_grad():
        together = network(x)
        assert together.shape == (3, *shape) and float((together - x[:, 0]).abs().max()) > 0.01  # it changes them
        for k in range(3):
            # float32, sums in another order
            torch.testing.assert_close(network(x[k : k + 1])[0], together[k], rtol=1e-4, atol=1e-4)


def test_network_uses_both_inputs():
    network, x = with_output(WedgeNetwork(seeded())), torch.randn(1, 2, 32, 32, generator=seeded())
    with torch.no_grad():
        change = network(x) - x[:, 0]
        for channel in (0, 1):
            other = x.clone()
            other[:, channel] = 0
            assert float((network(other) - other[:, 0] - change).abs().max()) > 0.01


def test_weights_follow_the_seed():
    first, same, other = (list(WedgeNetwork(seeded(seed)).parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_all_weights_have_a_gradient():
    network, x = with_output(WedgeNetwork(seeded())), torch.randn(1, 2, 33, 31, generator=seeded())
    network(x).square().sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.parameters())
