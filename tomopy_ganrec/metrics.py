"""Image quality measures against a known truth: structural similarity and root mean square error."""

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.metrics import structural_similarity

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["mssim", "rmse", "ssim_map"]


def _pair(truth: "ArrayLike", image: "ArrayLike") -> tuple[np.ndarray, np.ndarray]:
    """The two in float64; a ValueError unless both have the same shape (rows, columns)."""
    truth, image = np.asarray(truth, np.float64), np.asarray(image, np.float64)
    if truth.shape != image.shape or truth.ndim != 2:
        raise ValueError(
            f"the truth has shape {truth.shape}, the image {image.shape}; both must be the same (rows, columns)"
        )
    return truth, image


def _ssim(truth: "ArrayLike", image: "ArrayLike", data_range: float, gaussian: bool) -> tuple[np.floating, np.ndarray]:
    """Mean structural similarity, and the value at each pixel."""
    window: dict[str, Any] = dict(win_size=7)
    if gaussian:
        window = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    truth, image = _pair(truth, image)
    compare: Any = structural_similarity  # scikit-image is not annotated
    return compare(truth, image, data_range=data_range, full=True, **window)


def ssim_map(truth: "ArrayLike", image: "ArrayLike", data_range: float = 1.0, gaussian: bool = True) -> np.ndarray:
    """Structural similarity at each pixel.

    Z. Wang et al., IEEE Trans. Image Process. 13, 600–612 (2004).

    Parameters
    ----------
    truth, image : (rows, cols) array_like
        In the same units; nothing is rescaled.
    data_range : float
        The range of the truth's values; 1 for this package's phantoms.
    gaussian : bool
        The original's Gaussian window of 1.5 pixels and population covariance (the convention in which MLEM gives the
        values of the GANrec paper); False for scikit-image's default 7×7 window.

    Returns
    -------
    (rows, cols) float64 array
        1 where the two agree.

    Raises
    ------
    ValueError
        Unless both have the same shape (rows, columns).
    """
    return _ssim(truth, image, data_range, gaussian)[1]


def mssim(truth: "ArrayLike", image: "ArrayLike", data_range: float = 1.0, gaussian: bool = True) -> float:
    """Mean structural similarity; parameters and errors are those of `ssim_map`."""
    return float(_ssim(truth, image, data_range, gaussian)[0])


def rmse(truth: "ArrayLike", image: "ArrayLike") -> float:
    """Root mean square of the difference, in the units of the images.

    Parameters
    ----------
    truth, image : (rows, cols) array_like

    Raises
    ------
    ValueError
        Unless both have the same shape (rows, columns).
    """
    truth, image = _pair(truth, image)
    return float(np.sqrt(np.mean((truth - image) ** 2)))
