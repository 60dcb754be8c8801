"""The missing wedge's effect on a slice, learned by a network from the scan itself.

A reconstruction that is rotated by some angle is an object whose wedge is missing elsewhere: scanned again by the
forward model and reconstructed in the same way, it shows what this scan's wedge does to an object like this one, next
to what the object was. A small network learns to undo it and is applied to the real slice, and a last solve brings its
answer into agreement with the data. The repaired slice is a better object to learn from, so this goes round a few
times. No other image is ever seen.

The idea is that of Y.-T. Liu et al., Nat. Commun. 13, 6482 (2022) (IsoNet, for subtomograms); here the pairs are
reconstructions of simulated scans, not filtered images, so that the network learns what is wrong with exactly the image
that it will be given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.solvers.classical import fbp
from tomopy_ganrec.solvers.forward_model import can_resample, required_angles
from tomopy_ganrec.solvers.operators import filter_projections, upper_quantile
from tomopy_ganrec.solvers.reweighting import reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import measured_frequencies

from .reweighted_tv import WEDGE_ITERATIONS, fill_missing_wedge
from .stage_progress import StageProgress
from .wedge_network import WedgeNetwork

__all__ = ["WedgeLearning", "WedgeTrainer", "random_rotations", "rotate"]

COPIES = 8  # rotated slices in a round
PLAIN_ITERATIONS, ROUNDS, ROUND_ITERATIONS = 42, 4, 21  # of the reconstruction of a copy
TRAINING_STEPS, LEARNING_RATE, PIXELS = 300, 3e-3, 128 * 128  # in a round; pixels in a training step
# A copy rotated by less shows the network its own wedge (a mirrored one still may).
SMALLEST_ROTATION = math.radians(25)


def random_rotations(count: int, rng: torch.Generator) -> torch.Tensor:
    """Rotations between 25° and 155°, plus half turns at random, every second one mirrored.

    There is one in each of `count`/2 equal parts of that range.

    Returns
    -------
    (count, 2, 2) tensor
        Orthogonal matrices.
    """
    k = torch.arange(count)
    parts = (count + 1) // 2
    share = (k // 2 + torch.rand(count, generator=rng, dtype=torch.float32)) / parts
    half_turns = math.pi * torch.randint(2, (count,), generator=rng)
    angle = SMALLEST_ROTATION + (math.pi - 2 * SMALLEST_ROTATION) * share + half_turns
    c, s = angle.float().cos(), angle.float().sin()
    mirror = torch.where(k % 2 == 1, -1.0, 1.0).to(c)
    return torch.stack([torch.stack([c, -s * mirror], 1), torch.stack([s, c * mirror], 1)], 1)


def rotate(x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Rotate images by bicubic interpolation; zero outside.

    Parameters
    ----------
    x : (n, rows, cols) tensor
    matrices : (n, 2, 2) tensor
        The result at (column, row) from the middle is the image at the matrix times it.
    """
    rows, cols = x.shape[-2:]
    half = torch.tensor([cols / 2, rows / 2]).to(x)
    affine = F.pad(matrices.to(x) * half / half[:, None], (0, 1))
    grid = F.affine_grid(affine, [len(matrices), 1, rows, cols], align_corners=False)
    return F.grid_sample(x[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False)[:, 0]


class WedgeTrainer:
    """Pairs of a damaged and an undamaged slice, and the network that learns from them.

    Parameters
    ----------
    measurement : Measurement
    seed : int
    """

    def __init__(self, measurement: Measurement, seed: int):
        self._measurement, self._constraints = measurement, measurement.constraints
        # What holds for a copy at any rotation; that the rest is zero, too, the network learns.
        alike = self._constraints.is_field_of_view
        self._of_all = self._constraints if alike else replace(self._constraints, support=None)
        model = measurement.model
        self._theta = required_angles(model)
        self._model = model.resampled(rays_per_bin=1) if can_resample(model) else model
        self._rng = torch.Generator().manual_seed(seed)
        self.network = WedgeNetwork(torch.Generator().manual_seed(seed + 1)).to(measurement.data)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-3
        )
        self._steps = 0
        self._whitener = measurement.whitener

    def inputs(
        self, image: torch.Tensor, sinogram: torch.Tensor, constraints: Constraints | None = None
    ) -> torch.Tensor:
        """Input of the network: images (n, rows, cols) and the FBP of their sinograms, (n, 2, rows, cols).

        They have the measurement's constraints unless others are given.
        """
        model = self._measurement.model
        back = fbp(model if sinogram is self._measurement.data else self._model, sinogram, self._theta)
        return torch.stack([image, (constraints or self._constraints).restrict(back)], 1)

    def training_pairs(
        self, x: torch.Tensor, progress: StageProgress
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotated copies of slices as the scan shows them, the copies themselves, and their measured frequencies.

        Parameters
        ----------
        x : (n, rows, cols) tensor
        progress : StageProgress

        Returns
        -------
        inputs : (COPIES, 2, rows, cols) tensor
        truth : (COPIES, rows, cols) tensor
        measured : (COPIES, rows, cols // 2 + 1) tensor
            From 0 to 1.
        """
        measurement, model = self._measurement, self._model
        owner = torch.arange(COPIES) % len(x)
        matrices = random_rotations(COPIES, self._rng)
        constraints = self._constraints.of_copies(owner, lambda support: rotate(support, matrices))
        truth = constraints.project(rotate(x[owner], matrices))
        sinogram = model.forward_project(truth)
        noise = measurement.noise(owner, self._rng)  # with what the model leaves unexplained
        if measurement.response is not None:
            noise = filter_projections(noise, measurement.response)
        sinogram = sinogram + noise
        weights = measurement.weights.take(owner)
        whitener = self._whitener
        if whitener is not None and len(whitener) > 1:
            whitener = whitener[owner]
        solver = TotalVariation(
            model,
            sinogram,
            weights.step_ratio,
            constraints.nonnegative,
            constraints.support,
            whitener,
            weights.wedge_tv_weight,
            maximum=constraints.maximum,
        )
        tv_weight = weights.tv_weight(x)
        solver.run(tv_weight, PLAIN_ITERATIONS, on_iteration=progress.step)
        image, _ = reweighted_rounds(
            solver, tv_weight, weights.edge_threshold(x), ROUNDS, ROUND_ITERATIONS, on_iteration=progress.step
        )
        measured = measured_frequencies(self._theta, x.shape[1:], matrices).to(x)
        return self.inputs(image, sinogram, constraints), truth, measured

    def train(
        self,
        pairs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        delta: float,
        peak_rate: float,
        progress: StageProgress,
    ) -> None:
        """Train the network on the pseudo-Huber loss of the measured frequencies.

        By Adam with decoupled weight decay (I. Loshchilov and F. Hutter, ICLR 2019).

        Parameters
        ----------
        pairs : tuple of tensors
            `training_pairs`.
        delta : float
            Error from which on the loss grows linearly.
        peak_rate : float
            The learning rate, which falls to a twentieth of it.
        progress : StageProgress
        """
        inputs, truth, measured = pairs
        count = max(1, min(COPIES, PIXELS // truth[0].numel()))
        for step in range(TRAINING_STEPS):
            decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / TRAINING_STEPS))
            rate = min(1.0, (self._steps + 1) / 20) * decay
            for group in self._optimizer.param_groups:
                group["lr"] = peak_rate * rate
            chosen = torch.randperm(COPIES, generator=self._rng)[:count].to(truth.device)
            error = self._of_all.restrict(self.network(inputs[chosen])) - truth[chosen]
            error = torch.fft.irfft2(torch.fft.rfft2(error) * measured[chosen], s=error.shape[-2:])
            loss = (delta * delta * (((error / delta).square() + 1).sqrt() - 1)).mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._steps += 1
            if progress.step():
                return


class WedgeLearning:
    """Repair of slices by a network that learns from them alone; all slices share it.

    Parameters
    ----------
    measurement : Measurement
    rounds : int
    seed : int
    across : float
        Weight of the difference between neighbouring slices.
    """

    def __init__(self, measurement: Measurement, rounds: int, seed: int, across: float = 0.0):
        self._measurement, self._rounds, self._seed, self._across = measurement, rounds, seed, across

    @property
    def steps(self) -> int:
        """Iterations and training steps of `run`."""
        return self._rounds * (PLAIN_ITERATIONS + ROUNDS * ROUND_ITERATIONS + TRAINING_STEPS + WEDGE_ITERATIONS)

    def run(
        self,
        x: torch.Tensor,
        progress: StageProgress,
        last_solve: Callable[[torch.Tensor, StageProgress], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The repaired images.

        Parameters
        ----------
        x : (n, rows, cols) tensor
            The images so far, in the measurement's units.
        progress : StageProgress
        last_solve : callable, optional
            Brings the answer of the last round into agreement with the data; default: `fill_missing_wedge` on the
            measurement's own grid, as in the other rounds.

        Returns
        -------
        (n, rows, cols) tensor
        """
        trainer = WedgeTrainer(self._measurement, self._seed)
        first = x
        before: torch.Tensor | None = None
        delta = 0.1 * float(upper_quantile(x).mean()) + torch.finfo(x.dtype).tiny
        with torch.no_grad():
            real = trainer.inputs(first, self._measurement.data)
        for k in range(self._rounds):
            last = k == self._rounds - 1
            with torch.no_grad():
                pairs = trainer.training_pairs(x, progress)
            if progress.stopped:
                break
            trainer.train(pairs, delta, LEARNING_RATE * (1 - 0.5 * k / self._rounds), progress)
            if progress.stopped:
                break
            with torch.no_grad():
                answer = self._measurement.constraints.restrict(trainer.network(real))
                mixed = (answer + before) / 2 if last and before is not None else answer  # what two rounds agree on
                before = answer
                if last and last_solve is not None:
                    x = last_solve(mixed, progress)
                else:
                    x = fill_missing_wedge(self._measurement, mixed, first, self._across, progress.step)
            if progress.stopped:
                break
        return x
