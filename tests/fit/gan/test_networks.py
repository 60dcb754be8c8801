"""Networks of the adversarial fit: each slice by itself, the same from the same seed, and the layers of the paper."""

import pytest
import torch

from tomopy_ganrec.fit.gan.networks import (
    Discriminator,
    PaperDiscriminator,
    PaperGenerator,
    SliceConv2d,
    SliceLinear,
    UNet,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=1):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float32)


def paper_generator(slices, generator):
    return PaperGenerator(slices, (10, 24), (20, 21), generator, units=16, channels=4)


# Each builds a network for a number of slices, and names the shape of one slice of its input.
NETWORKS = {
    "UNet": (UNet, (1, 24, 21)),
    "Discriminator": (Discriminator, (1, 30, 32)),
    "PaperGenerator": (paper_generator, (1, 10, 24)),
    "PaperDiscriminator": (PaperDiscriminator, (1, 30, 32)),
}
each_network = pytest.mark.parametrize(("build", "shape"), NETWORKS.values(), ids=NETWORKS)


def perturb(network):
    """Weights that differ from slice to slice, and an output layer that is not zero."""
    with torch.no_grad():
        for k, parameter in enumerate(network.parameters()):
            parameter += 0.1 * random(*parameter.shape, seed=k)
    return network


def slice_of(parameter, k, slices):
    size = parameter.shape[0] // slices
    return parameter[k * size : (k + 1) * size]


def alone(build, network, k, slices):
    """A network for one slice with the weights that slice `k` has in `network`."""
    single = build(1, seeded())
    with torch.no_grad():
        for mine, theirs in zip(single.parameters(), network.parameters(), strict=True):
            mine.copy_(slice_of(theirs, k, slices))
    return single


@pytest.mark.parametrize("shape", ((32, 32), (33, 32), (32, 33), (31, 47), (8, 8), (5, 7)))
def test_unet_adds_nothing_at_the_start(shape):
    output = UNet(2, seeded())(random(2, 1, *shape))
    assert torch.equal(output, torch.zeros(2, 1, *shape))


@pytest.mark.parametrize("shape", ((32, 32), (31, 33)))
def test_unet_answers_at_every_pixel(shape):
    output = perturb(UNet(1, seeded()))(random(1, 1, *shape))
    assert output.shape == (1, 1, *shape)
    assert (output != 0).all()


def test_unet_learns_with_all_its_weights():
    network, x, target = UNet(1, seeded()), random(1, 1, 24, 24), random(1, 1, 24, 24, seed=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = (network(x) - target).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    assert losses[1] < losses[0]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    # Biases before a normalisation have no effect; all other parameters have.
    assert all(
        parameter.grad.norm() > 0
        for name, parameter in network.named_parameters()
        if name.endswith("weight") or name == "out.bias"
    )


@each_network
def test_every_weight_has_a_gradient(build, shape):
    network = perturb(build(2, seeded()))
    network(random(2, *shape)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name.endswith("weight"):
            assert all(slice_of(parameter.grad, k, 2).norm() > 0 for k in range(2)), name


@each_network
def test_a_batch_gives_what_its_slices_give_alone(build, shape):
    slices = 3
    network, x = perturb(build(slices, seeded())), random(slices, *shape)
    together = network(x)
    assert not torch.allclose(together[0], together[1])
    for k in range(slices):
        expected = alone(build, network, k, slices)(x[k : k + 1])[0]
        assert (together[k] - expected).abs().max() <= 1e-5 * expected.abs().max()  # float32 sums in another order


@each_network
def test_no_slice_sees_another(build, shape):
    network, x = perturb(build(3, seeded())), random(3, *shape).requires_grad_()
    network(x)[1].square().sum().backward()
    assert x.grad[1].norm() > 0 and (x.grad[0] == 0).all() and (x.grad[2] == 0).all()
    for name, parameter in network.named_parameters():
        assert (slice_of(parameter.grad, 0, 3) == 0).all() and (slice_of(parameter.grad, 2, 3) == 0).all(), name


@each_network
def test_slices_begin_with_the_same_weights(build, shape):
    network = build(3, seeded())
    for name, parameter in network.named_parameters():
        assert torch.equal(slice_of(parameter, 0, 3), slice_of(parameter, 2, 3)), name
    for one, many in zip(build(1, seeded()).parameters(), network.parameters(), strict=True):
        assert torch.equal(one, slice_of(many, 1, 3))


@each_network
def test_the_seed_alone_decides_the_weights(build, shape):
    torch.manual_seed(5)
    first = build(1, seeded(3))
    torch.manual_seed(6)
    again, other = build(1, seeded(3)), build(1, seeded(4))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@each_network
def test_the_global_random_state_is_not_changed(build, shape):
    before = torch.get_rng_state()
    build(2, seeded())(random(2, *shape))
    assert torch.equal(torch.get_rng_state(), before)


@each_network
def test_the_default_dtype_does_not_matter(build, shape):
    expected = build(1, seeded())(random(1, *shape))
    torch.set_default_dtype(torch.float64)
    try:
        output = build(1, seeded())(random(1, *shape))
    finally:
        torch.set_default_dtype(torch.float32)
    assert output.dtype == torch.float32
    assert torch.equal(output, expected)


def test_weights_keep_the_variance():
    layer = SliceConv2d(1, 16, 64, 3, seeded())
    output = layer(random(1, 16, 40, 40))[..., 1:-1, 1:-1]
    # Uniform weights of variance 1/(inputs·9); 64 channels.
    assert float(output.detach().var()) == pytest.approx(1, rel=0.1)


def test_discriminator_has_a_logit_for_each_patch():
    network = Discriminator(2, seeded())
    assert [layer for layer in network.modules() if isinstance(layer, SliceLinear)] == []
    assert len([layer for layer in network.modules() if isinstance(layer, SliceConv2d)]) == 4
    assert network(random(2, 1, 64, 96)).shape == (2, 1, 4, 6)
    x = random(1, 1, 64, 64).requires_grad_()
    Discriminator(1, seeded())(x)[0, 0, 0, 0].backward()
    assert (x.grad[..., 32:, :] == 0).all() and (
        x.grad[..., 32:] == 0
    ).all()  # a logit depends on its own neighbourhood


def test_paper_generator_has_four_dense_and_nine_convolutions():
    network = PaperGenerator(1, (60, 48), (48, 40), seeded())
    dense = [layer for layer in network.modules() if isinstance(layer, SliceLinear)]
    convolutions = [layer for layer in network.modules() if isinstance(layer, SliceConv2d)]
    assert [tuple(layer.weight.shape[1:]) for layer in dense] == [
        (60 * 48, 128),
        (128, 128),
        (128, 128),
        (128, 48 * 40),
    ]
    assert [layer.weight.shape[-1] for layer in convolutions] == [5, 5, 3, 5, 5, 3, 5, 5, 3]
    assert [layer.weight.shape[0] for layer in convolutions] == [32] * 8 + [1]


def test_paper_generator_makes_a_normalised_slice():
    network = PaperGenerator(2, (10, 24), (20, 21), seeded())
    images = network(random(2, 1, 10, 24))
    assert images.shape == (2, 1, 20, 21)
    # The layer normalisation at its end.
    torch.testing.assert_close(images.mean((1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(images.var((1, 2, 3), correction=0), torch.ones(2), rtol=1e-3, atol=0)


def test_paper_discriminator_has_four_convolutions_of_stride_two_and_no_dense_layer():
    network = PaperDiscriminator(1, seeded())
    convolutions = [layer for layer in network.modules() if isinstance(layer, SliceConv2d)]
    assert len(convolutions) == 4
    assert not any(isinstance(layer, SliceLinear | torch.nn.Linear) for layer in network.modules())
    sizes, x = [], random(1, 1, 64, 48)
    for layer in convolutions:
        x = layer(x)
        sizes.append(tuple(x.shape[-2:]))
    assert sizes == [(32, 24), (16, 12), (8, 6), (4, 3)]
    assert network(random(1, 1, 64, 48)).shape == (1, 256, 4, 3)
