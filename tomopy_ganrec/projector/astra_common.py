"""Import of the ASTRA toolbox and averaging of rays, for ASTRA's CPU and CUDA backends."""

from types import ModuleType

import torch

__all__ = ["fold_rays", "import_astra", "unfold_rays"]


def import_astra() -> ModuleType:
    """The ASTRA toolbox; imported late, and after torch, since some GPU builds clash otherwise.

    Raises
    ------
    ImportError
        Where it is missing or does not load; the message says how to get it.
    """
    try:
        import astra
    except ImportError as error:
        raise ImportError(
            f"this backend needs the ASTRA toolbox ({error}): pip install 'astra-toolbox>=2.3.1', "
            "or conda install -c conda-forge astra-toolbox; or use backend='matrix'"
        ) from error
    return astra


def fold_rays(sinogram: torch.Tensor, rays_per_bin: int) -> torch.Tensor:
    """Average neighbouring rays: (B, angles, columns·rays) to (B, angles, columns)."""
    return sinogram if rays_per_bin == 1 else torch.unflatten(sinogram, 2, (-1, rays_per_bin)).mean(3)


def unfold_rays(sinogram: torch.Tensor, rays_per_bin: int) -> torch.Tensor:
    """The adjoint of `fold_rays`."""
    return sinogram if rays_per_bin == 1 else (sinogram / rays_per_bin).repeat_interleave(rays_per_bin, 2)
