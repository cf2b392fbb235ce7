"""`linalg.pinv`, `pinverse` and `linalg.lstsq` as `torch` has them, for tensors on the CPU."""

from __future__ import annotations

from typing import Any

import torch

from ._calls import UNKNOWN, compute_lstsq, compute_pinv, default_rtol, replaces

__all__ = ["linalg", "pinverse"]

_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def _is_plain(*tensors: Any) -> bool:
    return all(
        isinstance(a, torch.Tensor)
        and a.device.type == "cpu"
        and a.layout == torch.strided
        and a.dtype in _DTYPES
        and a.ndim >= 1
        and a.numel() > 0
        for a in tensors
    )


@replaces("torch.linalg.pinv", torch.linalg.pinv)
def _pinv(
    A: Any,
    rcond: Any = None,
    hermitian: Any = False,
    *,
    atol: Any = None,
    rtol: Any = None,
    out: Any = None,
) -> Any:
    """The pseudo-inverse, `torch.linalg.pinv` as it is; gradients, too.

    Parameters
    ----------
    A : Tensor, shape (*, m, n)
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
    batchpinv.pinv : the same, with more options.

    Examples
    --------
    >>> import torch
    >>> from batchpinv.compat.torch import linalg
    >>> linalg.pinv(torch.tensor([[2.0, 0.0], [0.0, 0.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    if not _is_plain(A) or (out is not None and not _is_plain(out)):
        return UNKNOWN
    if rcond is not None and rtol is not None:
        return UNKNOWN
    rtol = rtol if rcond is None else rcond
    if atol is None and rtol is None:
        rtol = default_rtol(A)
    return compute_pinv(A, atol=atol, rtol=rtol, hermitian=bool(hermitian), out=out)


@replaces("torch.pinverse", torch.pinverse)
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
    return compute_pinv(input, rtol=rcond) if _is_plain(input) else UNKNOWN


@replaces("torch.linalg.lstsq", torch.linalg.lstsq)
def _lstsq(A: Any, B: Any, rcond: Any = None, *, driver: Any = None) -> Any:
    """The least-squares solution, residuals, ranks and singular values.

    Parameters
    ----------
    A : Tensor, shape (*, m, n)
    B : Tensor, shape (*, m, k) or (*, m)
    rcond : float, optional
        Singular values up to ``rcond * s1`` are dropped. Default: ``max(m, n) * eps``. 'gelsy',
        too, is understood so, where PyTorch's estimates ranks.
    driver : {'gelsy', 'gelsd', 'gelss', 'gels'}, default 'gelsy'
        The others are left to PyTorch: they return singular values, which take most of their time,
        or none and no rank.

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
    >>> found.solution.tolist(), found.rank.item()
    ([[2.0]], 1)
    """
    if not _is_plain(A, B) or A.dtype != B.dtype or driver not in (None, "gelsy"):
        return UNKNOWN
    if rcond is not None and not 0 < rcond < 1:
        return UNKNOWN
    rtol = default_rtol(A) if rcond is None else rcond
    x, rank = compute_lstsq(A, B, rtol=rtol, return_rank=True)
    nothing = A.detach().new_empty(0).real
    result: Any = torch.return_types
    return result.linalg_lstsq((x, nothing, torch.as_tensor(rank), nothing.clone()))


class linalg:
    """``torch.linalg``'s `pinv` and `lstsq`."""

    pinv = staticmethod(_pinv)
    lstsq = staticmethod(_lstsq)
