"""The two players of the game: each moves down its own loss, and by nothing of the other's."""

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


class Table:
    """A generator that is nothing but its sinogram, so that its gradient is its loss's own."""

    def __init__(self, generator_rate=0.01, discriminator_rate=0.01):
        self.sinogram = torch.nn.Parameter(random(*SHAPE, seed=1))
        self.measured = random(*SHAPE, seed=2)
        self.discriminator = Discriminator(2, torch.Generator().manual_seed(0))
        self.game = AdversarialOptimizer(
            [dict(params=[self.sinogram], lr=generator_rate)], self.discriminator, discriminator_rate
        )

    def model_sinogram(self):
        return torch.tanh(self.sinogram)  # a graph that would carry a gradient back, once leaked

    def generator_loss(self, weight=1.0):
        return weight * (self.game.adversarial_loss(self.model_sinogram()) + 0.1 * self.sinogram.square().mean((1, 2)))


def scaled_discrimination(monkeypatch, factor):
    original = losses.discrimination
    monkeypatch.setattr(losses, "discrimination", lambda *logits: factor * original(*logits))


def copies(table):
    return table.sinogram.detach().clone(), [p.detach().clone() for p in table.discriminator.parameters()]


def test_the_generators_gradient_is_that_of_its_own_loss():
    table = Table()
    expected = torch.autograd.grad(
        losses.adversarial(table.discriminator(table.model_sinogram()[:, None])).sum()
        + 0.1 * table.sinogram.square().mean((1, 2)).sum(),
        table.sinogram,
    )[0]
    table.game.step_generator(table.generator_loss())
    torch.testing.assert_close(table.sinogram.grad, expected)


def test_the_discriminators_gradient_is_that_of_its_own_loss():
    table = Table()
    model_sinogram = table.model_sinogram()
    logits = table.discriminator(table.measured[:, None]), table.discriminator(model_sinogram.detach()[:, None])
    expected = torch.autograd.grad(losses.discrimination(*logits).sum(), list(table.discriminator.parameters()))
    table.game.step_discriminator(table.measured, model_sinogram)
    for mine, theirs in zip(flat_gradient(table.discriminator), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("factor", (1.0, 10.0))
def test_the_discriminators_loss_gives_the_generator_no_gradient(monkeypatch, factor):
    scaled_discrimination(monkeypatch, factor)
    table = Table()
    table.game.step_generator(table.generator_loss())
    before, gradient = copies(table)[0], table.sinogram.grad.clone()
    model_sinogram = table.model_sinogram()
    table.game.step_discriminator(table.measured, model_sinogram)
    assert torch.equal(table.sinogram.grad, gradient)  # a leak would have been added to it
    assert torch.equal(table.sinogram, before)
    model_sinogram.sum().backward()  # the generator's graph is still whole: the discriminator did not go through it


def test_the_discriminators_loss_may_be_multiplied_without_the_generator_noticing(monkeypatch):
    trajectories = []
    for factor in (1.0, 10.0):
        with monkeypatch.context() as patch:
            scaled_discrimination(patch, factor)
            table, gradients = Table(), []
            for _ in range(5):
                table.game.step_generator(table.generator_loss())
                gradients.append(table.sinogram.grad.clone())
                table.game.step_discriminator(table.measured, table.model_sinogram())
            trajectories.append(gradients)
    for iteration, (one, ten) in enumerate(zip(*trajectories, strict=True)):
        # Before the first step of the discriminator nothing differs; then Adam's steps, free of scale but for its ε, hardly do.
        assert (one - ten).norm() <= (0 if iteration == 0 else 1e-3) * one.norm()


def test_the_generators_loss_gives_the_discriminator_no_gradient():
    table = Table()
    table.game.step_discriminator(table.measured, table.model_sinogram())
    before, gradient = copies(table)[1], flat_gradient(table.discriminator)
    for weight in (1.0, 1000.0):
        table.game.step_generator(table.generator_loss(weight))
    assert all(torch.equal(p.grad, g) for p, g in zip(table.discriminator.parameters(), gradient, strict=True))
    assert all(torch.equal(p, b) for p, b in zip(table.discriminator.parameters(), before, strict=True))


def test_the_discriminators_step_does_not_depend_on_the_generators_loss():
    states = []
    for weight in (1.0, 1000.0):
        table = Table(generator_rate=0.0)  # so that both show it the same sinogram
        table.game.step_generator(table.generator_loss(weight))
        table.game.step_discriminator(table.measured, table.model_sinogram())
        states.append(copies(table)[1])
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def test_the_discriminator_learns_again_after_a_verdict():
    table = Table()
    table.game.adversarial_loss(table.model_sinogram())
    assert all(parameter.requires_grad for parameter in table.discriminator.parameters())


def test_both_players_move():
    table = Table()
    sinogram, weights = copies(table)
    table.game.step_generator(table.generator_loss())
    table.game.step_discriminator(table.measured, table.model_sinogram())
    assert (table.sinogram != sinogram).float().mean() > 0.9
    assert all(not torch.equal(p, b) for p, b in zip(table.discriminator.parameters(), weights, strict=True))


def test_the_discriminator_learns_to_tell():
    table = Table(discriminator_rate=1e-2)
    model_sinogram = 0.2 * table.model_sinogram()
    first = table.game.step_discriminator(table.measured, model_sinogram)
    for _ in range(30):
        last = table.game.step_discriminator(table.measured, model_sinogram)
    assert first.shape == last.shape == (2,) and not last.requires_grad
    assert (last < 0.5 * first).all()  # from 1.4, a coin's, to a few hundredths


def test_the_generator_learns_to_please():
    table = Table(generator_rate=0.05)
    first = table.game.adversarial_loss(table.model_sinogram())
    for _ in range(30):
        table.game.step_generator(table.game.adversarial_loss(table.model_sinogram()))
    assert (table.game.adversarial_loss(table.model_sinogram()) < 0.9 * first).all()


def test_without_a_discriminator_the_verdict_is_nothing():
    parameter = torch.nn.Parameter(torch.ones(2, 3, 4))
    game = AdversarialOptimizer([dict(params=[parameter], lr=0.1)], None, 1.0)
    assert game.adversarial_loss(parameter).tolist() == [0, 0]
    assert game.step_discriminator(parameter, parameter) is None
    game.step_generator(parameter.square().mean((1, 2)) + game.adversarial_loss(parameter))
    torch.testing.assert_close(parameter.detach(), torch.full((2, 3, 4), 0.9))  # Adam's first step is its rate


def test_each_group_has_its_rate_and_the_factor():
    fast, slow = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    game = AdversarialOptimizer([dict(params=[fast], lr=0.1), dict(params=[slow], lr=0.01)], None, 1.0)
    for rate in (1.0, 0.5, 1.0):
        game.set_rate(rate)
        game.step_generator(fast + slow)  # a constant gradient: each of Adam's steps is its rate
    assert float(fast.detach()) == pytest.approx(1 - 0.25, rel=1e-5)
    assert float(slow.detach()) == pytest.approx(1 - 0.025, rel=1e-5)


def test_slices_do_not_share_a_step():
    table, alone = Table(), Table()
    table.game.step_generator(table.generator_loss())
    alone.game.step_generator(alone.generator_loss() * torch.tensor([1.0, 0.0]))
    assert torch.equal(table.sinogram[0], alone.sinogram[0])


def test_annealed_is_constant_and_then_half_a_cosine():
    assert [learning_rate_factor(i, 100) for i in (0, 30, 70)] == [1, 1, 1]
    assert learning_rate_factor(85, 100) == pytest.approx(0.515)  # midway between 1 and 0.03
    assert learning_rate_factor(100, 100) == pytest.approx(0.03)
    factors = [learning_rate_factor(i, 100) for i in range(101)]
    assert all(later <= earlier for earlier, later in zip(factors, factors[1:], strict=False))
    assert learning_rate_factor(100, 100, constant=0.5, final=0.0) == pytest.approx(0, abs=1e-12)
    assert learning_rate_factor(0, 0) == 1 and all(math.isfinite(learning_rate_factor(i, 1)) for i in (0, 1))


def test_non_finite_error_has_a_place_for_the_result():
    assert NonFiniteError("why").result is None
    assert issubclass(NonFiniteError, RuntimeError)
