"""SciPy's sparse matrices as torch tensors, and their products with batches of vectors."""

import warnings

import numpy as np
import scipy.sparse
import torch

__all__ = ["applied", "nbytes", "torch_csr"]


def torch_csr(matrix: scipy.sparse.csr_matrix) -> torch.Tensor:
    """A sparse tensor of the same rows, columns and values; it shares their memory where that is contiguous."""
    pointers, indices, values = (
        torch.from_numpy(np.ascontiguousarray(a)) for a in (matrix.indptr, matrix.indices, matrix.data)
    )
    with warnings.catch_warnings():  # torch says once that its sparse tensors are in beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_csr_tensor(pointers, indices, values, size=matrix.shape, check_invariants=False)


def applied(matrix: torch.Tensor, flat: torch.Tensor) -> torch.Tensor:
    """An (m, n) matrix applied to each of the vectors (B, n): (B, m), contiguous."""
    if flat.shape[0] == 1:
        return (matrix @ flat[0])[None]
    return (matrix @ flat.T.contiguous()).T.contiguous()


def nbytes(*matrices: torch.Tensor) -> int:
    """Memory held, in bytes."""
    return sum(a.nbytes for m in matrices for a in (m.values(), m.col_indices(), m.crow_indices()))
