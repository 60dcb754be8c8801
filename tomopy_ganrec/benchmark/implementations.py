"""How each method reconstructs a `Problem`: functions that take one and give a slice, (rows, cols)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from tomopy_ganrec import metrics
from tomopy_ganrec.fit import fit
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector, joseph
from tomopy_ganrec.projector.astra_common import import_astra
from tomopy_ganrec.solvers.classical import fbp, mlem
from tomopy_ganrec.solvers.wedge import angular_weights

from . import peers

MEMORY_LIMIT = 4e9  # bytes for a projector's matrix

__all__ = [
    "MEMORY_LIMIT",
    "STOPS",
    "Problem",
    "astra_mlem",
    "astra_mlem_best",
    "astra_sart",
    "astra_sirt",
    "filtered_back_projection",
    "fitted",
    "matrix_projector",
    "pml_hybrid",
    "sparse_mlem",
    "tv_oracle",
]


@dataclass
class Problem:
    """One slice to reconstruct.

    Attributes
    ----------
    projector : ParallelBeamProjector
        Square grid, as wide as the detector; one centre.
    sinogram : (1, angles, columns) float32 tensor
        On the projector's device.
    seed : int
        For methods that have one.
    truth : (rows, cols) array, optional
        For oracles alone.
    by_product : dict
        Reconstructions that a method made on its way to its own, with their seconds: ``{method: (slice, seconds)}``.
    """

    projector: ParallelBeamProjector
    sinogram: torch.Tensor
    seed: int = 0
    truth: np.ndarray | None = None
    by_product: dict = field(default_factory=dict)

    @property
    def measured(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Sinogram (angles, columns), angles in radians and centre (edge convention) as arrays."""
        return self.sinogram[0].cpu().numpy(), self.projector.theta, self.projector.center

    @property
    def cuda(self) -> bool:
        """Whether it is to be solved on a GPU."""
        return self.sinogram.device.type == "cuda"

    @property
    def astra_cuda(self) -> bool:
        """Whether ASTRA solves it on a GPU: its own build may have none."""
        return self.cuda and import_astra().use_cuda()


def filtered_back_projection(problem: Problem):
    """Every projection counts for π / angles, as in TomoPy and ASTRA: the mean is right, in spite of the wedge."""
    theta = problem.projector.theta
    share = float(angular_weights(torch.as_tensor(theta)).sum())
    return fbp(problem.projector, problem.sinogram, theta)[0] * (np.pi / share)


def _astra_model(problem: Problem) -> ParallelBeamProjector:
    own = problem.projector
    return ParallelBeamProjector(own.domain_shape, own.theta, own.columns, own.center, backend="astra")


def matrix_projector(size, theta, columns: int, center: float | None = None, device="cpu") -> ParallelBeamProjector:
    """The sparse matrix, the yardstick of times; what 'auto' takes where it is larger than `MEMORY_LIMIT`."""
    need = joseph.estimated_bytes(*np.broadcast_to(size, 2).tolist(), len(theta), columns)
    return ParallelBeamProjector(
        size, theta, columns, center, backend="matrix" if need <= MEMORY_LIMIT else "auto", device=device
    )


def _em_cuda(problem: Problem, iterations: int, init=None):
    sinogram, theta, center = problem.measured
    return peers.astra_algorithm("EM_CUDA", sinogram.clip(min=0), theta, center, iterations, init=init, **_gpu(problem))


def _gpu(problem: Problem) -> dict:
    return {"GPUindex": problem.sinogram.device.index or 0} if problem.astra_cuda else {}


def astra_mlem(problem: Problem):
    """200 iterations: EM_CUDA, or where ASTRA has no GPU the same iteration over its CPU projector."""
    if problem.astra_cuda:
        return _em_cuda(problem, 200)
    return mlem(_astra_model(problem), problem.sinogram.cpu(), 200)[0]


STOPS = (5, 10, 15, 20, 30, 40, 50, 70, 100, 140, 200)


def astra_mlem_best(problem: Problem):
    """The one of `STOPS` iterations with the highest MSSIM."""
    image, best, done = None, (-np.inf, None), 0
    if not problem.astra_cuda:
        model, data = _astra_model(problem), problem.sinogram.cpu()
    for stop in STOPS:
        if problem.astra_cuda:
            image = _em_cuda(problem, stop - done, image)
        else:
            image = mlem(model, data, stop - done, init=image)
        slice = image if problem.astra_cuda else image[0].numpy()
        best, done = max(best, (metrics.mssim(problem.truth, slice), slice), key=lambda found: found[0]), stop
    return best[1]


def astra_sirt(problem: Problem):
    """200 iterations, x ≥ 0."""
    return peers.astra_algorithm(
        "SIRT_CUDA" if problem.astra_cuda else "SIRT", *problem.measured, 200, MinConstraint=0, **_gpu(problem)
    )


def astra_sart(problem: Problem):
    """10 sweeps, x ≥ 0."""
    sinogram, theta, center = problem.measured
    order = np.argsort(np.arange(len(theta)) * 0.6180339887498949 % 1)  # neighbours in time are far apart in angle
    name = "SART_CUDA" if problem.astra_cuda else "SART"
    # The data in that order, not ASTRA's option of a custom order: in ASTRA 2.3.1 that ends the process.
    options = dict(MinConstraint=0, ProjectionOrder="sequential")
    return peers.astra_algorithm(
        name, sinogram[order], np.asarray(theta)[order], center, 10 * len(theta), **options, **_gpu(problem)
    )


def pml_hybrid(problem: Problem):
    """TomoPy's, in steps that keep data and image above 0: it divides by its model of the data, and air would make everything NaN."""
    sinogram, theta, center = problem.measured
    data = sinogram.clip(min=1e-5 * sinogram.max())
    image = np.full((1, sinogram.shape[1], sinogram.shape[1]), data.mean() / sinogram.shape[1], np.float32)
    floor = 1e-3 * image.flat[0]
    for _ in range(20):
        options = dict(num_iter=10, reg_par=np.float32([1.0, 0.1]), init_recon=image.clip(min=floor))
        image = peers.tomopy_iterative("pml_hybrid", data, theta, center, **options)[None]
    return image[0]


def fitted(by_product: str | None = None, **options) -> Callable[[Problem], torch.Tensor]:
    """A function that reconstructs by `fit` with these options; the start image is left as the by-product of that name."""

    def run(problem: Problem):
        result = fit(problem.projector, problem.sinogram, GanrecOptions(seed=problem.seed, **options))
        if by_product:
            problem.by_product[by_product] = result.start[0], result.seconds["start"]
        return result.image[0]

    return run


def tv_oracle(problem: Problem):
    """The weight of highest MSSIM on a grid of factors 3 around the rule's own, followed until it falls."""

    def at(factor):
        result = fit(
            problem.projector,
            problem.sinogram,
            GanrecOptions(
                reweight_rounds=0, num_iter=0, pixel_model="point", tv_weight=None if factor == 1 else factor * own
            ),
        )
        return metrics.mssim(problem.truth, result.image[0].cpu().numpy()), result.image[0], result.info[0]["tv_weight"]

    best = at(1)
    own = best[2]
    for step in (3.0, 1 / 3):
        factor, first = step, True
        while factor < 1e3 and factor > 1e-3:
            found = at(factor)
            if found[0] <= best[0]:
                break
            best, factor, first = found, factor * step, False
        if not first:
            break
    return best[1]


def sparse_mlem(problem: Problem):
    """200 iterations over this package's sparse matrix, which is kept from one problem to the next."""
    own = problem.projector
    return mlem(
        matrix_projector(own.domain_shape, own.theta, own.columns, own.center, own.device), problem.sinogram, 200
    )[0]
