"""What the missing wedge does to a slice, learned by a network from the scan itself.

A reconstruction that is turned by some angle is an object whose wedge is missing elsewhere: scanned again by the forward model and reconstructed in
the same way, it shows what this scan's wedge does to an object like this one, next to what the object was. A small network learns to undo it, is
asked about the real slice, and a last solve brings its answer into agreement with the data. The repaired slice is a better object to learn from, so
this goes round a few times. No other image is ever seen.

The idea is that of Y.-T. Liu et al., Nat. Commun. 13, 6482 (2022) (IsoNet, for subtomograms); here the pairs are reconstructions of simulated scans,
not filtered images, so that the network learns what is wrong with exactly the image it will be given.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from tomopy_ganrec.fit.measurement.measurement import Measurement, per_slice
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.solvers.classical import fbp
from tomopy_ganrec.solvers.operators import filter_projections, upper_quantile
from tomopy_ganrec.solvers.total_variation import TotalVariation
from tomopy_ganrec.solvers.wedge import measured_frequencies

from .reweighted_tv import SOLVE, fill_missing_wedge
from .wedge_network import WedgeNetwork

__all__ = ["learn_wedge", "learning_steps", "random_rotations", "rotate"]

COPIES = 8  # turned slices a round
PLAIN, ROUNDS, ITERATIONS = 42, 4, 21  # of the reconstruction of a copy
STEPS, RATE, PIXELS = 300, 3e-3, 128 * 128  # of the network's training in a round; pixels in a step
NEAREST = math.radians(25)  # a copy turned by less shows the network its own wedge (a mirrored one still may)


def random_rotations(count: int, generator: torch.Generator) -> torch.Tensor:
    """Rotations between 25° and 155°, one in each of `count`/2 equal parts, plus half turns at random, every second one mirrored:
    (count, 2, 2) orthogonal matrices."""
    k = torch.arange(count)
    parts = (count + 1) // 2
    share = (k // 2 + torch.rand(count, generator=generator, dtype=torch.float32)) / parts
    angle = NEAREST + (math.pi - 2 * NEAREST) * share + math.pi * torch.randint(2, (count,), generator=generator)
    c, s = angle.float().cos(), angle.float().sin()
    mirror = torch.where(k % 2 == 1, -1.0, 1.0).to(c)
    return torch.stack([torch.stack([c, -s * mirror], 1), torch.stack([s, c * mirror], 1)], 1)


def rotate(x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Images (n, rows, cols) at matrices (n, 2, 2) times the position (column, row) from the middle; zero outside. Bicubic."""
    rows, cols = x.shape[-2:]
    half = torch.tensor([cols / 2, rows / 2]).to(x)
    affine = F.pad(matrices.to(x) * half / half[:, None], (0, 1))
    grid = F.affine_grid(affine, [len(matrices), 1, rows, cols], align_corners=False)
    return F.grid_sample(x[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False)[:, 0]


class WedgeTrainer:
    """Pairs of a damaged and an undamaged slice, and the network that learns from them."""

    def __init__(self, measurement: Measurement, options: GanrecOptions, mask, seed: int):
        self._m, self._options, self._mask = measurement, options, mask
        self._model = (
            measurement.model.resampled(rays_per_bin=1)
            if hasattr(measurement.model, "resampled")
            else measurement.model
        )
        self._generator = torch.Generator().manual_seed(seed)
        data = measurement.data
        self.network = WedgeNetwork(torch.Generator().manual_seed(seed + 1)).to(data)
        self._optimizer = torch.optim.AdamW(self.network.parameters(), RATE, betas=(0.9, 0.99), weight_decay=1e-3)
        self._steps = 0
        self._whitener = measurement.whitener

    def _of(self, owner):
        """The weights of the frequencies for slices by their place in the measurement."""
        return self._whitener if self._whitener is None or len(self._whitener) == 1 else self._whitener[owner]

    def inputs(self, image, sinogram):
        """What the network sees of a slice: (n, 2, rows, cols)."""
        back = fbp(self._m.model if sinogram is self._m.data else self._model, sinogram, self._m.model.theta)
        return torch.stack([image, back if self._mask is None else back * self._mask], 1)

    def training_pairs(self, x: torch.Tensor, notify: Callable):
        """Turned slices as they are and as the scan shows them, and where the former can be believed."""
        owner = torch.arange(COPIES) % len(x)
        matrices = random_rotations(COPIES, self._generator)
        truth = rotate(x[owner], matrices)
        truth = truth.clamp(min=0) if self._options.nonnegative else truth
        truth = truth if self._mask is None else truth * self._mask
        sinogram = self._model.forward_project(truth)
        noise = self._m.noise(owner, self._generator)  # with what the model leaves unexplained
        sinogram = sinogram + (noise if self._m.response is None else filter_projections(noise, self._m.response))
        settings = [self._m.settings[k] for k in owner.tolist()]
        tv_weight, edge_threshold = (
            per_slice((getattr(s, n) for s in settings), x) for n in ("tv_weight", "edge_threshold")
        )
        spectrum = self._of(owner)
        solver = TotalVariation(
            self._model,
            sinogram,
            settings[0].step_ratio,
            self._options.nonnegative,
            self._mask,
            spectrum,
            settings[0].wedge_tv_weight,
        )
        solver.run(tv_weight, PLAIN, on_iteration=notify)
        solver.reweight(tv_weight, edge_threshold, ROUNDS, ITERATIONS, notify)
        return (
            self.inputs(solver.x, sinogram),
            truth,
            measured_frequencies(self._m.model.theta, x.shape[1:], matrices).to(x),
        )

    def train(self, inputs, truth, believed, delta: float, peak: float, notify: Callable) -> None:
        """Adam with decoupled weight decay (I. Loshchilov and F. Hutter, ICLR 2019) on the pseudo-Huber loss of what can be believed."""
        count = max(1, min(COPIES, PIXELS // truth[0].numel()))
        for step in range(STEPS):
            rate = min(1.0, (self._steps + 1) / 20) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / STEPS)))
            for group in self._optimizer.param_groups:
                group["lr"] = peak * rate
            chosen = torch.randperm(COPIES, generator=self._generator)[:count].to(truth.device)
            answer = self.network(inputs[chosen])
            error = (answer if self._mask is None else answer * self._mask) - truth[chosen]
            error = torch.fft.irfft2(torch.fft.rfft2(error) * believed[chosen], s=error.shape[-2:])
            loss = (delta * delta * (((error / delta).square() + 1).sqrt() - 1)).mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._steps += 1
            if notify():
                return


def learning_steps(options: GanrecOptions) -> int:
    """How many times `learn` calls `notify` for a slice or a stack."""
    return options.lessons * (PLAIN + ROUNDS * ITERATIONS + STEPS + SOLVE)


def learn_wedge(
    measurement: Measurement,
    x: torch.Tensor,
    options: GanrecOptions,
    mask,
    seed: int,
    notify: Callable,
    solve: Callable | None = None,
):
    """Repair slices with a network that learns from them alone; all slices share it.

    Parameters
    ----------
    measurement : Measurement
        Of slices whose settings share ρ.
    x : (B, rows, cols) tensor
        Their images so far, in the measurement's units.
    options : GanrecOptions
    mask : (rows, cols) tensor or None
    seed : int
    notify : callable
        Called after each iteration and step; a true answer ends it.
    solve : callable, optional
        (network's image, image so far) to the next image in agreement with the data; default: `agree` on the measurement's own grid.

    Returns
    -------
    (B, rows, cols) tensor
    """
    ended = False

    def tell():
        nonlocal ended
        ended = ended or bool(notify())
        return ended

    teacher = WedgeTrainer(measurement, options, mask, seed)
    first = x
    delta = 0.1 * float(upper_quantile(x).mean()) + torch.finfo(x.dtype).tiny
    with torch.no_grad():
        real = teacher.inputs(first, measurement.data)
    before = None
    for lesson_number in range(options.lessons):
        with torch.no_grad():
            lesson = teacher.training_pairs(x, tell)
        if ended:
            break
        teacher.train(*lesson, delta, RATE * (1 - 0.5 * lesson_number / options.lessons), tell)
        if ended:
            break
        with torch.no_grad():
            answer = teacher.network(real)
            answer = answer if mask is None else answer * mask
            last = lesson_number == options.lessons - 1
            mixed = (answer + before) / 2 if last and before is not None else answer  # what two lessons agree on
            before, answer = answer, mixed
            x = solve(answer, x, tell) if solve else fill_missing_wedge(measurement, answer, first, options, mask, tell)
        if ended:
            break
    return x
