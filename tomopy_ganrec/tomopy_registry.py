"""Registration of GANrec with TomoPy, to be called by name."""

import importlib
from typing import Any

from .api import ganrec

__all__ = ["register", "unregister"]


def _tomopy() -> Any:
    """TomoPy's module of algorithms."""
    try:
        return importlib.import_module("tomopy.recon.algorithm")
    except ImportError as error:
        raise ImportError(
            "register() needs TomoPy, which is on conda-forge only: conda install -c conda-forge tomopy. Without it, "
            "call tomopy_ganrec.recon, which takes the same arguments as tomopy.recon"
        ) from error


class _Keywords(list[str]):
    """The keywords that ``tomopy.recon`` lets through to an algorithm chosen by name.

    TomoPy asks of each keyword given whether it is in this list, and iterates over the list to give a default value to
    each that is not given. It has a value for few names, and none that is this package's default: so any name is *in*
    the list, but iteration gives only those that it holds. `ganrec` itself refuses unknown names.
    """

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)


def register() -> None:
    """Make ``tomopy.recon(…, algorithm='ganrec', num_iter=20, options={…})`` work: enter GANrec into TomoPy's tables.

    All that works with ``algorithm=ganrec`` works by name, too: options as keywords or in ``options``, and functions
    that hand the name on (``tomopy.write_center``). TomoPy has no interface for further algorithms: this changes its
    private tables (tested with 1.15.2). Passing the function needs no registration and is the better way. `unregister`
    undoes it.

    Raises
    ------
    ImportError
        Without TomoPy.
    """
    module = _tomopy()
    module.extern.c_ganrec = ganrec
    module.allowed_recon_kwargs["ganrec"] = _Keywords(["num_gridx", "num_gridy", "options"])


def unregister() -> None:
    """Undo `register`; does nothing if it was not called."""
    module = _tomopy()
    module.allowed_recon_kwargs.pop("ganrec", None)
    if getattr(module.extern, "c_ganrec", None) is ganrec:
        del module.extern.c_ganrec
