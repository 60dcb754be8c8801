"""Implementations of the compared methods: functions that take a `Problem` and return a slice, (rows, cols)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from tomopy_ganrec import metrics
from tomopy_ganrec.fit import fit
from tomopy_ganrec.options import GanrecOptions
from tomopy_ganrec.projector import ParallelBeamProjector, joseph
from tomopy_ganrec.projector.astra_common import import_astra
from tomopy_ganrec.solvers.classical import fbp, mlem
from tomopy_ganrec.solvers.forward_model import field_of_view
from tomopy_ganrec.solvers.wedge import angular_weights

from . import peers

__all__ = [
    "MEMORY_LIMIT",
    "STOPS",
    "SVMBIR_ITERATIONS",
    "TV_OPTIONS",
    "Image",
    "Problem",
    "astra_mlem",
    "astra_mlem_best",
    "astra_sart",
    "astra_sirt",
    "filtered_back_projection",
    "fitted",
    "ganrec_package",
    "gridrec",
    "matrix_projector",
    "pml_hybrid",
    "sparse_mlem",
    "svmbir",
    "tv_oracle",
]

MEMORY_LIMIT = 4e9  # bytes for a projector's matrix
SVMBIR_ITERATIONS = 300  # its own default of 100 is, it says, too few for limited angular ranges
STOPS = (5, 10, 15, 20, 30, 40, 50, 70, 100, 140, 200)  # iterations after which `astra_mlem_best` may stop

# Plain total variation.
TV_OPTIONS: dict[str, Any] = dict(reweight_rounds=0, num_iter=0, pixel_model="point", max_attenuation=None, mask=True)

Image = np.ndarray | torch.Tensor


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
    material : float, optional
        Attenuation per column of the material, for methods that are told it.
    by_product : dict
        Reconstructions that a method made on its way to its own, with their seconds: ``{method: (slice, seconds)}``.
    """

    projector: ParallelBeamProjector
    sinogram: torch.Tensor
    seed: int = 0
    truth: np.ndarray | None = None
    material: float | None = None
    by_product: dict[str, tuple[torch.Tensor, float]] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Sinogram (angles, columns), angles in radians and centre (edge convention) as arrays."""
        return self.sinogram[0].cpu().numpy(), self.projector.theta, float(self.projector.center)

    @property
    def cuda(self) -> bool:
        """Whether it is to be solved on a GPU."""
        return bool(self.sinogram.device.type == "cuda")

    @property
    def astra_cuda(self) -> bool:
        """Whether ASTRA solves it on a GPU: its own build may have none."""
        return self.cuda and bool(import_astra().use_cuda())


def filtered_back_projection(problem: Problem) -> Image:
    """FBP with the weight π / angles for each projection, as in TomoPy and ASTRA: the mean is right for any range."""
    theta = problem.projector.theta
    share = float(angular_weights(torch.as_tensor(theta)).sum())
    return fbp(problem.projector, problem.sinogram, theta)[0] * (np.pi / share)


def gridrec(provider: Callable[..., np.ndarray], pad: bool) -> Callable[[Problem], Image]:
    """A function that reconstructs by a gridrec of `peers`; padded: clipped at 0, and 0 outside the field of view."""

    def run(problem: Problem) -> Image:
        image = provider(*problem.measured, pad)
        return image.clip(min=0) * field_of_view(problem.projector).numpy() if pad else image

    return run


def matrix_projector(
    size: int | tuple[int, int],
    theta: np.ndarray,
    columns: int,
    center: float | None = None,
    device: str | torch.device = "cpu",
) -> ParallelBeamProjector:
    """The sparse matrix, with which times are compared; backend 'auto' where it is larger than `MEMORY_LIMIT`."""
    rows, cols = np.broadcast_to(size, 2).tolist()
    need = joseph.estimated_bytes(rows, cols, len(theta), columns)
    backend = "matrix" if need <= MEMORY_LIMIT else "auto"
    return ParallelBeamProjector(size, theta, columns, center, backend=backend, device=device)


def sparse_mlem(problem: Problem) -> Image:
    """200 iterations over this package's sparse matrix, which is kept from one problem to the next."""
    own = problem.projector
    projector = matrix_projector(own.domain_shape, own.theta, own.columns, float(own.center), own.device)
    return mlem(projector, problem.sinogram, 200)[0]


def _astra_model(problem: Problem) -> ParallelBeamProjector:
    own = problem.projector
    return ParallelBeamProjector(own.domain_shape, own.theta, own.columns, own.center, backend="astra")


def _gpu(problem: Problem) -> dict[str, Any]:
    return {"GPUindex": problem.sinogram.device.index or 0} if problem.astra_cuda else {}


def _em_cuda(problem: Problem, iterations: int, init: np.ndarray | None = None) -> np.ndarray:
    sinogram, theta, center = problem.measured
    data = sinogram.clip(min=0)
    return peers.astra_algorithm("EM_CUDA", data, theta, center, iterations, init, **_gpu(problem))


def astra_mlem(problem: Problem) -> Image:
    """200 iterations: EM_CUDA, or where ASTRA has no GPU the same iteration over its CPU projector."""
    if problem.astra_cuda:
        return _em_cuda(problem, 200)
    return mlem(_astra_model(problem), problem.sinogram.cpu(), 200)[0]


def _mssim(problem: Problem, image: np.ndarray) -> float:
    assert problem.truth is not None  # `methods.reconstruct` refuses an oracle without a truth
    return metrics.mssim(problem.truth, image)


def astra_mlem_best(problem: Problem) -> Image:
    """The one of `STOPS` iterations with the highest MSSIM."""
    images = _stopped_em_cuda(problem) if problem.astra_cuda else _stopped_mlem(problem)
    return max(images, key=lambda image: _mssim(problem, image))


def _stopped_em_cuda(problem: Problem) -> Iterator[np.ndarray]:
    image = None
    for before, stop in pairwise((0, *STOPS)):
        image = _em_cuda(problem, stop - before, image)
        yield image


def _stopped_mlem(problem: Problem) -> Iterator[np.ndarray]:
    model, data = _astra_model(problem), problem.sinogram.cpu()
    image = None
    for before, stop in pairwise((0, *STOPS)):
        image = mlem(model, data, stop - before, init=image)
        yield image[0].numpy()


def astra_sirt(problem: Problem) -> Image:
    """200 iterations, x ≥ 0."""
    name = "SIRT_CUDA" if problem.astra_cuda else "SIRT"
    return peers.astra_algorithm(name, *problem.measured, 200, MinConstraint=0, **_gpu(problem))


def astra_sart(problem: Problem) -> Image:
    """10 sweeps, x ≥ 0."""
    sinogram, theta, center = problem.measured
    order = np.argsort(np.arange(len(theta)) * 0.6180339887498949 % 1)  # neighbours in time are far apart in angle
    name = "SART_CUDA" if problem.astra_cuda else "SART"
    # The data in that order, not ASTRA's option of a custom order: in ASTRA 2.3.1 that ends the process.
    options = {"MinConstraint": 0, "ProjectionOrder": "sequential"} | _gpu(problem)
    return peers.astra_algorithm(
        name, sinogram[order], np.asarray(theta)[order], center, 10 * len(theta), init=None, **options
    )


def pml_hybrid(problem: Problem) -> Image:
    """TomoPy's ``pml_hybrid``, in steps that keep data and image above 0.

    It divides by its model of the data, and air would make everything NaN.
    """
    sinogram, theta, center = problem.measured
    data = sinogram.clip(min=1e-5 * sinogram.max())
    image = np.full((1, sinogram.shape[1], sinogram.shape[1]), data.mean() / sinogram.shape[1], np.float32)
    floor = 1e-3 * image.flat[0]
    for _ in range(20):
        options = {"num_iter": 10, "reg_par": np.array([1.0, 0.1], np.float32), "init_recon": image.clip(min=floor)}
        image = peers.tomopy_iterative("pml_hybrid", data, theta, center, **options)[None]
    return image[0]


def svmbir(problem: Problem) -> Image:
    """The qGGMRF reconstruction of svmbir for a signal-to-noise ratio of 40 dB, `SVMBIR_ITERATIONS` at most."""
    return peers.svmbir_qggmrf(*problem.measured, snr_db=40.0, max_iterations=SVMBIR_ITERATIONS)


def ganrec_package(problem: Problem) -> Image:
    """The ganrec package's own reconstruction, 1000 iterations, on the problem's device."""
    return peers.ganrec_package(*problem.measured, 1000, problem.seed, str(problem.sinogram.device))


def fitted(by_product: str | None = None, **options: Any) -> Callable[[Problem], Image]:
    """A function that reconstructs by `fit` with these options; the start image is the by-product of that name."""

    def run(problem: Problem) -> Image:
        result = fit(problem.projector, problem.sinogram, GanrecOptions(seed=problem.seed, **options))
        if by_product:
            problem.by_product[by_product] = result.start[0], result.seconds["start"]
        return result.image[0]

    return run


def tv_oracle(problem: Problem) -> Image:
    """The weight of highest MSSIM on a grid of factors 3 around the rule's own, followed until MSSIM falls."""
    best, image, own_weight = _weighted_tv(problem, None)
    for step in (3.0, 1 / 3):
        factor, improved = step, False
        while 1e-3 < factor < 1e3:
            score, candidate, _ = _weighted_tv(problem, factor * own_weight)
            if score <= best:
                break
            best, image, improved = score, candidate, True
            factor *= step
        if improved:
            break
    return image


def _weighted_tv(problem: Problem, weight: float | None) -> tuple[float, torch.Tensor, float]:
    """MSSIM, slice and weight of total variation; None: the weight of the rule."""
    options = GanrecOptions(tv_weight=weight, **TV_OPTIONS)
    result = fit(problem.projector, problem.sinogram, options)
    image = result.image[0]
    return _mssim(problem, image.cpu().numpy()), image, result.info[0]["tv_weight"]
