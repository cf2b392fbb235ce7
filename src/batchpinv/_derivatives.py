"""Derivatives of the pseudo-inverse from A and X = pinv(A) alone, for arrays of any library.

Along matrices of constant rank (Golub and Pereyra, SIAM J. Numer. Anal. 10, 1973, theorem 4.3)

    dX = -X dA X + X X^H dA^H (I - A X) + (I - X A) dA^H X^H X,

in which nothing is divided by a gap between singular values. Each function multiplies in the order
that costs least: square matrices are of the smaller side only, and what two terms share is computed
once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import read_factor
from ._batch import UsualArithmetic

Given = ParamSpec("Given")
Found = TypeVar("Found")


def as_usual(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """The same, whatever the caller has set for NumPy's warnings and the floating-point unit."""

    @functools.wraps(function)
    def run(*arguments: Given.args, **options: Given.kwargs) -> Found:
        return run_as_usual(function, *arguments, **options)

    return run


def run_as_usual(
    function: Callable[Given, Found], *arguments: Given.args, **options: Given.kwargs
) -> Found:
    with np.errstate(all="ignore"), UsualArithmetic():
        return function(*arguments, **options)


@as_usual
def pinv_jvp(a: ArrayLike, x: ArrayLike, da: ArrayLike, hermitian: bool = False) -> NDArray[Any]:
    """Directional derivative of the pseudo-inverse, for code that computes derivatives itself.

    For PyTorch and JAX this is not needed: they differentiate `pinv` themselves.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
        One matrix, or a stack of them.
    x : array_like, shape (*, n, m)
        Its pseudo-inverse, ``pinv(a)``, also with a tolerance that dropped singular values.
    da : array_like, shape (*, m, n)
        The direction: a derivative of `a`. The batch shapes of all three broadcast.
    hermitian : bool, default False
        Whether `a` is Hermitian, as given to `pinv`: only the Hermitian part of `da` counts.

    Returns
    -------
    dx : ndarray, shape (*, n, m)
        The derivative of `x` along `da`, provided that the number of singular values that are kept
        stays the same along it. In units of `x` * `x` * `da`.

    Raises
    ------
    TypeError
        If an argument is one that `pinv` refuses: for its dtype, for units or masked entries, or
        because it is sparse.
    ValueError
        If the shapes do not fit each other.

    See Also
    --------
    pinv : the pseudo-inverse itself.
    pinv_vjp : the transpose of this map, for reverse mode.

    Notes
    -----
    The formula is that of Golub and Pereyra [1]_. It needs no singular vectors.

    References
    ----------
    .. [1] G. H. Golub and V. Pereyra, The differentiation of pseudo-inverses and nonlinear least
       squares problems whose variables separate, SIAM J. Numer. Anal. 10 (1973), theorem 4.3.

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv import pinv, pinv_jvp
    >>> a, da = np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    >>> pinv_jvp(a, pinv(a), da)
    array([[-0.25,  0.  ],
           [ 0.  ,  0.  ]])
    """
    a, x, da = read_factor(a, "a"), read_factor(x, "x"), read_factor(da, "da")
    _check_shapes(a, x, da=da.shape[-2:] == a.shape[-2:])
    return np.asarray(jvp(a, x, da, hermitian))


@as_usual
def pinv_vjp(a: ArrayLike, x: ArrayLike, gx: ArrayLike, hermitian: bool = False) -> NDArray[Any]:
    """Gradient with respect to a matrix, from that with respect to its pseudo-inverse.

    It is for code that computes derivatives itself, as `pinv_jvp` is.

    Parameters
    ----------
    a : array_like, shape (*, m, n)
        One matrix, or a stack of them.
    x : array_like, shape (*, n, m)
        Its pseudo-inverse, ``pinv(a)``, also with a tolerance that dropped singular values.
    gx : array_like, shape (*, n, m)
        Gradient of a real function with respect to `x`. For complex matrices gradients follow
        PyTorch: a step dx changes the function by ``sum(real(conj(gx) * dx))``. The batch shapes
        of all three broadcast.
    hermitian : bool, default False
        Whether `a` is Hermitian, as given to `pinv`; then so is the result.

    Returns
    -------
    ga : ndarray, shape (*, m, n)
        Gradient with respect to `a`, provided that the number of singular values that are kept
        stays the same.

    Raises
    ------
    TypeError
        If an argument is one that `pinv` refuses: for its dtype, for units or masked entries, or
        because it is sparse.
    ValueError
        If the shapes do not fit each other.

    See Also
    --------
    pinv : the pseudo-inverse itself.
    pinv_jvp : the map whose transpose this is, with the source of the formula.

    Examples
    --------
    >>> import numpy as np
    >>> from batchpinv import pinv, pinv_vjp
    >>> a = np.array([[2.0, 0.0], [0.0, 4.0]])
    >>> pinv_vjp(a, pinv(a), np.ones((2, 2)))
    array([[-0.25  , -0.125 ],
           [-0.125 , -0.0625]])
    """
    a, x, gx = read_factor(a, "a"), read_factor(x, "x"), read_factor(gx, "gx")
    _check_shapes(a, x, gx=gx.shape[-2:] == x.shape[-2:])
    return np.asarray(vjp(a, x, gx, hermitian))


def jvp(a: Any, x: Any, da: Any, hermitian: bool) -> Any:
    """dX along dA, by the operators of the arrays' own library."""
    if hermitian:
        da = hermitian_part(da)
    m, n = a.shape[-2:]
    if m <= n:
        step, drift = da @ x, adjoint(da) @ (adjoint(x) @ x)
        inner = adjoint(step) - step - adjoint(step) @ (a @ x) - a @ drift
        return drift + x @ inner
    step, drift = x @ da, (x @ adjoint(x)) @ adjoint(da)
    inner = adjoint(step) - step - (x @ a) @ adjoint(step) - drift @ a
    return drift + inner @ x


def vjp(a: Any, x: Any, gx: Any, hermitian: bool) -> Any:
    """The gradient with respect to A, by the operators of the arrays' own library.

    GA = -X^H GX X^H + (I - A X) GX^H X X^H + X^H X GX^H (I - X A).
    """
    m, n = a.shape[-2:]
    g = adjoint(gx)
    if m <= n:
        k = g @ x
        ga = (k - adjoint(k) - (a @ x) @ k) @ adjoint(x) + (adjoint(x) @ x) @ (g - k @ a)
    else:
        k = x @ g
        ga = adjoint(x) @ (k - adjoint(k) - k @ (x @ a)) + (g - a @ k) @ (x @ adjoint(x))
    return hermitian_part(ga) if hermitian else ga


def lstsq_jvp(a: Any, inverse: Any, b: Any, x: Any, da: Any, db: Any) -> tuple[Any, Any]:
    """The changes of the solutions x = X b, and of the squared residuals, along dA and db, of which
    one may be None. That of x is dX b + X db, but no product is larger than b and x."""
    residual = b - a @ x
    dx, step = 0, 0  # step: the change of b - A x
    if da is not None:
        y = adjoint(da) @ (adjoint(inverse) @ x)
        dx = y + inverse @ (adjoint(inverse) @ (adjoint(da) @ residual) - da @ x - a @ y)
        step = -da @ x
    if db is not None:
        dx, step = dx + inverse @ db, step + db
    step = step - a @ dx
    return dx, 2 * (residual.conj() * step).real.sum(-2)


def lstsq_vjp(
    a: Any, inverse: Any, b: Any, x: Any, gx: Any, gr: Any, hermitian: bool
) -> tuple[Any, Any]:
    """The gradients with respect to A and b, from those with respect to the solutions, gx, and to
    the squared residuals, gr, which may be None."""
    residual = b - a @ x
    step = 0
    if gr is not None:
        step = 2 * residual * gr[..., None, :]
        gx = gx - adjoint(a) @ step
    gb = adjoint(inverse) @ gx
    ga = (
        residual @ adjoint(inverse @ gb)
        - (gb + step) @ adjoint(x)
        + (adjoint(inverse) @ x) @ adjoint(gx - inverse @ (a @ gx))
    )
    return hermitian_part(ga) if hermitian else ga, gb + step


class Weighted(NamedTuple):
    """A weighted and damped system that has been solved: C = (A^H W A + damping I)^+, X = C A^H W,
    x = X b. In rows of weight 0, entries of a, b and b - A x that were not finite are 0."""

    a: Any
    weights: Any
    damping: Any
    inverse: Any  # X
    covariance: Any  # C
    x: Any
    residual: Any  # b - A x

    def project(self, y: Any) -> Any:
        """The part of y that the rows of A do not span; 0 for systems with damping."""
        undamped = (self.damping == 0)[..., None, None]
        return undamped * (y - self.inverse @ (self.a @ y))

    def invert_step(self, change: Any) -> Any:
        """The change of C along a Hermitian change of A^H W A; the map is its own transpose."""
        c = self.covariance
        drift = self.project(change @ (c @ c))
        return drift + adjoint(drift) - c @ change @ c


def weighted_jvp(
    at: Weighted, da: Any, db: Any, dweights: Any, ddamping: Any
) -> tuple[Any, Any, Any]:
    """The changes of the solutions, of the weighted squared residuals and of the covariance along
    directions, any of which may be None.

    dx = X (db - dA x) + C (dA^H W r + A^H dW r - dd x) + (I - X A) dA^H X^H x, r = b - A x. It
    divides by no square root, so it is finite for a weight, or a damping, of 0.
    """
    a, c, w = at.a, at.covariance, at.weights[..., None]
    dx = dr = dc = step = 0
    if da is not None:
        step = step - da @ at.x
        force = adjoint(da) @ (w * at.residual)
        dx = dx + c @ force + at.project(adjoint(da) @ (adjoint(at.inverse) @ at.x))
        half = adjoint(da) @ (w * a)
        dc = dc + at.invert_step(half + adjoint(half))
    if db is not None:
        step = step + db
    if da is not None or db is not None:
        dx = dx + at.inverse @ step
    if dweights is not None:
        dw = dweights[..., None]
        dx = dx + c @ (adjoint(a) @ (dw * at.residual))
        dr = dr + (dw * squares(at.residual)).sum(-2)
        dc = dc + at.invert_step(adjoint(a) @ (dw * a))
    if ddamping is not None:
        dd = ddamping[..., None, None]
        dx = dx - dd * (c @ at.x)
        dc = dc - dd * (c @ c)
    moved = step - a @ dx
    return dx, dr + 2 * (w * (at.residual.conj() * moved).real).sum(-2), dc


def weighted_vjp(
    at: Weighted, gx: Any, gr: Any, gc: Any, hermitian: bool
) -> tuple[Any, Any, Any, Any]:
    """The gradients with respect to A, b, the weights and the damping, from those with respect to
    the solutions, gx, the weighted squared residuals, gr, and the covariance, gc. gr and gc may be
    None."""
    a, c, x, r, w = at.a, at.covariance, at.x, at.residual, at.weights[..., None]
    step = 0
    if gr is not None:
        step = 2 * w * r * gr[..., None, :]
        gx = gx - adjoint(a) @ step
    gb = adjoint(at.inverse) @ gx
    y = c @ gx
    ga = (w * r) @ adjoint(y) - (gb + step) @ adjoint(x)
    ga = ga + (adjoint(at.inverse) @ x) @ adjoint(at.project(gx))
    gw = ((a @ y).conj() * r).real.sum(-1)
    gd = -(y.conj() * x).real.sum((-2, -1))
    if gr is not None:
        gw = gw + (squares(r) * gr[..., None, :]).sum(-1)
    if gc is not None:
        g = hermitian_part(gc)
        spread = a @ at.invert_step(g)
        ga = ga + 2 * w * spread
        gw = gw + (spread * a.conj()).real.sum(-1)
        gd = gd - ((c @ c).conj() * g).real.sum((-2, -1))
    return hermitian_part(ga) if hermitian else ga, gb + step, gw, gd


def squares(a: Any) -> Any:
    return (a.conj() * a).real


def adjoint(a: Any) -> Any:
    return a.mT.conj()


def hermitian_part(a: Any) -> Any:
    return (a + adjoint(a)) / 2


def _check_shapes(a: NDArray[Any], x: NDArray[Any], **others: bool) -> None:
    if a.ndim < 2 or x.ndim < 2 or x.shape[-2:] != a.shape[:-3:-1]:
        raise ValueError(
            "x must be the pseudo-inverse of a: matrices of (m, n) and of (n, m); "
            f"a has shape {a.shape}, x has {x.shape}"
        )
    for name, fits in others.items():
        if not fits:
            raise ValueError(
                f"{name} must hold matrices of the shape of those in {'a' if name == 'da' else 'x'}"
            )
