"""Image quality against a known truth."""

import numpy as np
from skimage.metrics import structural_similarity

__all__ = ["mssim", "rmse", "ssim_map"]


def _pair(truth, image):
    truth, image = (np.asarray(a, np.float64) for a in (truth, image))
    if truth.shape != image.shape or truth.ndim != 2:
        raise ValueError(
            f"the truth has shape {truth.shape}, the image {image.shape}; both must be the same (rows, columns)"
        )
    return truth, image


def _ssim(truth, image, data_range, gaussian):
    window = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False) if gaussian else dict(win_size=7)
    return structural_similarity(*_pair(truth, image), data_range=data_range, full=True, **window)


def ssim_map(truth, image, data_range=1.0, gaussian=True) -> np.ndarray:
    """Structural similarity at each pixel.

    Z. Wang et al., IEEE Trans. Image Process. 13, 600–612 (2004).

    Parameters
    ----------
    truth, image : (rows, cols) array_like
        In the same units; nothing is rescaled.
    data_range : float
        The range of the truth's values; 1 for this package's phantoms.
    gaussian : bool
        The original's Gaussian window of 1.5 pixels and population covariance (the convention in which MLEM lands on the figures of the
        GANrec paper); False for scikit-image's default 7×7 window.

    Returns
    -------
    (rows, cols) float64 array
        1 where the two agree.
    """
    return _ssim(truth, image, data_range, gaussian)[1]


def mssim(truth, image, data_range=1.0, gaussian=True) -> float:
    """Mean structural similarity; the parameters are those of `ssim_map`."""
    return float(_ssim(truth, image, data_range, gaussian)[0])


def rmse(truth, image) -> float:
    """Root mean square of the difference, in the units of the images."""
    truth, image = _pair(truth, image)
    return float(np.sqrt(np.mean((truth - image) ** 2)))
