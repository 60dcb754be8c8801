"""Algorithms of TomoPy, midas-tomo, ASTRA, svmbir and the ganrec package on the grid of `ParallelBeamProjector`.

Each takes a sinogram (angles, columns) as an array and a rotation axis in the edge convention, and returns the square
float32 image (columns, columns) that `ParallelBeamProjector` would have, in attenuation per detector column.
"""

import contextlib
import importlib
import io
import os
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.ndimage import shift

from tomopy_ganrec.projector.astra_common import import_astra

__all__ = [
    "LEAST_OF_GANREC_PACKAGE",
    "astra_algorithm",
    "ganrec_package",
    "midas_gridrec",
    "missing",
    "svmbir_qggmrf",
    "tomopy_gridrec",
    "tomopy_iterative",
]


LEAST_OF_GANREC_PACKAGE = 109  # projections and columns, below which nothing is left for its discriminator's last layer

_HINTS = {
    "tomopy": ("TomoPy", "conda install -c conda-forge tomopy"),
    "midas_tomo": ("midas-tomo", "pip install 'tomopy_ganrec[gridrec]'"),
    "astra": ("the ASTRA toolbox", "pip install 'tomopy_ganrec[astra]'"),
    "svmbir": ("svmbir", "pip install svmbir"),
    "ganrectorch": ("the ganrec package", "pip install --no-deps ganrec==0.3.0; pip install quantities ipython"),
}


def missing(package: str) -> str | None:
    """Why a package ('tomopy', 'midas_tomo', 'astra', 'svmbir', 'ganrectorch') cannot be used here, or None."""
    name, install = _HINTS[package]
    try:
        with warnings.catch_warnings(), _torchvision_not_needed():
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


def svmbir_qggmrf(
    sinogram: np.ndarray, theta: np.ndarray, center: float, snr_db: float, max_iterations: int
) -> np.ndarray:
    """The reconstruction of svmbir with a qGGMRF prior, its other parameters as by default, on one core.

    svmbir counts the axis from the middle of the detector, as `center` minus half the columns, and draws rows and
    columns the other way round. What it keeps of a geometry goes into a folder that is removed.
    """
    svmbir = importlib.import_module("svmbir")
    columns = sinogram.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        image = svmbir.recon(
            np.ascontiguousarray(sinogram[:, None], np.float32),
            np.asarray(theta, np.float64),
            num_rows=columns,
            num_cols=columns,
            center_offset=center - columns / 2,
            snr_db=snr_db,
            max_iterations=max_iterations,
            num_threads=1,
            verbose=0,
            svmbir_lib_path=folder,
        )
    return np.ascontiguousarray(image[0].T)


@contextlib.contextmanager
def _torchvision_not_needed() -> Iterator[None]:
    """Put empty modules in the place of torchvision's, which the ganrec package imports and does not use here.

    torchvision's builds for CUDA, the ones on PyPI, do not import beside a torch for the CPU.
    """
    names = [name for name in ("torchvision", "torchvision.transforms") if name not in sys.modules]
    empty = {name: types.ModuleType(name) for name in names}
    for module in empty.values():
        module.__path__ = []
    sys.modules.update(empty)
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


def ganrec_package(
    sinogram: np.ndarray, theta: np.ndarray, center: float, iterations: int, seed: int, device: str
) -> np.ndarray:
    """``GANtomo`` of the ganrec package 0.3.0 (XYangXRay/ganrec), its torch half, with the parameters that it ships.

    As in its example the sinogram is normalised from 0 to 1, and its ``cal_intensity`` gives the image a scale by the
    mean sum of a projection. Its axis is the middle of the detector: the sinogram is moved to it. It is not compiled:
    ``torch.compile`` changes its speed alone.

    Raises
    ------
    ValueError
        For fewer than `LEAST_OF_GANREC_PACKAGE` projections or columns.
    """
    if min(sinogram.shape) < LEAST_OF_GANREC_PACKAGE:
        raise ValueError(
            f"the ganrec package needs at least {LEAST_OF_GANREC_PACKAGE} projections and columns, not {sinogram.shape}"
        )
    with warnings.catch_warnings(), _torchvision_not_needed(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        module, tools = (importlib.import_module(f"ganrectorch.{name}") for name in ("ganrec", "utils"))
        options = {"iter_num": iterations, "recon_monitor": False, "save_wpath": None, "init_wpath": None}
        centred = shift(sinogram.astype(np.float64), (0, sinogram.shape[1] / 2 - center), order=3, mode="nearest")
        precision, tuned = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
        cuda = [torch.device(device)] if device.startswith("cuda") else []
        try:
            with torch.random.fork_rng(cuda), torch.compiler.set_stance("force_eager"), torch.enable_grad():
                torch.manual_seed(seed)
                network = module.GANtomo(tools.nor_tomo(centred).astype(np.float32), np.float32(theta), **options)
                image = np.asarray(network.recon(), np.float32).reshape(centred.shape[1], -1)
        finally:
            torch.set_float32_matmul_precision(precision)
            torch.backends.cudnn.benchmark = tuned
        return tools.cal_intensity(centred[None], image[None])[0].astype(np.float32)
