"""Sparse matrices of scipy as tensors of torch, applied to batches."""

import warnings

import numpy as np
import scipy.sparse
import torch

__all__ = ["applied", "nbytes", "torch_csr"]


def torch_csr(matrix: scipy.sparse.csr_matrix) -> torch.Tensor:
    parts = (torch.from_numpy(np.ascontiguousarray(a)) for a in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():  # torch says once that its sparse tensors are in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(*parts, size=matrix.shape, check_invariants=False)


def applied(matrix: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    """(B, n) times the transposed (m, n) matrix: (B, m), contiguous."""
    if flat.shape[0] == 1:
        return (matrix @ flat[0])[None]
    return (matrix @ flat.T.contiguous()).T.contiguous()


def nbytes(*matrices: torch.Tensor) -> int:
    """Memory held, in bytes."""
    return sum(a.nbytes for m in matrices for a in (m.values(), m.col_indices(), m.crow_indices()))
