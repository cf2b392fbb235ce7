"""`linalg.pinv`, `pinverse` and `linalg.lstsq` with the signatures of `torch`, for tensors on the
CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.jit import _builtins as torch_script
from torch.utils._device import DeviceContext

from ._calls import UNKNOWN, compute_lstsq, compute_pinv, default_rtol, replacements, replaces

__all__ = ["linalg", "pinverse"]

_REAL = (torch.float32, torch.float64)
_DTYPES = (*_REAL, torch.complex64, torch.complex128)
_PLAIN = (torch.Tensor, torch.nn.Parameter)
# From these sizes on our `lstsq` takes less time than 'gelsy', measured on two cores: 64 matrices
# (of 3×3 0.6 of its time, of 100×20 0.5), and long matrices or right-hand sides of a million
# entries (100,000×10 0.25, 20,000×50 0.4). One matrix of 3×3 takes 1.8 times as long, of 10,000×2
# twice. These constants and the next one were measured by hand: no command of `benchmarks` measures
# them again.
_MANY = 64
_LARGE = 1_000_000
# From so many entries on our `pinv` takes less time if a gradient is to follow: one matrix of 20×5
# takes 2.5 times as long as PyTorch's, 4 of them 0.65 times.
_WITH_GRADIENT = 256
_is_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)


def _is_watched() -> bool:
    """Whether a mode intercepts calls of PyTorch's functions, or they are recorded for programs
    that have no others. What `torch.compile` records is only for this process."""
    if torch.compiler.is_compiling():
        return _is_exporting()
    modes = map(torch._C._get_function_stack_at, range(torch._C._len_torch_function_stack()))
    # DeviceContext is set_default_device's mode.
    intercepts = not all(isinstance(mode, DeviceContext) for mode in modes)
    return intercepts or bool(torch._C._is_tracing()) or bool(torch._C._len_torch_dispatch_stack())


def _is_plain(*tensors: Any) -> bool:
    return not _is_watched() and all(
        type(a) in _PLAIN
        and a.device.type == "cpu"
        and a.layout == torch.strided
        and a.dtype in _DTYPES
        and a.ndim >= 1
        and a.numel() > 0
        for a in tensors
    )


def _pinv_pays(A: torch.Tensor) -> bool:
    if torch.compiler.is_compiling():
        return True
    is_recorded = A.requires_grad and torch.is_grad_enabled()
    return not is_recorded or bool(A.numel() >= _WITH_GRADIENT)


def _lstsq_pays(A: torch.Tensor, B: torch.Tensor) -> bool:
    if torch.compiler.is_compiling():
        return True
    m, n = A.shape[-2:]
    is_long = max(m, n) >= 8 * min(m, n)
    are_many = A.numel() >= _MANY * m * n
    return bool(are_many or (A.numel() >= _LARGE and is_long) or B.numel() >= _LARGE)


def _are_tolerances(*given: Any) -> bool:
    """As PyTorch's overloads take them: only numbers, or only tensors."""
    kinds = {type(tol) for tol in given if tol is not None}
    if kinds <= {int, float}:
        return True
    return kinds <= {torch.Tensor} and all(
        tol.device.type == "cpu"
        and tol.dtype in _REAL
        and tol.numel() > 0
        and not tol.requires_grad
        for tol in given
        if tol is not None
    )


def _fits(out: Any, A: torch.Tensor) -> bool:
    """Whether `out` can take the result as it is, without a resize, a cast or an error."""
    if not _is_plain(out) or out.requires_grad or A.requires_grad:
        return False
    return bool(out.dtype == A.dtype and out.shape == (*A.shape[:-2], A.shape[-1], A.shape[-2]))


@replaces("torch.linalg.pinv", torch.linalg.pinv, _is_exporting)
def _pinv(
    input: Any,
    rcond: Any = None,
    hermitian: Any = False,
    *,
    atol: Any = None,
    rtol: Any = None,
    out: Any = None,
) -> Any:
    """The pseudo-inverse, with all parameters and gradients of ``torch.linalg.pinv``.

    Parameters
    ----------
    input : Tensor, shape (*, m, n)
    rcond : float or Tensor, optional
        The old name of `rtol`.
    hermitian : bool, default False
    atol, rtol : float or Tensor, optional
    out : Tensor, shape (*, n, m), optional

    Returns
    -------
    Tensor, shape (*, n, m)

    Raises
    ------
    RuntimeError, TypeError
        As ``torch.linalg.pinv`` raises them.

    See Also
    --------
    batchpinv.pinv : the same with more options, and also for other libraries.

    Examples
    --------
    >>> import torch
    >>> from batchpinv.compat.torch import linalg
    >>> linalg.pinv(torch.tensor([[2.0, 0.0], [0.0, 0.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    if (
        not _is_plain(input)
        or type(hermitian) is not bool
        or not _are_tolerances(rcond, atol, rtol)
    ):
        return UNKNOWN
    if rcond is not None and not (atol is rtol is None):
        return UNKNOWN
    if not _pinv_pays(input) or (out is not None and not _fits(out, input)):
        return UNKNOWN
    rtol = rtol if rcond is None else rcond
    if atol is None and rtol is None:
        rtol = default_rtol(input)
    return compute_pinv(input, atol=atol, rtol=rtol, hermitian=hermitian, out=out)


@replaces("torch.pinverse", torch.pinverse, _is_exporting)
def pinverse(input: Any, rcond: Any = 1e-15) -> Any:
    """The pseudo-inverse with a tolerance of 1e-15 for every dtype, as ``torch.pinverse``.

    Parameters
    ----------
    input : Tensor, shape (*, m, n)
    rcond : float, default 1e-15

    Returns
    -------
    Tensor, shape (*, n, m)

    Raises
    ------
    RuntimeError, TypeError
        As ``torch.pinverse`` raises them.

    Examples
    --------
    >>> import torch
    >>> from batchpinv.compat.torch import pinverse
    >>> pinverse(torch.tensor([[2.0], [0.0]])).tolist()
    [[0.5, 0.0]]
    """
    return _with_rcond(input, rcond)


@replaces("torch.Tensor.pinverse", torch.Tensor.pinverse, _is_exporting)
def _pinverse(self: Any, rcond: Any = 1e-15) -> Any:
    """`pinverse` as a method."""
    return _with_rcond(self, rcond)


def _with_rcond(a: Any, rcond: Any) -> Any:
    if not (_is_plain(a) and type(rcond) in (int, float) and _pinv_pays(a)):
        return UNKNOWN
    return compute_pinv(a, rtol=rcond)


@replaces("torch.linalg.lstsq", torch.linalg.lstsq, _is_exporting)
def _lstsq(input: Any, b: Any, rcond: Any = None, *, driver: Any = None) -> Any:
    """The least-squares solution, residuals, ranks and singular values.

    Parameters
    ----------
    input : Tensor, shape (*, m, n)
    b : Tensor, shape (*, m, k) or (*, m)
    rcond : float, optional
        Singular values up to ``rcond * s1`` are dropped, while PyTorch's 'gelsy' only estimates
        the rank. Default: ``max(m, n) * eps``.
    driver : {'gelsy', 'gelsd', 'gelss', 'gels'}, default 'gelsy'
        All but 'gelsy' are left to PyTorch: 'gelsd' and 'gelss' return singular values, which take
        most of their time, and 'gels' returns no rank. Fewer than 64 matrices are left to PyTorch,
        too, unless they are long or the right-hand sides are many: its 'gelsy' is as fast.

    Returns
    -------
    torch.return_types.linalg_lstsq
        (solution, residuals, rank, singular_values). Residuals and singular values are empty, as
        PyTorch's are with 'gelsy'.

    Raises
    ------
    RuntimeError, TypeError
        As ``torch.linalg.lstsq`` raises them.

    See Also
    --------
    batchpinv.lstsq : the solution alone, and more options.

    Examples
    --------
    >>> import torch
    >>> from batchpinv.compat.torch import linalg
    >>> found = linalg.lstsq(torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]]))
    >>> found.solution.round(decimals=5).tolist(), found.rank.item()
    ([[2.0]], 1)
    """
    if not _is_plain(input, b) or input.dtype != b.dtype or driver not in (None, "gelsy"):
        return UNKNOWN
    if rcond is not None and not (type(rcond) in (int, float) and 0 < rcond < 1):
        return UNKNOWN
    is_vector = b.ndim == 1 or b.shape == input.shape[:-1]
    if input.ndim < 2 or b.ndim != input.ndim - is_vector or not _lstsq_pays(input, b):
        return UNKNOWN
    rtol = default_rtol(input) if rcond is None else rcond
    x, rank = compute_lstsq(input, b, rtol=rtol, return_rank=True)
    nothing = input.detach().new_empty(0).real
    result: Any = torch.return_types
    return result.linalg_lstsq((x, nothing, torch.as_tensor(rank), nothing.clone()))


class linalg:
    """``torch.linalg``'s `pinv` and `lstsq`."""

    pinv = staticmethod(_pinv)
    lstsq = staticmethod(_lstsq)


for _replacement in replacements.values():  # TorchScript compiles ours to the original's operator
    if _replacement.library == "torch":
        torch_script._register_builtin(
            _replacement, torch_script._find_builtin(_replacement.original)
        )
