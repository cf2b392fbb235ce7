"""Test matrices as tagged data, and the stacks and memory layouts that are made of them.

Tags: `integer` (small integer entries, so the exact rank is the numerical one), `extreme` (entries
far from 1).
"""

from dataclasses import dataclass

import numpy as np

DTYPES = [np.dtype(code) for code in "fdFD"]


@dataclass(frozen=True)
class Case:
    name: str
    a: np.ndarray
    tags: frozenset[str] = frozenset()
    hermitian: bool = False

    def __str__(self):
        return f"{self.name}-{self.a.dtype}"


def make_cases(dtype):
    """Every case in one dtype; complex dtypes get complex entries."""
    draw = Draw(dtype, seed=1)
    single = draw.eps > 1e-10
    far = 1e30 if single else 1e150
    # Subnormal, and still so large that reciprocals do not overflow.
    low = draw.tiny * 0.6
    # The square is subnormal, and has few digits.
    tiny = np.sqrt(draw.tiny) / (100 if single else 1000)
    decay = np.logspace(0, -4 if single else -12, 6)
    hilbert = 1 / (np.arange(5 if single else 9)[:, None] + np.arange(1, 5 if single else 9))
    near_identity = np.eye(3) + draw.normal(3, 3) / 16

    def graded(m, n):
        return draw.unitary(m)[:, :6] * decay @ draw.unitary(n)[:6]

    general = {
        "square": draw.normal(5, 5),
        "tall": draw.normal(9, 3),
        "wide": draw.normal(3, 9),
        "row": draw.normal(1, 6),
        "column": draw.normal(6, 1),
        "one by one": draw.normal(1, 1),
        "graded": graded(6, 6),
        "graded tall": graded(9, 6),
        "graded wide": graded(6, 8),
        "hilbert": hilbert * draw.phases(hilbert.shape),
    }
    integer = {
        "integers": draw.integers(4, 4),
        "one by one integer": draw.integers(1, 1) + 3,
        "rank 1 of ones": np.ones((4, 3)) * draw.unit,
        "rank 2 square": draw.integers(5, 2) @ draw.integers(2, 5),
        "rank 3 tall": draw.integers(9, 3) @ draw.integers(3, 5),
        "rank 3 wide": draw.integers(4, 3) @ draw.integers(3, 9),
        "rank 1 with zero rows": np.outer([0, 1, 0, 2, 0], draw.integers(1, 3)),
        "equal columns": np.repeat(draw.integers(6, 2), 2, axis=1),
        "counting": np.arange(1, 10).reshape(3, 3) * draw.unit,
        "nilpotent": np.diag([2, 3, 5], 1) * draw.unit,
        "permutation": np.eye(5)[[3, 0, 4, 1, 2]] * draw.unit,
        "zero square": np.zeros((3, 3)),
        "zero tall": np.zeros((4, 2)),
        "zero one by one": np.zeros((1, 1)),
    }
    extreme = {
        "large": draw.normal(4, 4) * far,
        "small": draw.normal(4, 4) / far,
        "large of rank 2": draw.integers(4, 2) @ draw.integers(2, 6) * far,
        "small of rank 2": draw.integers(6, 2) @ draw.integers(2, 4) / far,
        "tiny corner": draw.normal(4, 4) * np.where(np.eye(4)[:1] * np.eye(4)[:, :1], tiny, 1),
        "tiny row": draw.normal(4, 3) * np.array([[tiny], [1], [1], [1]]),
        "tiny row and column": draw.normal(3, 3) * np.outer([1, 1, tiny], [tiny, 1, 1]),
        "subnormal": near_identity * low,
        "subnormal tall": np.vstack([near_identity, near_identity[:1] / 2]) * low,
    }

    b = draw.integers(5, 3)
    signs = np.diag([1, -2, 3])
    indefinite = draw.normal(5, 5)
    hermitian = {
        "hermitian indefinite": indefinite + indefinite.conj().T,
        "hermitian negative definite": -near_identity @ near_identity.conj().T,
        "hermitian graded": (u := draw.unitary(6)) * (decay * [1, -1, 1, 1, -1, -1]) @ u.conj().T,
        "hermitian large": far * (indefinite + indefinite.conj().T),
        "hermitian small": (indefinite + indefinite.conj().T) / far,
        "hermitian subnormal": low * (near_identity + near_identity.conj().T) / 2,
    }
    hermitian_integer = {
        "hermitian singular": b @ signs @ b.conj().T,
        "hermitian semidefinite": b @ b.conj().T,
        "hermitian saddle": np.block([[np.zeros((3, 3)), b.conj().T], [b, np.zeros((5, 5))]]),
        "hermitian swap": np.array([[0, draw.unit], [np.conj(draw.unit), 0]]),
        "hermitian diagonal": np.diag([-3, 0, 2, -1]),
        "hermitian negative one by one": np.array([[-7]]),
        "hermitian zero": np.zeros((4, 4)),
    }
    groups = [
        (general, (), False),
        (integer, ("integer",), False),
        (extreme, ("extreme",), False),
        (hermitian, (), True),
        (hermitian_integer, ("integer",), True),
    ]
    return [
        Case(name, np.asarray(a).astype(dtype), frozenset(tags), is_hermitian)
        for group, tags, is_hermitian in groups
        for name, a in group.items()
    ]


def mixed_stack(batch_shape, m, n, dtype, hermitian=False, seed=0):
    """A stack that cycles through ordinary, rank-deficient, zero, scaled and graded matrices."""
    draw = Draw(dtype, seed)
    rank = max(1, min(m, n) // 2)
    kinds = [
        lambda: draw.normal(m, n),
        lambda: draw.integers(m, rank) @ draw.integers(rank, n),
        lambda: np.zeros((m, n)),
        lambda: draw.normal(m, n) * 2.0**100,
        lambda: draw.normal(m, n) * np.logspace(0, -3, n),
        lambda: draw.normal(m, n) * 2.0**-100,
    ]
    stack = np.empty((*batch_shape, m, n), dtype)
    for flat, index in enumerate(np.ndindex(*batch_shape)):
        stack[index] = kinds[flat % len(kinds)]()
    return stack + stack.conj().swapaxes(-1, -2) if hermitian else stack


def random_stack(*shape, dtype="float64", seed=0):
    """A stack with entries from the standard normal distribution."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (a if np.dtype(dtype).kind == "c" else a.real).astype(dtype)


class Draw:
    """Random matrices for one dtype, in double precision."""

    def __init__(self, dtype, seed):
        self.rng = np.random.default_rng(seed)
        self.complex = np.dtype(dtype).kind == "c"
        self.unit = 1 + 2j if self.complex else 1
        self.eps = float(np.finfo(dtype).eps)
        self.tiny = float(np.finfo(dtype).tiny)

    def _both(self, one):
        return one() + 1j * one() if self.complex else one()

    def normal(self, m, n):
        return self._both(lambda: self.rng.standard_normal((m, n)))

    def integers(self, m, n):
        return self._both(lambda: self.rng.integers(-3, 4, (m, n)))

    def unitary(self, n):
        return np.linalg.qr(self.normal(n, n))[0]

    def phases(self, shape):
        return np.exp(1j * self.rng.uniform(0, 6, shape)) if self.complex else 1.0


def _into(place):
    """A function that copies an array into the memory that `place(shape, dtype)` lays out."""

    def layout(a):
        view = place(a.shape, a.dtype)
        view[...] = a
        return view

    return layout


def _flipped(axis):
    return _into(lambda shape, dtype: np.flip(np.empty(shape, dtype), axis))


def _moved(source, target):
    def place(shape, dtype):
        order = np.moveaxis(np.empty(shape, np.uint8), source, target).shape
        return np.moveaxis(np.empty(order, dtype), target, source)

    return _into(place)


def _unaligned(shape, dtype):
    memory = np.empty(dtype.itemsize * int(np.prod(shape)) + 1, np.uint8)
    return memory[1:].view(dtype).reshape(shape)


def _every_second(shape, dtype):
    return np.empty([2 * size for size in shape], dtype)[(slice(None, None, 2),) * len(shape)]


# Each copies a stack with two batch axes into memory with other strides.
LAYOUTS = {
    "C": _into(np.empty),
    "Fortran": _into(lambda shape, dtype: np.empty(shape, dtype, order="F")),
    "every second": _into(_every_second),
    "columns backwards": _flipped(-1),
    "rows backwards": _flipped(-2),
    "stack backwards": _flipped(0),
    "all backwards": _flipped(None),
    "matrices transposed": _moved(-1, -2),
    "batch axes swapped": _moved(0, 1),
    "batch axis innermost": _moved(0, -1),
    "unaligned": _into(_unaligned),
}


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def same_bits(x, y):
    """Whether two arrays agree in shape, dtype and every byte, NaN and signed zeros included."""
    x, y = np.asarray(x), np.asarray(y)
    return (
        x.shape == y.shape
        and x.dtype == y.dtype
        and np.array_equal(*(np.ascontiguousarray(v).reshape(-1).view(np.uint8) for v in (x, y)))
    )
