"""GANrec for TomoPy: missing-wedge tomography by a generative adversarial network that needs no training data.

>>> from tomopy_ganrec import ganrec
>>> volume = tomopy.recon(proj, theta, center=c, algorithm=ganrec)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Imported first: from now on a fork is noticed, whether torch is loaded by this package or by others.
from . import forks as _forks  # noqa: F401
from .package_version import VERSION

if TYPE_CHECKING:
    from . import io as io
    from . import metrics as metrics
    from . import phantoms as phantoms
    from .api import ReconInfo as ReconInfo
    from .api import ganrec as ganrec
    from .api import recon as recon
    from .options import GanrecOptions as GanrecOptions
    from .projector import ParallelBeamProjector as ParallelBeamProjector
    from .results import NonFiniteError as NonFiniteError
    from .results import Status as Status
    from .tomopy_registry import register as register
    from .tomopy_registry import unregister as unregister
    from .volume.memory import estimate_memory as estimate_memory
    from .volume.progress import Cancelled as Cancelled
    from .volume.progress import cancel as cancel

__version__ = VERSION

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


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: it is loaded with the first name that needs it.
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _LAZY_EXPORTS:
        value = getattr(import_module(f".{_LAZY_EXPORTS[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
