"""Orthogonalised momentum: singular values near 1, steps of one length, and descent."""

import pytest
import torch
from wedge_cases import seeded

from tomopy_ganrec.fit.orthogonal_momentum import OrthogonalMomentum, orthogonalised


@pytest.mark.parametrize("shape", ((8, 8), (8, 40), (40, 8), (1, 9)))
def test_singular_values_are_near_one(shape):
    matrix = torch.randn(*shape, generator=seeded())
    values = torch.linalg.svdvals(orthogonalised(matrix))
    # What five iterations leave, for values down to a hundredth of the norm.
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3


def test_singular_vectors_stay():
    matrix = torch.randn(6, 20, generator=seeded())
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalised(matrix) @ v.T
    # float32, after five iterations
    assert float((inner - torch.diag(inner.diagonal())).abs().max()) < 1e-3


def test_zero_stays_zero():
    assert torch.equal(orthogonalised(torch.zeros(4, 7)), torch.zeros(4, 7))


@pytest.mark.parametrize("unit", (1.0, 2.0**-20))
def test_steps_do_not_depend_on_the_size_of_the_gradient(unit):
    weight = torch.nn.Parameter(torch.zeros(4, 2, 3, 3))
    optimizer = OrthogonalMomentum([weight], lr=0.1)
    weight.grad = unit * torch.randn(weight.shape, generator=seeded())
    optimizer.step()
    values = torch.linalg.svdvals(weight.detach().flatten(1)) / 0.1
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3


def test_it_descends_and_leaves_weights_without_gradient():
    target, rng = torch.randn(6, 10, generator=seeded()), seeded(1)
    weight, other = torch.nn.Parameter(torch.zeros(6, 10)), torch.nn.Parameter(torch.ones(2, 2))
    optimizer = OrthogonalMomentum([weight, other], lr=0.1)
    for _ in range(100):
        x = torch.randn(10, 32, generator=rng)
        loss = ((weight - target) @ x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A step of .1 in every direction is the distance at which it stays.
    assert float((weight.detach() - target).norm() / target.norm()) < 0.15
    assert torch.equal(other.detach(), torch.ones(2, 2))
