"""Imports of packages that only some files need, with errors that say how to install them."""

import importlib
import logging
import warnings
from types import ModuleType

__all__ = ["import_dxchange", "import_h5py", "import_tifffile", "import_tomopy_normalize"]


def import_dxchange() -> ModuleType:
    """The real dxchange, or an ImportError that says what is there instead.

    ``pip install dxchange`` fetches another project of the same name (0.0.1, without `read_aps_32id`).
    """
    log = logging.getLogger("dxchange")
    level = log.level
    log.setLevel(logging.ERROR)  # on import it lists every format whose library is missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its dependencies' age
            module = importlib.import_module("dxchange")
    except ImportError as error:
        raise ImportError(
            f"dxchange cannot be imported ({error}); it is on conda-forge (conda install -c conda-forge dxchange), "
            "and in Debian as python3-dxchange"
        ) from error
    finally:
        log.setLevel(level)
    if not hasattr(module, "read_aps_32id"):
        raise ImportError(
            f"the package dxchange {getattr(module, '__version__', '')} that is installed is not the Data Exchange "
            "library but another project of that name from PyPI: pip uninstall dxchange, then conda install -c "
            "conda-forge dxchange (or Debian's python3-dxchange)"
        )
    return module


def import_tifffile() -> ModuleType:
    """The module tifffile, or an ImportError that says how to install it."""
    try:
        import tifffile
    except ImportError as error:
        raise ImportError("writing TIFFs needs tifffile: pip install 'tomopy_ganrec[io]'") from error
    return tifffile


def import_h5py() -> ModuleType:
    """The module h5py, or an ImportError that says how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("reading and writing HDF5 needs h5py: pip install 'tomopy_ganrec[io]'") from error
    return h5py


def import_tomopy_normalize() -> ModuleType:
    """TomoPy's module of flat-field correction, or an ImportError."""
    return importlib.import_module("tomopy.prep.normalize")
