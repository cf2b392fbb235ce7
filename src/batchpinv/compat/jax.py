"""`pinv` and `lstsq` with the signatures of `jax.numpy.linalg`, for arrays on the CPU."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ._calls import UNKNOWN, compute_lstsq, compute_pinv, replaces

__all__ = ["lstsq", "pinv"]

_svd = jnp.linalg.svd


def _read(a: Any) -> jax.Array | None:
    if not isinstance(a, jax.Array):
        a = jnp.asarray(a)
    if a.size == 0 or a.dtype.kind == "b" or jax.default_backend() != "cpu":
        return None
    return a.astype(jnp.result_type(a.dtype, float))


@replaces("jax.numpy.linalg.pinv", jnp.linalg.pinv)
def pinv(a: Any, rtol: Any = None, hermitian: bool = False, *, rcond: Any = None) -> Any:
    """The pseudo-inverse, with JAX's default tolerance of ``10 * max(m, n) * eps``.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
    rtol : array_like of real, optional
        Singular values up to ``rtol * s1`` are dropped.
    hermitian : bool, default False
    rcond : array_like of real, optional
        The old name of `rtol`.

    Returns
    -------
    jax.Array, shape (*, n, m)

    Raises
    ------
    ValueError, TypeError
        As ``jax.numpy.linalg.pinv`` raises them.

    See Also
    --------
    batchpinv.pinv : its default tolerance is a tenth of this one.

    Examples
    --------
    >>> from batchpinv.compat.jax import pinv
    >>> pinv([[2.0, 0.0], [0.0, 0.0]]).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    matrices = _read(a)
    if matrices is None or matrices.ndim < 2 or type(hermitian) is not bool:
        return UNKNOWN
    if rtol is not None and rcond is not None:
        return UNKNOWN
    if hermitian:  # JAX reads both triangles
        matrices = (matrices + matrices.mT.conj()) / 2
    rtol = rcond if rtol is None else rtol
    if rtol is None:
        rtol = 10 * max(matrices.shape[-2:]) * float(jnp.finfo(matrices.dtype).eps)
    return compute_pinv(matrices, rtol=rtol, hermitian=hermitian, on_failure="nan")


@replaces("jax.numpy.linalg.lstsq", jnp.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None, *, numpy_resid: bool = False) -> Any:
    """The least-squares solution, residuals, rank and singular values.

    Parameters
    ----------
    a : array_like, shape (m, n)
    b : array_like, shape (m,) or (m, k)
    rcond : float, optional
        Singular values below ``rcond * s1`` are dropped. Default: ``max(m, n) * eps``.
    numpy_resid : bool, default False
        Whether residuals are empty if NumPy's are: if rank < n or m <= n. Not under ``jit``.

    Returns
    -------
    x : jax.Array, shape (n,) or (n, k)
    residuals : jax.Array, shape (k,), or (1,) if b is (m,)
    rank : jax.Array of int
    s : jax.Array, shape (min(m, n),)

    Raises
    ------
    ValueError, TypeError
        As ``jax.numpy.linalg.lstsq`` raises them.

    See Also
    --------
    batchpinv.lstsq : x alone, and for stacks.

    Examples
    --------
    >>> from batchpinv.compat.jax import lstsq
    >>> x, residuals, rank, s = lstsq([[1.0], [0.0]], [3.0, 0.0])
    >>> x.tolist(), rank.item()
    ([3.0], 1)
    """
    matrices, sides = _read(a), _read(b)
    if matrices is None or sides is None or matrices.ndim != 2 or sides.ndim not in (1, 2):
        return UNKNOWN
    if rcond is not None and jnp.ndim(rcond) != 0:
        return UNKNOWN
    m, n = matrices.shape
    dtype = jnp.promote_types(matrices.dtype, sides.dtype)
    matrices, sides = matrices.astype(dtype), sides.astype(dtype)
    eps = float(jnp.finfo(dtype).eps)
    if rcond is not None:  # it may be traced
        rcond = jnp.where(jnp.asarray(rcond) < 0, eps, rcond)
        rcond = jnp.nextafter(rcond, jnp.zeros_like(rcond))  # JAX keeps what is equal to it
    x, rank, residuals = compute_lstsq(
        matrices,
        sides,
        rtol=max(m, n) * eps if rcond is None else rcond,
        return_rank=True,
        return_residuals=True,
        on_failure="nan",
    )
    if numpy_resid and (rank < n or m <= n):
        residuals = jnp.asarray([])
    s = _svd(matrices, compute_uv=False)
    return x, jnp.atleast_1d(residuals), jnp.asarray(rank), s
