"""Evidence in sinograms of what the pixels of an object are: area means or points."""

from __future__ import annotations

import math

import numpy as np
import torch

from tomopy_ganrec.solvers.wedge import measured_range

__all__ = ["are_area_means", "position_between"]

# Cycles per column. Below, the two models agree; above, an unfinished total variation has no more of the object.
BAND = 0.05, 0.2
LEAST_LENGTH = 64  # of a transform: a short detector has too few frequencies in the band

# Pixels are area means where the position exceeds AREA_POSITION and so many of its standard deviations. Noise-free it
# was .62 to 1.08 for structure below the pixel and .18 to .53 for square pixels over 90° and more, .49 to .98 and -.26
# to .49 over 60 and 70° (77 slices). Over a wide range noise moves it upward, for square pixels with 1e5 photons to .33
# to .98: hence deviations above. Over a narrow one total variation absorbs most of the difference; there doubt favours
# area means, which real objects are and whose weights suit few angles better.
AREA_POSITION = 0.6
DEVIATIONS_NARROW, DEVIATIONS_WIDE = -1.0, 1.5
NARROW, WIDE = math.radians(70), math.radians(90)  # angular ranges of the two; linear in between


def are_area_means(position: torch.Tensor, error: torch.Tensor, theta: np.ndarray) -> torch.Tensor:
    """Whether the pixels of slices are area means, (n,) bool.

    Parameters
    ----------
    position, error : (n,) tensors
        Of `position_between`.
    theta : (angles,) array
        Radians.
    """
    wide = min(max((measured_range(theta) - NARROW) / (WIDE - NARROW), 0.0), 1.0)
    deviations = DEVIATIONS_NARROW + (DEVIATIONS_WIDE - DEVIATIONS_NARROW) * wide
    return position > AREA_POSITION + deviations * error


def position_between(
    data: torch.Tensor, point: torch.Tensor, area: torch.Tensor, noise: torch.Tensor, joint: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where data lie between the sinograms of two reconstructions, 0 at the first and 1 at the second, and its error.

    With the band's spectra b of the data, m of the mean of the two sinograms and d of their difference, area minus
    point, the position is ½ + a of the least squares ::

        minimise over a, g, h   Σ |b − (g + h f) m − a d|²      (over the angles and the frequencies f of the band).

    The gain g + h f is free because total variation reduces the contrast of what it reconstructs: b then resembles
    whichever sinogram has more of the middle frequencies, and that is always the one of area means, whatever the object
    is. A comparison of the two residuals has this bias.

    Parameters
    ----------
    data : (n, angles, columns) tensor
    point, area : (n, angles, columns) tensor
        Sinograms of reconstructions with point pixels and with area means, as the detector sees them.
    noise : (n, 1, 1) tensor
        Standard deviation of the noise of the data, in their units.
    joint : bool
        One position for all slices.

    Returns
    -------
    position, error : (n,) float64 tensors
        The error is the standard deviation that white noise gives the position. Where the two sinograms do not differ,
        there is nothing to choose from: the position is 1.
    """
    length = max(data.shape[-1], LEAST_LENGTH)
    f = torch.fft.rfftfreq(length, device=data.device, dtype=torch.float64)
    inside = (f > BAND[0]) & (f <= BAND[1])

    def spectrum(sinogram: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(torch.fft.rfft(sinogram.double(), n=length)[..., inside])

    tiny = torch.finfo(torch.float64).tiny
    mean, difference = spectrum((point + area) / 2), spectrum(area - point)
    centred = (f[inside] - sum(BAND) / 2)[:, None]
    gains: list[torch.Tensor] = []
    for gain in (mean, centred * mean):
        rest = _without(gain, gains)
        gains.append(rest / (_inner(rest, rest) + tiny).sqrt())
    difference = _without(difference, gains)
    along, square = _inner(difference, spectrum(data)).flatten(), _inner(difference, difference).flatten()
    variance = noise.flatten().double() ** 2 * length / 2 * square
    if joint:
        along, square, variance = (x.sum().expand_as(x) for x in (along, square, variance))
    known = square > 0
    square = square + tiny
    return torch.where(known, 0.5 + along / square, 1.0), variance.sqrt() / square


def _inner(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Inner products of the slices' spectra, (n, 1, 1, 1)."""
    return (first * second).sum((1, 2, 3), keepdim=True)


def _without(spectrum: torch.Tensor, directions: list[torch.Tensor]) -> torch.Tensor:
    """A spectrum without its parts along orthonormal directions."""
    for direction in directions:
        spectrum = spectrum - _inner(direction, spectrum) * direction
    return spectrum
