"""The missing wedge's effect on a slice, learned by a network from the scan itself.

A reconstruction that is rotated by some angle is an object whose wedge is missing elsewhere: scanned again by the
forward model and reconstructed in the same way, it shows what this scan's wedge does to an object like this one, next
to what the object was. A small network learns to undo it and is applied to the real slice, and a last solve brings its
answer into agreement with the data. The repaired slice is a better object to learn from, so this goes round a few
times. Copies that the network has not seen yet say how much of its answer is right. No other image is ever seen.

Slices that are given together share the network: copies of all of them train it. What a slice becomes depends on which
slices are with it, and on the seed.

The idea is that of Y.-T. Liu et al., Nat. Commun. 13, 6482 (2022) (IsoNet, for subtomograms); here the pairs are
reconstructions of simulated scans, not filtered images, so that the network learns what is wrong with exactly the image
that it will be given.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import torch

from tomopy_ganrec.fit.measurement.constraints import Constraints
from tomopy_ganrec.fit.measurement.measurement import Measurement
from tomopy_ganrec.solvers.classical import fbp
from tomopy_ganrec.solvers.forward_model import can_resample, required_angles
from tomopy_ganrec.solvers.operators import filter_projections, upper_quantile
from tomopy_ganrec.solvers.reweighting import reweighted_rounds
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import measured_frequencies, middle_angle

from .orthogonal_momentum import OrthogonalMomentum
from .reweighted_tv import ROUND_ITERATIONS as SOLVE_ITERATIONS
from .reweighted_tv import fill_missing_wedge
from .rotations import random_rotations, rotate
from .stage_progress import StageProgress
from .wedge_network import WedgeNetwork

__all__ = ["TrainingPairs", "WedgeLearning", "WedgeTrainer"]

COPIES, MOST_COPIES = 8, 32  # rotated slices in a round: of one slice of 128² pixels, and of more or of smaller ones
HELD_OUT = 2  # of them, in a single round
PLAIN_ITERATIONS, ROUNDS, ROUND_ITERATIONS = 30, 3, 16  # of the reconstruction of a copy
TRAINING_STEPS, PIXELS = 100, 128 * 128  # in a round, for up to seven slices; pixels in a training step
MATRIX_RATE, VECTOR_RATE = 0.05, 3e-3  # learning rates of the inner weights, and of biases and the last layer
WARM_UP_STEPS = 20
SOLVE_ROUNDS = 3  # between two rounds
# Weight of the network's answer below which the images stay as they are.
LEAST_WEIGHT = 0.1


class TrainingPairs(NamedTuple):
    """Rotated copies of slices as the scan shows them, the copies themselves, and their measured frequencies.

    Attributes
    ----------
    inputs : (n, 2, rows, cols) tensor
    truth : (n, rows, cols) tensor
    measured : (n, rows, cols // 2 + 1) tensor
        From 0 to 1.
    """

    inputs: torch.Tensor
    truth: torch.Tensor
    measured: torch.Tensor

    def followed_by(self, others: TrainingPairs) -> TrainingPairs:
        """These and other pairs."""
        return TrainingPairs(*(torch.cat(pair) for pair in zip(self, others, strict=True)))

    def part(self, which: slice | torch.Tensor) -> TrainingPairs:
        """Some of the pairs."""
        return TrainingPairs(*(x[which] for x in self))


def copies_of(x: torch.Tensor) -> int:
    """The rotated copies of slices (n, rows, cols) in a round: two of each, and of small slices as many pixels."""
    return max(COPIES, min(MOST_COPIES, max(2 * len(x), COPIES * PIXELS // x[0].numel())))


def training_steps_of(count: int) -> int:
    """The training steps in a round for so many slices: more where more share them."""
    return TRAINING_STEPS * max(1, min(count // 4, 4))


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
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its overloads
        inner = [w for w in self.network.parameters() if w.ndim > 1 and w is not self.network.out.weight]
        outer = [w for w in self.network.parameters() if w.ndim == 1 or w is self.network.out.weight]
        self._descents = (
            (OrthogonalMomentum(inner, MATRIX_RATE), MATRIX_RATE),
            (torch.optim.AdamW(outer, VECTOR_RATE, betas=(0.9, 0.99), weight_decay=1e-3), VECTOR_RATE),
        )
        self._steps = self._copies = 0
        self._whitener = measurement.whitener
        self._measured = measured_frequencies(self._theta, model.domain_shape).to(measurement.data)

    def inputs(
        self, image: torch.Tensor, sinogram: torch.Tensor, constraints: Constraints | None = None
    ) -> torch.Tensor:
        """Input of the network: images (n, rows, cols) and the FBP of their sinograms, (n, 2, rows, cols).

        They have the measurement's constraints unless others are given.
        """
        model = self._measurement.model
        back = fbp(model if sinogram is self._measurement.data else self._model, sinogram, self._theta)
        return torch.stack([image, (constraints or self._constraints).restrict(back)], 1)

    def training_pairs(self, x: torch.Tensor, progress: StageProgress) -> TrainingPairs:
        """`copies_of` new pairs of slices (n, rows, cols), which take turns where they are more than the copies."""
        measurement, model = self._measurement, self._model
        copies = copies_of(x)
        owner = (self._copies + torch.arange(copies)) % len(x)
        self._copies += copies
        matrices = random_rotations(copies, self._rng, middle_angle(self._theta))
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
        return TrainingPairs(self.inputs(image, sinogram, constraints), truth, measured)

    def train(self, pairs: TrainingPairs, delta: float, peak_rate: float, progress: StageProgress) -> None:
        """Train the network on the pseudo-Huber loss of the measured frequencies.

        By `OrthogonalMomentum`, and for biases and the last layer by Adam with decoupled weight decay (I. Loshchilov
        and F. Hutter, ICLR 2019).

        Parameters
        ----------
        pairs : TrainingPairs
        delta : float
            Error from which on the loss grows linearly.
        peak_rate : float
            Relative to `MATRIX_RATE` and `VECTOR_RATE`; the rates fall to a twentieth of it.
        progress : StageProgress
        """
        images, copies = min(len(pairs.truth), max(1, PIXELS // pairs.truth[0].numel())), len(pairs.truth)
        pairs = pairs._replace(inputs=pairs.inputs.contiguous(memory_format=torch.channels_last))
        steps = training_steps_of(len(self._measurement.data))
        for step in range(steps):
            decay = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
            rate = peak_rate * min(1.0, (self._steps + 1) / WARM_UP_STEPS) * decay
            chosen = pairs.part(torch.randperm(copies, generator=self._rng)[:images].to(pairs.truth.device))
            error = self._of_all.restrict(self.network(chosen.inputs)) - chosen.truth
            error = torch.fft.irfft2(torch.fft.rfft2(error) * chosen.measured, s=error.shape[-2:])
            loss = (delta * delta * (((error / delta).square() + 1).sqrt() - 1)).mean()
            for optimizer, _ in self._descents:
                optimizer.zero_grad()
            loss.backward()
            for optimizer, own_rate in self._descents:
                for group in optimizer.param_groups:
                    group["lr"] = own_rate * rate
                optimizer.step()
            self._steps += 1
            if progress.step():
                return

    def weight(self, pairs: TrainingPairs) -> float:
        """How much of the network's change is right, 0 to 1, by pairs on which it was not trained.

        It is the factor of the change that leaves the least squared error in the frequencies that the scan does not see
        of a copy, and has seen of the slice.
        """
        unseen = 1 - self._measured
        change, error = (torch.fft.rfft2(self._of_all.restrict(x)) for x in (self.network(pairs.inputs), pairs.truth))
        before = torch.fft.rfft2(pairs.inputs[:, 0])
        change, error = ((x - before) * (unseen * pairs.measured) for x in (change, error))
        power = float(change.abs().square().sum())
        return min(1.0, max(0.0, float((change * error.conj()).real.sum()) / power)) if power > 0 else 0.0


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
        """Iterations and training steps of `run`, at most, but for the last solve."""
        learning = PLAIN_ITERATIONS + ROUNDS * ROUND_ITERATIONS + training_steps_of(len(self._measurement.data))
        return self._rounds * learning + (self._rounds - 1) * SOLVE_ROUNDS * SOLVE_ITERATIONS

    def run(self, x: torch.Tensor, progress: StageProgress) -> tuple[torch.Tensor, float]:
        """Images with the missing wedge as the network has it, and the weight of the network's answer in them.

        The weight says how well the network repairs copies on which it was not trained: those that begin a round, seen
        by the network of the round before; in a single round, two of the copies. Below `LEAST_WEIGHT` learning ends.

        Parameters
        ----------
        x : (n, rows, cols) tensor
            The images so far, in the measurement's units.
        progress : StageProgress

        Returns
        -------
        answer : (n, rows, cols) tensor
            Still to be brought into agreement with the data, by `fill_missing_wedge`; the images so far where the
            weight is 0.
        weight : float
            0 to 1; 0 where the network does not help, and after a stop.
        """
        measurement, first = self._measurement, x
        trainer = WedgeTrainer(measurement, self._seed)
        answers: list[torch.Tensor] = []
        shown: TrainingPairs | None = None
        weight, held_out = 1.0, HELD_OUT if self._rounds == 1 else 0
        delta = 0.1 * float(upper_quantile(x).mean()) + torch.finfo(x.dtype).tiny
        with torch.no_grad():
            real = trainer.inputs(first, measurement.data)
        for k in range(self._rounds):
            with torch.no_grad():
                pairs = trainer.training_pairs(x, progress)
                if k:
                    weight = trainer.weight(pairs)
            if progress.stopped or weight < LEAST_WEIGHT:
                return first, 0.0
            shown = pairs.part(slice(held_out, None)) if shown is None else shown.followed_by(pairs)
            trainer.train(shown, delta, 1 - 0.5 * k / self._rounds, progress)
            if progress.stopped:
                return first, 0.0
            with torch.no_grad():
                if held_out:
                    weight = trainer.weight(pairs.part(slice(held_out)))
                answers.append(measurement.constraints.project(trainer.network(real)))
                if k < self._rounds - 1:
                    x = fill_missing_wedge(
                        measurement, answers[-1], first, self._across, progress.step, rounds=SOLVE_ROUNDS
                    )
            if progress.stopped:
                return first, 0.0
        if weight < LEAST_WEIGHT:
            return first, 0.0
        answer = sum(answers[-2:], torch.zeros_like(first)) / len(answers[-2:])  # what two rounds agree on
        return first + weight * (answer - first), weight
