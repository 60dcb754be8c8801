"""The reconstructions that are set beside each other."""

import time

from ..fit import fit
from ..initial import fbp, mlem
from ..options import GanrecOptions

__all__ = ["reconstructions"]


def reconstructions(projector, sinograms, controls=False, levels=True):
    """Reconstruct sinograms by one method after the other.

    Parameters
    ----------
    projector : ParallelBeamProjector
    sinograms : (B, angles, columns) tensor
    controls : bool
        Also the fit without its network, and without its discriminator.
    levels : bool
        Also with ``levels='auto'``.

    Yields
    ------
    (str, (B, rows, cols) tensor, float)
        Name, images, seconds. The fit's start image has a row of its own.
    """

    def timed(run):
        began = time.perf_counter()
        return run(), time.perf_counter() - began

    def fitted(**options):
        return timed(lambda: fit(projector, sinograms, GanrecOptions(**options)).image)

    yield "FBP", *timed(lambda: fbp(projector, sinograms, projector.theta))
    yield "MLEM-200", *timed(lambda: mlem(projector, sinograms, 200))
    yield "TV", *fitted(reweight=0, num_iter=0)
    result = fit(projector, sinograms)
    yield "start of ganrec", result.start, result.seconds["start"]
    yield "ganrec", result.image, sum(result.seconds.values())
    if controls:
        yield "ganrec without network", *fitted(network=False)
        yield "ganrec without discriminator", *fitted(adversarial=0)
    if levels:
        yield "ganrec, levels='auto'", *fitted(levels="auto")
