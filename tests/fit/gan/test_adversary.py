"""Steps of generator and discriminator: each descends its own loss, and has no gradient from the other's."""

import math

import pytest
import torch

from tomopy_ganrec.fit.gan import losses
from tomopy_ganrec.fit.gan.adversary import AdversarialOptimizer, learning_rate_factor
from tomopy_ganrec.fit.gan.networks import Discriminator
from tomopy_ganrec.results import NonFiniteError

SHAPE = (2, 32, 48)


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def flat_gradient(module):
    return [parameter.grad.clone() for parameter in module.parameters()]


class SinogramGenerator:
    """A generator that is nothing but its sinogram, so that its gradient is that of its loss, and a discriminator."""

    def __init__(self, generator_rate=0.01, discriminator_rate=0.01):
        self.sinogram = torch.nn.Parameter(random(*SHAPE, seed=1))
        self.measured = random(*SHAPE, seed=2)
        self.discriminator = Discriminator(2, torch.Generator().manual_seed(0))
        self.optimizer = AdversarialOptimizer(
            [dict(params=[self.sinogram], lr=generator_rate)], self.discriminator, discriminator_rate
        )

    def model_sinogram(self):
        return torch.tanh(self.sinogram)  # through its graph a gradient would leak back

    def generator_loss(self, weight=1.0):
        return weight * (
            self.optimizer.adversarial_loss(self.model_sinogram()) + 0.1 * self.sinogram.square().mean((1, 2))
        )


def scaled_discrimination(monkeypatch, factor):
    original = losses.discrimination
    monkeypatch.setattr(losses, "discrimination", lambda *logits: factor * original(*logits))


def copies(pair):
    return pair.sinogram.detach().clone(), [p.detach().clone() for p in pair.discriminator.parameters()]


def test_the_generators_gradient_is_that_of_its_own_loss():
    pair = SinogramGenerator()
    expected = torch.autograd.grad(
        losses.adversarial(pair.discriminator(pair.model_sinogram()[:, None])).sum()
        + 0.1 * pair.sinogram.square().mean((1, 2)).sum(),
        pair.sinogram,
    )[0]
    pair.optimizer.step_generator(pair.generator_loss())
    torch.testing.assert_close(pair.sinogram.grad, expected)


def test_the_discriminators_gradient_is_that_of_its_own_loss():
    pair = SinogramGenerator()
    model_sinogram = pair.model_sinogram()
    logits = pair.discriminator(pair.measured[:, None]), pair.discriminator(model_sinogram.detach()[:, None])
    expected = torch.autograd.grad(losses.discrimination(*logits).sum(), list(pair.discriminator.parameters()))
    pair.optimizer.step_discriminator(pair.measured, model_sinogram)
    for mine, theirs in zip(flat_gradient(pair.discriminator), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("factor", (1.0, 10.0))
def test_the_discriminators_loss_gives_the_generator_no_gradient(monkeypatch, factor):
    scaled_discrimination(monkeypatch, factor)
    pair = SinogramGenerator()
    pair.optimizer.step_generator(pair.generator_loss())
    before, gradient = copies(pair)[0], pair.sinogram.grad.clone()
    model_sinogram = pair.model_sinogram()
    pair.optimizer.step_discriminator(pair.measured, model_sinogram)
    assert torch.equal(pair.sinogram.grad, gradient)  # a leaked gradient would have been added to it
    assert torch.equal(pair.sinogram, before)
    model_sinogram.sum().backward()  # the generator's graph is whole: the discriminator did not go through it


def test_a_factor_of_the_discriminators_loss_does_not_change_the_generator(monkeypatch):
    trajectories = []
    for factor in (1.0, 10.0):
        with monkeypatch.context() as patch:
            scaled_discrimination(patch, factor)
            pair, gradients = SinogramGenerator(), []
            for _ in range(5):
                pair.optimizer.step_generator(pair.generator_loss())
                gradients.append(pair.sinogram.grad.clone())
                pair.optimizer.step_discriminator(pair.measured, pair.model_sinogram())
            trajectories.append(gradients)
    for iteration, (plain, multiplied) in enumerate(zip(*trajectories, strict=True)):
        # Before the first step of the discriminator nothing differs; later Adam's steps, which depend on the scale only
        # by its ε, hardly do.
        assert (plain - multiplied).norm() <= (0 if iteration == 0 else 1e-3) * plain.norm()


def test_the_generators_loss_gives_the_discriminator_no_gradient():
    pair = SinogramGenerator()
    pair.optimizer.step_discriminator(pair.measured, pair.model_sinogram())
    before, gradient = copies(pair)[1], flat_gradient(pair.discriminator)
    for weight in (1.0, 1000.0):
        pair.optimizer.step_generator(pair.generator_loss(weight))
    assert all(torch.equal(p.grad, g) for p, g in zip(pair.discriminator.parameters(), gradient, strict=True))
    assert all(torch.equal(p, b) for p, b in zip(pair.discriminator.parameters(), before, strict=True))


def test_the_discriminators_step_does_not_depend_on_the_generators_loss():
    states = []
    for weight in (1.0, 1000.0):
        pair = SinogramGenerator(generator_rate=0.0)  # so that the discriminator sees the same sinogram
        pair.optimizer.step_generator(pair.generator_loss(weight))
        pair.optimizer.step_discriminator(pair.measured, pair.model_sinogram())
        states.append(copies(pair)[1])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_the_discriminator_is_trainable_after_the_adversarial_loss():
    pair = SinogramGenerator()
    pair.optimizer.adversarial_loss(pair.model_sinogram())
    assert all(parameter.requires_grad for parameter in pair.discriminator.parameters())


def test_both_networks_change():
    pair = SinogramGenerator()
    sinogram, weights = copies(pair)
    pair.optimizer.step_generator(pair.generator_loss())
    pair.optimizer.step_discriminator(pair.measured, pair.model_sinogram())
    assert (pair.sinogram != sinogram).float().mean() > 0.9
    assert all(not torch.equal(p, b) for p, b in zip(pair.discriminator.parameters(), weights, strict=True))


def test_the_discriminator_learns_to_tell_data_from_model():
    pair = SinogramGenerator(discriminator_rate=1e-2)
    model_sinogram = 0.2 * pair.model_sinogram()
    first = pair.optimizer.step_discriminator(pair.measured, model_sinogram)
    for _ in range(30):
        last = pair.optimizer.step_discriminator(pair.measured, model_sinogram)
    assert first.shape == last.shape == (2,) and not last.requires_grad
    assert (last < 0.5 * first).all()  # from 1.4, where it cannot tell them apart, to a few hundredths


def test_the_generator_lowers_its_adversarial_loss():
    pair = SinogramGenerator(generator_rate=0.05)
    first = pair.optimizer.adversarial_loss(pair.model_sinogram())
    for _ in range(30):
        pair.optimizer.step_generator(pair.optimizer.adversarial_loss(pair.model_sinogram()))
    assert (pair.optimizer.adversarial_loss(pair.model_sinogram()) < 0.9 * first).all()


def test_without_a_discriminator_the_adversarial_loss_is_zero():
    parameter = torch.nn.Parameter(torch.ones(2, 3, 4))
    optimizer = AdversarialOptimizer([dict(params=[parameter], lr=0.1)], None, 1.0)
    assert optimizer.adversarial_loss(parameter).tolist() == [0, 0]
    assert optimizer.step_discriminator(parameter, parameter) is None
    optimizer.step_generator(parameter.square().mean((1, 2)) + optimizer.adversarial_loss(parameter))
    torch.testing.assert_close(parameter.detach(), torch.full((2, 3, 4), 0.9))  # Adam's first step is its rate


def test_each_group_has_its_rate_and_the_factor():
    fast, slow = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimizer = AdversarialOptimizer([dict(params=[fast], lr=0.1), dict(params=[slow], lr=0.01)], None, 1.0)
    for rate in (1.0, 0.5, 1.0):
        optimizer.set_rate(rate)
        optimizer.step_generator(fast + slow)  # a constant gradient: each of Adam's steps is its rate
    assert float(fast.detach()) == pytest.approx(1 - 0.25, rel=1e-5)
    assert float(slow.detach()) == pytest.approx(1 - 0.025, rel=1e-5)


def test_slices_do_not_share_a_step():
    pair, alone = SinogramGenerator(), SinogramGenerator()
    pair.optimizer.step_generator(pair.generator_loss())
    alone.optimizer.step_generator(alone.generator_loss() * torch.tensor([1.0, 0.0]))
    assert torch.equal(pair.sinogram[0], alone.sinogram[0])


def test_learning_rate_is_constant_and_then_half_a_cosine():
    assert [learning_rate_factor(i, 100) for i in (0, 30, 70)] == [1, 1, 1]
    assert learning_rate_factor(85, 100) == pytest.approx(0.515)  # midway between 1 and 0.03
    assert learning_rate_factor(100, 100) == pytest.approx(0.03)
    factors = [learning_rate_factor(i, 100) for i in range(101)]
    assert all(later <= earlier for earlier, later in zip(factors, factors[1:], strict=False))
    assert learning_rate_factor(100, 100, constant=0.5, final=0.0) == pytest.approx(0, abs=1e-12)
    assert learning_rate_factor(0, 0) == 1 and all(math.isfinite(learning_rate_factor(i, 1)) for i in (0, 1))


def test_non_finite_error_has_a_result():
    assert NonFiniteError("message").result is None
    assert issubclass(NonFiniteError, RuntimeError)
