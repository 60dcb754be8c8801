"""Table of the compared reconstruction methods: names, settings and costs."""

from collections.abc import Callable
from dataclasses import dataclass

from .implementations import (
    STOPS,
    SVMBIR_ITERATIONS,
    TV_OPTIONS,
    Image,
    Problem,
    astra_mlem,
    astra_mlem_best,
    astra_sart,
    astra_sirt,
    filtered_back_projection,
    fitted,
    ganrec_package,
    pml_hybrid,
    sparse_mlem,
    svmbir,
    tv_oracle,
)
from .peers import LEAST_OF_GANREC_PACKAGE
from .restated import DIP_ITERATIONS, DIRECTIONAL_TV_ITERATIONS, dip_tv, directional_tv_in_circle

__all__ = ["COSTLY", "METHODS", "PADDED_GRIDREC", "PLAIN_GRIDREC", "Method"]


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
    slow : bool
        A peer that is slower than quality='best': it runs in some cases alone, see `tasks.runs_of`.
    least : int
        Projections and columns that it needs at least: it does not run with fewer.
    package : str or None
        Package that it needs besides this one's requirements.
    """

    name: str
    label: str
    description: str
    parameters: str
    run: Callable[[Problem], Image]
    cost: float
    unavailable: str | None = None
    oracle: bool = False
    seeded: bool = False
    noisy_only: bool = False
    cpu_only: bool = False
    slow: bool = False
    least: int = 0
    package: str | None = None


# Parameters are compared with those of stored rows: where a text here changes, its slices are reconstructed anew.
_SHEPP_LOGAN = "filter: Shepp–Logan; "
PLAIN_GRIDREC = _SHEPP_LOGAN + "not padded, not clipped, as in the GANrec paper"
PADDED_GRIDREC = _SHEPP_LOGAN + "padded to twice the width, cropped, clipped at 0, 0 outside of the field of view"
_TV = "λ from the noise in the sinogram, 170 iterations, x ≥ 0"
_BOUND = "max_attenuation='auto'"
_START = (
    "120 iterations of TV for area-mean pixels; 8 rounds of 28 reweighted iterations; "
    f"frequencies, λ and ε from its residual; {_BOUND}"
)
_FIT = f"{_START}; 50 iterations of the fit at most"
_FINE_GRID = f"{_START}; the same on a grid twice as fine below about 3e4 photons"

# Or of interest to few; svmbir, dip-tv and ganrec-package are slower than quality='best'.
COSTLY = (
    "tv-oracle",
    "ganrec-outline",
    "ganrec-best",
    "ganrec-best-unlearned",
    "ganrec-paper",
    "mlem",
    "svmbir",
    "dip-tv",
    "ganrec-package",
)

# In the order of tables; gridrec, whose provider depends on what is installed, comes after the first.
METHODS = (
    Method(
        "fbp",
        "FBP",
        "filtered back projection",
        "ramp filter, π / projections each, not clipped",
        filtered_back_projection,
        cost=0.02,
    ),
    Method(
        "astra-mlem",
        "ASTRA MLEM",
        "maximum-likelihood expectation maximisation",
        "200 iterations; EM_CUDA, or on a CPU the same over ASTRA's linear projector",
        astra_mlem,
        cost=4.5,
        package="astra",
    ),
    Method(
        "astra-mlem-best",
        "ASTRA MLEM, best stop",
        "MLEM stopped where it is nearest to the truth",
        f"the best by MSSIM of {', '.join(map(str, STOPS))} iterations",
        astra_mlem_best,
        cost=4.5,
        oracle=True,
        noisy_only=True,
        package="astra",
    ),
    Method(
        "mlem",
        "MLEM",
        "MLEM with this package's sparse matrix: what times are compared with",
        "200 iterations",
        sparse_mlem,
        cost=1.0,
    ),
    Method(
        "astra-sirt",
        "ASTRA SIRT",
        "simultaneous iterative reconstruction",
        "200 iterations, x ≥ 0",
        astra_sirt,
        cost=3.5,
        package="astra",
    ),
    Method(
        "astra-sart",
        "ASTRA SART",
        "simultaneous algebraic reconstruction, projection by projection",
        "10 sweeps in golden-ratio order, relaxation 1, x ≥ 0",
        astra_sart,
        cost=0.3,
        package="astra",
    ),
    Method(
        "pml_hybrid",
        "TomoPy pml_hybrid",
        "penalised maximum likelihood of TomoPy",
        "20 × 10 iterations, reg_par = 1, 0.1, data and image kept above 0",
        pml_hybrid,
        cost=7.0,
        cpu_only=True,
        package="tomopy",
    ),
    Method(
        "tv",
        "TV",
        "total variation, solved by a ramp-preconditioned primal-dual algorithm",
        _TV,
        fitted(**TV_OPTIONS),
        cost=1.6,
    ),
    Method(
        "tv-bound",
        "TV + bound",
        "the same total variation with an upper bound on attenuation, found in the data",
        f"{_TV}, {_BOUND}",
        fitted(**TV_OPTIONS | {"max_attenuation": "auto"}),
        cost=2.4,
    ),
    Method(
        "tv-oracle",
        "TV, best λ",
        "total variation with the weight that is nearest to the truth",
        "λ of highest MSSIM, in factors of 3 around the rule's",
        tv_oracle,
        cost=6.0,
        oracle=True,
    ),
    Method(
        "tv-directional",
        "TV, directional, bounded",
        "total variation with an L1 term along the measured direction and bounds, as CIL's second entry to HTC2022",
        f"λ = 0.0032 × columns / 512, μ = 3 λ, {DIRECTIONAL_TV_ITERATIONS} iterations, 0 ≤ x ≤ the material's "
        "attenuation, which it is told (none in scans without), in the circle that encloses the measured edges",
        directional_tv_in_circle,
        cost=7.0,
    ),
    Method(
        "svmbir",
        "svmbir",
        "model-based iterative reconstruction with a qGGMRF prior, of the package svmbir",
        f"snr_db = 40, p = 1.2, T = 1, sharpness = 0, x ≥ 0, {SVMBIR_ITERATIONS} iterations at most",
        svmbir,
        cost=28.0,
        cpu_only=True,
        slow=True,
        package="svmbir",
    ),
    Method(
        "dip-tv",
        "DIP + TV",
        "deep image prior: an untrained U-Net fitted to the sinogram, with total variation",
        f"λ = 0.0032 × columns / 512, ramp-filtered residual, {DIP_ITERATIONS} iterations of Adam at 0.005, running "
        "mean",
        dip_tv,
        cost=120.0,
        seeded=True,
        slow=True,
    ),
    Method(
        "ganrec-package",
        "ganrec package",
        "GANtomo of the ganrec package 0.3.0, the torch code of Yang et al. 2020",
        "its own parameters: 1000 iterations, l1_ratio = 100, rates of 0.001; its cal_intensity for units; its "
        f"discriminator needs {LEAST_OF_GANREC_PACKAGE} projections and columns at least",
        ganrec_package,
        cost=600.0,
        seeded=True,
        slow=True,
        least=LEAST_OF_GANREC_PACKAGE,
        package="ganrectorch",
    ),
    Method("ganrec", "GANrec", "this package's default", _FIT, fitted("ganrec-start"), cost=9.0, seeded=True),
    Method(
        "ganrec-start",
        "start of GANrec",
        "what the fit begins with: edge-reweighted total variation",
        _START,
        fitted(num_iter=0),
        cost=6.0,
    ),
    Method(
        "ganrec-unbounded",
        "GANrec without bound",
        "control: the default with max_attenuation=None",
        _FIT.replace(_BOUND, "max_attenuation=None"),
        fitted(max_attenuation=None),
        cost=9.0,
        seeded=True,
    ),
    Method(
        "ganrec-no-discriminator",
        "GANrec without discriminator",
        "control: the same fit, adversarial=0",
        _FIT,
        fitted(adversarial=0),
        cost=8.8,
        seeded=True,
    ),
    Method(
        "ganrec-no-network",
        "GANrec without network",
        "control: free pixels only, network=False",
        _FIT,
        fitted(network=False),
        cost=8.0,
        seeded=True,
    ),
    Method(
        "ganrec-levels",
        "GANrec, levels",
        "levels='auto': grey levels found in the slice",
        f"{_FIT}; levels='auto'",
        fitted(levels="auto"),
        cost=9.3,
        seeded=True,
    ),
    Method(
        "ganrec-outline",
        "GANrec, outline",
        "mask='outline': nothing outside of the outline that the edges of the projections show",
        f"{_FIT}; mask='outline'",
        fitted(mask="outline"),
        cost=9.0,
        seeded=True,
    ),
    Method(
        "ganrec-best",
        "GANrec, best",
        "quality='best': a network learned from the scan, a finer grid where there is little noise",
        f"{_FINE_GRID}; 3 rounds of wedge learning for angular ranges below 176°",
        fitted(quality="best"),
        cost=50.0,
        seeded=True,
    ),
    Method(
        "ganrec-best-unlearned",
        "GANrec, best, without learning",
        "control: quality='best', wedge_rounds=0",
        _FINE_GRID,
        fitted(quality="best", wedge_rounds=0, num_iter=0),
        cost=20.0,
    ),
    Method(
        "ganrec-paper",
        "GANrec, paper",
        "preset='paper': network, losses and normalisation of Yang et al. 2020",
        "1000 iterations",
        fitted(preset="paper"),
        cost=180.0,
        seeded=True,
    ),
)
