"""The adversarial game, with the two players kept apart."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from . import losses

__all__ = ["Game", "NonFiniteError", "annealed"]


class NonFiniteError(RuntimeError):
    """The losses of a fit became infinite or NaN. ``result`` holds the best finite images so far (a `result.FitResult`)."""

    result = None


def annealed(iteration: int, total: int, constant=0.7, final=0.03) -> float:
    """The learning rate's factor: 1 for the first 70 %, then half a cosine down to 3 %."""
    begin = constant * total
    if iteration <= begin:
        return 1.0
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (iteration - begin) / (total - begin)))


class Game:
    """A generator's parameters against a discriminator, each with its own Adam (D. P. Kingma and J. Ba, ICLR 2015).

    The generator's loss reaches the discriminator's weights no more than the discriminator's loss reaches the generator's: its sinograms are
    detached.

    Parameters
    ----------
    parameters : iterable of dict
        The generator's parameter groups with their learning rates, as for `torch.optim.Adam`.
    discriminator : Module or None
    discriminator_rate : float
    """

    def __init__(self, parameters: Iterable[dict], discriminator: nn.Module | None, discriminator_rate: float):
        self._optimizer = torch.optim.Adam(list(parameters))
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self.discriminator = discriminator
        self._judge = None if discriminator is None else torch.optim.Adam(discriminator.parameters(), lr=discriminator_rate)

    def verdict(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        """The adversarial loss of model sinograms (B, angles, columns), differentiable with respect to them alone: (B,)."""
        if self.discriminator is None:
            return model_sinogram.new_zeros(model_sinogram.shape[0])
        self.discriminator.requires_grad_(False)
        loss = losses.adversarial(self.discriminator(model_sinogram[:, None]))
        self.discriminator.requires_grad_(True)
        return loss

    def step_generator(self, loss: torch.Tensor, rate=1.0) -> None:
        """One step down `loss` (B,); slices do not share parameters, so that their sum has each one's gradient."""
        for group, base in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = base * rate
        self._optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        self._optimizer.step()

    def step_discriminator(self, measured: torch.Tensor, model_sinogram: torch.Tensor) -> torch.Tensor | None:
        """One step of the discriminator on measured against model sinograms; its loss (B,)."""
        if self.discriminator is None:
            return None
        self._judge.zero_grad(set_to_none=True)
        loss = losses.discrimination(self.discriminator(measured[:, None]), self.discriminator(model_sinogram.detach()[:, None]))
        loss.sum().backward()
        self._judge.step()
        return loss.detach()
