"""Random rotations and mirrors of images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

__all__ = ["random_rotations", "rotate"]

# A copy rotated by less shows a network its own missing wedge (a mirrored one still may).
SMALLEST_ROTATION = math.radians(25)


def random_rotations(count: int, rng: torch.Generator) -> torch.Tensor:
    """Rotations between 25° and 155°, plus half turns at random, every second one mirrored.

    There is one in each of `count`/2 equal parts of that range.

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
    mirror = torch.where(k % 2 == 1, -1.0, 1.0).to(c)
    return torch.stack([torch.stack([c, -s * mirror], 1), torch.stack([s, c * mirror], 1)], 1)


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
