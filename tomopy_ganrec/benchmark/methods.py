"""Every reconstruction that can be set beside the others, under one signature.

``methods()[name].run(problem)`` takes a `Problem` and gives a slice. Weights are fixed, or set by a rule that sees no truth; a method that looks at
the truth says so (`oracle`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from tomopy_ganrec.projector.astra_common import import_astra
from tomopy_ganrec.solvers.forward_model import field_of_view

from . import implementations as solve
from . import peers
from .cases import near
from .implementations import Problem

__all__ = ["Method", "Problem", "chosen", "methods", "reconstruct"]


@dataclass(frozen=True)
class Method:
    """A way to reconstruct.

    Attributes
    ----------
    name, label, description, parameters : str
        For choosing it, for tables, in a line, and all that is set.
    run : callable
        `Problem` to (rows, cols) array or tensor.
    cost : float
        Rough time on a CPU, in units of 200 MLEM iterations with the sparse matrix, for estimates.
    unavailable : str or None
        Why it cannot run here.
    oracle : bool
        It chooses something by the truth.
    seeded : bool
        Its result depends on `Problem.seed`.
    noisy_only : bool
        Without noise it would be the same as another.
    cpu_only : bool
        It computes on one core of the CPU, wherever the problem is.
    """

    name: str
    label: str
    description: str
    parameters: str
    run: Callable[[Problem], object]
    cost: float
    unavailable: str | None = None
    oracle: bool = False
    seeded: bool = False
    noisy_only: bool = False
    cpu_only: bool = False


def _gridrec(pad: bool) -> Method:
    name = "gridrec-padded" if pad else "gridrec"
    absent, provider = peers.missing("tomopy"), peers.tomopy_gridrec
    label, stand_in = ("gridrec, padded" if pad else "gridrec"), ""
    if absent:
        other = peers.missing("midas_tomo")
        provider, label, stand_in = peers.midas_gridrec, f"{label} (midas-tomo)", ", scaled by 1.12"
        absent = other and f"{absent}, and {other}"

    def run(problem: Problem):
        image = provider(*problem.measured, pad)
        return image.clip(min=0) * field_of_view(problem.projector).numpy() if pad else image

    how = (
        "padded to twice the width, cropped, clipped at 0, 0 outside of the field of view"
        if pad
        else "not padded, not clipped, as in the GANrec paper"
    )
    return Method(
        name,
        label,
        "gridrec; its grid's shift undone",
        f"filter: Shepp–Logan; {how}{stand_in}",
        run,
        0.03,
        absent,
        cpu_only=True,
    )


def methods() -> dict[str, Method]:
    """All methods by name, in the order of tables; those that this machine cannot run say why."""
    astra, tomopy = peers.missing("astra"), peers.missing("tomopy")
    astra_cpu = bool(astra) or not import_astra().use_cuda()
    tv = "λ from the noise in the sinogram, 170 iterations, x ≥ 0"
    start = "120 iterations of TV for pixels as means; 8 rounds of 28 reweighted iterations; frequencies, λ and ε from its residual"
    own = f"{start}; 50 iterations of the fit at most"
    found = [
        Method("fbp", "FBP", "filtered back projection", "ramp filter, π / projections each, not clipped", solve.filtered_back_projection, 0.02),
        _gridrec(False),
        _gridrec(True),
        Method(
            "astra-mlem", "ASTRA MLEM", "maximum-likelihood expectation maximisation", "200 iterations; EM_CUDA, or on a CPU the same over ASTRA's "
            "linear projector", solve.astra_mlem, 4.5, astra,
            cpu_only=astra_cpu,
        ),
        Method(
            "astra-mlem-best", "ASTRA MLEM, best stop", "MLEM stopped where it is nearest to the truth",
            f"the best by MSSIM of {', '.join(map(str, solve.STOPS))} iterations", solve.astra_mlem_best, 4.5, astra, oracle=True,
            noisy_only=True,
        ),
        Method(
            "mlem", "MLEM", "MLEM with this package's sparse matrix: what times are compared with", "200 iterations",
            solve.sparse_mlem, 1.0,
        ),
        Method(
            "astra-sirt", "ASTRA SIRT", "simultaneous iterative reconstruction", "200 iterations, x ≥ 0", solve.astra_sirt, 3.5, astra,
            cpu_only=astra_cpu,
        ),
        Method(
            "astra-sart", "ASTRA SART", "simultaneous algebraic reconstruction, projection by projection",
            "10 sweeps in golden-ratio order, relaxation 1, x ≥ 0", solve.astra_sart, 0.3, astra,
            cpu_only=astra_cpu,
        ),
        Method(
            "pml_hybrid", "TomoPy pml_hybrid", "penalised maximum likelihood of TomoPy",
            "20 × 10 iterations, reg_par = 1, 0.1, data and image kept above 0", solve.pml_hybrid, 7.0, tomopy, cpu_only=True,
        ),
        Method(
            "tv", "TV", "total variation, solved by a ramp-preconditioned primal-dual algorithm", tv,
            solve.fitted(reweight_rounds=0, num_iter=0, pixel_model="point"), 1.6,
        ),
        Method(
            "tv-oracle", "TV, best λ", "total variation with the weight that is nearest to the truth",
            "λ of highest MSSIM, in factors of 3 around the rule's", solve.tv_oracle, 6.0, oracle=True,
        ),
        Method("ganrec", "GANrec", "this package's default", own, solve.fitted("ganrec-start"), 9.0, seeded=True),
        Method("ganrec-start", "start of GANrec", "what the fit begins with: edge-reweighted total variation", start, solve.fitted(num_iter=0), 6.0),
        Method(
            "ganrec-no-discriminator", "GANrec without discriminator", "control: the same fit, adversarial=0", own, solve.fitted(adversarial=0), 8.8,
            seeded=True,
        ),
        Method(
            "ganrec-no-network", "GANrec without network", "control: free pixels only, network=False", own, solve.fitted(network=False), 8.0,
            seeded=True,
        ),
        Method(
            "ganrec-levels", "GANrec, levels", "levels='auto': grey levels found in the slice", f"{own}; levels='auto'",
            solve.fitted(levels="auto"), 9.3, seeded=True,
        ),
        Method(
            "ganrec-best", "GANrec, best", "quality='best': a network learned from the scan, a finer grid where there is little noise",
            f"{start}; the same on a grid twice as fine below about 3e4 photons; 3 lessons for wedges below 176°", solve.fitted(quality="best"), 50.0,
            seeded=True,
        ),
        Method(
            "ganrec-best-unlearned", "GANrec, best, without learning", "control: quality='best', wedge_rounds=0",
            f"{start}; the same on a grid twice as fine below about 3e4 photons", solve.fitted(quality="best", wedge_rounds=0, num_iter=0), 20.0,
        ),
        Method(
            "ganrec-paper", "GANrec, paper", "preset='paper': network, losses and normalisation of Yang et al. 2020", "1000 iterations",
            solve.fitted(preset="paper"), 180.0, seeded=True,
        ),
    ]  # fmt: skip
    return {method.name: method for method in found}


_EXTRA = ("tv-oracle", "ganrec-best", "ganrec-best-unlearned", "ganrec-paper", "mlem")  # costly, or of interest to few


def chosen(names=None) -> list[Method]:
    """Methods by name, in the order of tables: None for the default ones, 'all' for all; `ValueError` for a name that is not known."""
    known = methods()
    names = list(
        [name for name in known if name not in _EXTRA]
        if names is None
        else known
        if names in ("all", ["all"])
        else names
    )
    for name in names:
        if name not in known:
            raise ValueError(
                f"method {name!r} is not known{near(name, known)}; choose from {', '.join(known)}, or 'all'"
            )
    return [method for name, method in known.items() if name in names]


def reconstruct(method: Method, problem: Problem) -> tuple[np.ndarray, float]:
    """Run a method, or take what another made on its way: the slice, (rows, cols) float32, and the seconds it took.

    Raises
    ------
    RuntimeError
        Where the method cannot run here, needs a truth that is not there, or its slice is not finite.
    """
    if method.unavailable:
        raise RuntimeError(method.unavailable)
    if method.oracle and problem.truth is None:
        raise RuntimeError("it chooses by the truth, and there is none")
    if method.name in problem.by_product:
        image, seconds = problem.by_product[method.name]
    else:
        _synchronize(problem)
        began = time.perf_counter()
        image = method.run(problem)
        _synchronize(problem)
        seconds = time.perf_counter() - began
    image = np.array(image.cpu().numpy() if isinstance(image, torch.Tensor) else image, np.float32)
    if not np.isfinite(image).all():
        raise RuntimeError(f"its slice has {np.count_nonzero(~np.isfinite(image))} values that are not finite")
    return image, seconds


def _synchronize(problem: Problem) -> None:
    if problem.cuda:
        torch.cuda.synchronize(problem.sinogram.device)
