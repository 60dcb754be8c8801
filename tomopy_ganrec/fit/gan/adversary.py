"""Optimisers of generator and discriminator, each of which leaves the other's weights alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from . import losses

__all__ = ["AdversarialOptimizer", "bfloat16_autocast", "learning_rate_factor"]


def learning_rate_factor(iteration: int, total: int, constant: float = 0.7, final: float = 0.03) -> float:
    """The learning rate's factor: 1 for the first 70 %, then half a cosine down to 3 %."""
    begin = constant * total
    if iteration <= begin:
        return 1.0
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (iteration - begin) / (total - begin)))


def bfloat16_autocast(device: torch.device) -> torch.autocast:
    """bfloat16 autocast where the GPU supports it; what a network reads, and what its output becomes, is float32."""
    enabled = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def _adam(groups: list[dict]) -> torch.optim.Adam:
    """Adam in one kernel; on a GPU with rates that a recorded step can read."""
    groups = [dict(group, params=list(group["params"])) for group in groups]
    device = groups[0]["params"][0].device
    if device.type == "cuda":
        groups = [dict(group, lr=torch.tensor(group["lr"], device=device)) for group in groups]
    return torch.optim.Adam(groups, fused=True, capturable=device.type == "cuda")


class AdversarialOptimizer:
    """The optimisers of a generator and a discriminator, Adam for each (D. P. Kingma and J. Ba, ICLR 2015).

    The generator's loss reaches the discriminator's weights no more than the discriminator's loss reaches the
    generator's: its sinograms are detached.

    Parameters
    ----------
    parameters : iterable of dict
        The generator's parameter groups with their learning rates, as for `torch.optim.Adam`.
    discriminator : Module or None
    discriminator_rate : float
    """

    def __init__(self, parameters: Iterable[dict], discriminator: nn.Module | None, discriminator_rate: float):
        self._optimizer = _adam(list(parameters))
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        self.discriminator = discriminator
        self._discriminator_optimizer: torch.optim.Adam | None = None
        if discriminator is not None:
            groups = [dict(params=discriminator.parameters(), lr=discriminator_rate)]
            self._discriminator_optimizer = _adam(groups)

    def adversarial_loss(self, model_sinogram: torch.Tensor) -> torch.Tensor:
        """The adversarial loss (B,) of model sinograms (B, angles, columns), with a gradient for them alone."""
        if self.discriminator is None:
            return model_sinogram.new_zeros(model_sinogram.shape[0])
        self.discriminator.requires_grad_(False)
        with bfloat16_autocast(model_sinogram.device):
            logits = self.discriminator(model_sinogram[:, None])
        loss = losses.adversarial(logits.float())
        self.discriminator.requires_grad_(True)
        return loss

    def set_rate(self, rate: float) -> None:
        """The generator's learning rates times `rate` from now on."""
        for group, base in zip(self._optimizer.param_groups, self._rates, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(base * rate)  # where a recorded step reads it
            else:
                group["lr"] = base * rate

    def step_generator(self, loss: torch.Tensor) -> None:
        """One step down `loss` (B,); slices do not share parameters, so that their sum has each one's gradient."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        self._optimizer.step()

    def step_discriminator(self, measured: torch.Tensor, model_sinogram: torch.Tensor) -> torch.Tensor | None:
        """One step of the discriminator on measured against model sinograms; its loss (B,)."""
        if self.discriminator is None or self._discriminator_optimizer is None:
            return None
        self._discriminator_optimizer.zero_grad(set_to_none=True)
        with bfloat16_autocast(measured.device):
            logits = self.discriminator(torch.stack([measured, model_sinogram.detach()])[:, :, None])
        loss = losses.discrimination(*logits.float())
        loss.sum().backward()
        self._discriminator_optimizer.step()
        return loss.detach()
