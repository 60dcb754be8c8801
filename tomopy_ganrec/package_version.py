"""Version of the package, as installed; 0.0.0 for a source tree that was not installed."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["VERSION"]

try:
    VERSION = version("tomopy_ganrec")
except PackageNotFoundError:
    VERSION = "0.0.0"
