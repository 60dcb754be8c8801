"""GANrec for TomoPy: tomography with a missing wedge, reconstructed by a network that learns from the scan itself.

>>> from tomopy_ganrec import ganrec
>>> volume = tomopy.recon(proj, theta, center=c, algorithm=ganrec)
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from . import forks as _forks  # noqa: F401  # from now on a fork is noticed, whether torch is loaded by this package or by others

try:
    __version__ = version("tomopy_ganrec")
except PackageNotFoundError:  # used from a source tree that was not installed
    __version__ = "0.0.0"

_LAZY_EXPORTS = {
    "ganrec": "api",
    "recon": "api",
    "register": "tomopy_registry",
    "unregister": "tomopy_registry",
    "ReconInfo": "api",
    "cancel": "volume.progress",
    "Cancelled": "volume.progress",
    "GanrecOptions": "options",
    "estimate_memory": "volume.memory",
    "ParallelBeamProjector": "projector",
    "NonFiniteError": "results",
    "Status": "results",
}
_MODULES = ("phantoms", "metrics", "io")

__all__ = [*_LAZY_EXPORTS, *_MODULES, "__version__"]


def __getattr__(name):
    # torch takes seconds to import; it is loaded when the first thing that needs it is asked for
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _LAZY_EXPORTS:
        value = getattr(import_module(f".{_LAZY_EXPORTS[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
