"""Random rotations and mirrors of images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

__all__ = ["random_rotations", "rotate"]

# A copy rotated by less shows a network its own missing wedge (a mirrored one still may).
SMALLEST_ROTATION = math.radians(25)


def random_rotations(count: int, rng: torch.Generator, axis: float = 0.0) -> torch.Tensor:
    """Rotations between 25° and 155°, plus half turns at random, every second one of an image mirrored before.

    There is one in each of `count`/2 equal parts of that range. Mirrored about the middle of the missing wedge, or at a
    right angle to it, an image has the same wedge, and no copy has that of the scan.

    Parameters
    ----------
    count : int
    rng : torch.Generator
    axis : float
        Direction about which images are mirrored: radians, counterclockwise from the rows' direction, as projection
        angles.

    Returns
    -------
    (count, 2, 2) tensor
        Orthogonal matrices.
    """
    k = torch.arange(count)
    parts = (count + 1) // 2
    share = (k // 2 + torch.rand(count, generator=rng, dtype=torch.float32)) / parts
    half_turns = math.pi * torch.randint(2, (count,), generator=rng)
    angle = SMALLEST_ROTATION + (math.pi - 2 * SMALLEST_ROTATION) * share + half_turns
    c, s = angle.float().cos(), angle.float().sin()
    rotations = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
    c2, s2 = math.cos(2 * axis), math.sin(2 * axis)
    rotations[1::2] = torch.tensor([[c2, -s2], [-s2, -c2]], dtype=torch.float32) @ rotations[1::2]
    return rotations


def rotate(x: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Rotate images by bicubic interpolation; zero outside.

    Parameters
    ----------
    x : (n, rows, cols) tensor
    matrices : (n, 2, 2) tensor
        The result at (column, row) from the middle is the image at the matrix times it.
    """
    rows, cols = x.shape[-2:]
    half = torch.tensor([cols / 2, rows / 2]).to(x)
    affine = F.pad(matrices.to(x) * half / half[:, None], (0, 1))
    grid = F.affine_grid(affine, [len(matrices), 1, rows, cols], align_corners=False)
    return F.grid_sample(x[:, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False)[:, 0]
