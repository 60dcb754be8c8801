"""Image quality measures against a known truth: structural similarity, RMSE, and agreement of segmentations."""

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.filters import threshold_otsu
from skimage.metrics import structural_similarity

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["matthews_correlation", "mssim", "otsu_segmentation", "rmse", "ssim_map"]


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


def otsu_segmentation(image: "ArrayLike") -> np.ndarray:
    """The pixels above the threshold that parts an image's values best into two classes.

    N. Otsu, IEEE Trans. Syst. Man Cybern. 9, 62–66 (1979), over all pixels, with 256 bins.

    Parameters
    ----------
    image : (rows, cols) array_like

    Returns
    -------
    (rows, cols) bool array
        Nothing in an image of one value.

    Raises
    ------
    ValueError
        For values that are not finite, and an image without pixels.
    """
    values = np.asarray(image)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"an image {values.shape} cannot be segmented: it is empty or has values that are not finite")
    threshold: Any = threshold_otsu  # scikit-image is not annotated
    found: np.ndarray = values > threshold(values)
    return found


def matthews_correlation(truth: "ArrayLike", segmentation: "ArrayLike") -> float:
    """Matthews' correlation coefficient (MCC) of two segmentations: 1 where they agree, 0 for chance, −1 for opposites.

    B. W. Matthews, Biochim. Biophys. Acta 405, 442–451 (1975); the score of the Helsinki Tomography Challenge 2022. It
    is the correlation coefficient of the two images of zeros and ones.

    Parameters
    ----------
    truth, segmentation : (rows, cols) array_like
        Whether a pixel is of the material: bool, or zeros and ones.

    Returns
    -------
    float
        0 where one of them has a single class.

    Raises
    ------
    ValueError
        Unless both have the same shape (rows, columns) and hold zeros and ones alone.
    """
    expected, found = _pair(truth, segmentation)
    for image in (expected, found):
        if not np.isin(image, (0, 1)).all():
            raise ValueError("a segmentation must hold zeros and ones; `otsu_segmentation` makes one of an image")
    expected, found = expected - expected.mean(), found - found.mean()
    norm = float(np.linalg.norm(expected) * np.linalg.norm(found))
    return float(np.vdot(expected, found)) / norm if norm > 0 else 0.0
