"""Algorithms of TomoPy, midas-tomo and ASTRA on the grid of `ParallelBeamProjector`.

Each takes a sinogram (angles, columns) as an array and a rotation axis in the edge convention, and returns the square
float32 image (columns, columns) that `ParallelBeamProjector` would have, in attenuation per detector column.
"""

import contextlib
import importlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.ndimage import shift

from tomopy_ganrec.projector.astra_common import import_astra

__all__ = ["astra_algorithm", "midas_gridrec", "missing", "tomopy_gridrec", "tomopy_iterative"]


_HINTS = {
    "tomopy": ("TomoPy", "conda install -c conda-forge tomopy"),
    "midas_tomo": ("midas-tomo", "pip install 'tomopy_ganrec[gridrec]'"),
    "astra": ("the ASTRA toolbox", "pip install 'tomopy_ganrec[astra]'"),
}


def missing(package: str) -> str | None:
    """Why a package ('tomopy', 'midas_tomo' or 'astra') cannot be used here, or None."""
    name, install = _HINTS[package]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that are not needed here
            importlib.import_module(package)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            return f"{name} is not installed ({install})"
        return f"{name} cannot be imported: {error}"
    return None


def _moved(image: np.ndarray, rows: float, cols: float) -> np.ndarray:
    """The image moved by parts of a pixel, by quintic splines."""
    return shift(image.astype(np.float64), (rows, cols), order=5, mode="nearest").astype(np.float32)


def _padded(sinogram: np.ndarray, left: int, right: int) -> np.ndarray:
    return np.ascontiguousarray(np.pad(sinogram, ((0, 0), (left, right))), np.float32)


def tomopy_gridrec(
    sinogram: np.ndarray, theta: np.ndarray, center: float, pad: bool, filter_name: str = "shepp"
) -> np.ndarray:
    """TomoPy's gridrec, unpadded as in its default call, or padded to twice the width and cropped.

    gridrec counts the axis from the middle of the first column, and draws on a grid that is moved by (−0.5, +0.5) pixel
    for an even width, by (−1, +1) for an odd one; both are undone. Where the width is a power of two its first row and
    last column come from outside its memory, different in each run: their neighbours take their place.
    """
    tomopy = importlib.import_module("tomopy")
    columns = sinogram.shape[1]
    margin = columns // 2 if pad else 0
    padded = _padded(sinogram, margin, margin)[None]
    image = tomopy.recon(
        padded, theta, center - 0.5 + margin, sinogram_order=True, algorithm="gridrec", filter_name=filter_name, ncore=1
    )[0]
    if padded.shape[2] & (padded.shape[2] - 1) == 0:
        image[0], image[:, -1] = image[1], image[:, -2]
    off = 0.5 if columns % 2 == 0 else 1.0
    return _moved(image, off, -off)[margin : margin + columns, margin : margin + columns]


def midas_gridrec(sinogram: np.ndarray, theta: np.ndarray, center: float, pad: bool) -> np.ndarray:
    """The gridrec of midas-tomo with its Shepp–Logan filter, turned, moved and scaled (1.12) towards TomoPy's.

    A stand-in: on shale, 96², 180°, MSSIM is 0.747 against TomoPy's 0.743 unpadded, but 0.864 against 0.926 padded.
    It works on widths that are powers of two; other widths are padded to the next one beforehand.
    """
    midas = importlib.import_module("midas_tomo")
    columns = sinogram.shape[1]
    width = 2 ** int(np.ceil(np.log2(2 * columns if pad else columns)))
    left = (width - columns) // 2
    padded = _padded(sinogram, left, width - columns - left)[None]
    options = dict(filter_nr=1, do_log=False, auto_centering=False, backend="subprocess")
    with tempfile.TemporaryDirectory() as folder, _silenced():
        image = midas.run_tomo_from_sinos(
            padded, folder, np.rad2deg(theta), shifts=0.5 + width / 2 - center - left, **options
        )
    image = _moved(np.rot90(np.asarray(image).reshape(width, width)), -0.5, 0.5)
    # Where the margins are unequal the axis, and with it the grid's centre, is off the middle of the padded width: the
    # grid stays centred on it.
    start = (width - columns) / 2
    image = image if start == int(start) else _moved(image, -0.5, -0.5)
    return 1.12 * image[int(start) : int(start) + columns, int(start) : int(start) + columns]


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Discard the standard output of this process and of programs that it starts meanwhile."""
    standard_output = os.dup(1)
    try:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 1)
        yield
    finally:
        os.dup2(standard_output, 1)
        os.close(standard_output)


def tomopy_iterative(
    algorithm: str, sinogram: np.ndarray, theta: np.ndarray, center: float, **options: Any
) -> np.ndarray:
    """An iterative algorithm of TomoPy, on one core."""
    tomopy = importlib.import_module("tomopy")
    data = np.ascontiguousarray(sinogram[None], np.float32)
    return tomopy.recon(data, theta, center, sinogram_order=True, algorithm=algorithm, ncore=1, **options)[0]


def astra_algorithm(
    name: str,
    sinogram: np.ndarray,
    theta: np.ndarray,
    center: float,
    iterations: int,
    init: np.ndarray | None = None,
    **options: Any,
) -> np.ndarray:
    """An algorithm of ASTRA: on the GPU for a name ending in ``_CUDA``, else on the CPU by its ``linear`` projector."""
    astra = import_astra()
    columns = sinogram.shape[1]
    proj_geom = astra.geom_postalignment(astra.create_proj_geom("parallel", 1.0, columns, theta), columns / 2 - center)
    vol_geom = astra.create_vol_geom(columns, columns)
    data = astra.data2d.create("-sino", proj_geom, np.ascontiguousarray(sinogram, np.float32))
    start = init if init is not None else float(name.startswith("EM"))  # EM multiplies: it starts at 1
    image = astra.data2d.create("-vol", vol_geom, start)
    projector = astra.create_projector("cuda" if name.endswith("_CUDA") else "linear", proj_geom, vol_geom)
    algorithm = None
    try:
        settings = astra.astra_dict(name)
        settings.update(ProjectorId=projector, ProjectionDataId=data, ReconstructionDataId=image, option=options)
        algorithm = astra.algorithm.create(settings)
        astra.algorithm.run(algorithm, iterations)
        return astra.data2d.get(image)
    finally:
        if algorithm is not None:
            astra.algorithm.delete(algorithm)
        astra.data2d.delete([data, image])
        astra.projector.delete(projector)
