"""What the tests with PyTorch's tensors share."""

import numpy as np
import torch

from batchpinv import lstsq

DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]
EXACT = [torch.float64, torch.complex128]
SHAPES = [(4, 4), (5, 3), (3, 5), (2, 4, 3), (2, 0, 3, 2), (3, 0), (2, 2, 2, 5)]


def normal(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def low_rank(m, n, rank, dtype):
    return normal(m, rank, dtype=dtype), normal(rank, n, dtype=dtype, seed=1)


def equal(x, expected):
    assert isinstance(x, torch.Tensor)
    np.testing.assert_array_equal(x.detach().resolve_conj().numpy(), expected)


SYSTEMS = [
    ((4, 4), (4,)),
    ((5, 3), (5, 2)),
    ((3, 5), (6, 3, 2)),
    ((2, 4, 3), (2, 4)),
    ((0, 3), (0,)),
]


def solve(a, b):
    return lstsq(a, b)
