"""Masks from files: where the object may be, as 0 and 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tomopy_ganrec.option_values import shown

from .optional import import_tifffile

__all__ = ["read_mask"]

SUFFIXES = (".npy", ".tif", ".tiff")


def read_mask(path: str | Path) -> np.ndarray:
    """The array of a mask file; 8-bit images of 0 and 255 become 0 and 1.

    Parameters
    ----------
    path : str or Path
        A .npy file or a TIFF of one page (rows, columns), or of one a slice.

    Returns
    -------
    (rows, cols) or (slices, rows, cols) array
        Not checked further; the option ``mask`` does.

    Raises
    ------
    ValueError
        For another kind of file, and for one that is damaged.
    FileNotFoundError
    """
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"mask={shown(str(path))} is neither True, False or 'outline' nor a file that ends in {', '.join(SUFFIXES)}"
        )
    if not file.is_file():
        raise FileNotFoundError(f"there is no mask file {file}")
    try:
        if file.suffix.lower() == ".npy":
            array = np.load(file, allow_pickle=False)
        else:
            array = import_tifffile().imread(file)
    except ImportError:
        raise
    except Exception as error:  # whatever the libraries raise for a damaged file
        raise ValueError(f"the mask file {file} cannot be read: {error or type(error).__name__}") from error
    if array.dtype == np.uint8 and array.size and array.max() == 255 and np.isin(array, (0, 255)).all():
        array = array == 255
    return np.asarray(array)
