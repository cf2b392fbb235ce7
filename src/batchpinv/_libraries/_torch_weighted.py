"""Weighted and damped systems of tensors that are differentiated, mapped or recorded.

The operators and autograd functions are made as in `_torch_operators`. The formulas need the
covariance, which `weighted_pinv` returns. It is differentiable itself, so derivatives of any order
work. The operators always get weights and damping: by default ones and zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _derivatives
from .._options import Options, Result
from .._tolerance import broadcast_batch
from . import _numpy
from ._torch_operators import (
    _SETTINGS,
    Settings,
    _choose,
    _define,
    _in_own_precision,
    _options,
    _sum_to,
    _whole,
    _with_outer_tangents,
    as_rungs,
    as_tensor,
    check_call,
    is_plain,
    make_function,
    read,
    with_arrays,
)

_COVARIANCES: dict[str, bool | str] = {"none": False, "full": True, "diagonal": "diagonal"}


def pinv(a: Tensor, options: Options, settings: tuple[Settings, ...]) -> Result:
    weights, damping = _ones_and_zero(a, options)
    inputs = (a, weights, damping, *settings, False)
    run = _choose(_pinv, _Pinv, a, weights, damping)
    if run is _pinv:
        _check(a, None, *inputs[1:-1])
        run = _in_own_precision(run)
    x, rank, rung, _ = run(*inputs)
    return Result(x, rank, rung)


def lstsq(a: Tensor, b: Tensor, options: Options, settings: tuple[Settings, ...]) -> Result:
    weights, damping = _ones_and_zero(a, options)
    wanted = options.wants_covariance
    covariance = "none" if not wanted else "diagonal" if wanted == "diagonal" else "full"
    wants = (options.wants_residuals, covariance, options.wants_leverage)
    inputs = (a, b, weights, damping, *settings, *wants)
    run = _choose(_lstsq, _Lstsq, a, b, weights, damping)
    if run is _lstsq:
        _check(a, b, *inputs[2:-3])
        run = _in_own_precision(run)
    return Result(*run(*inputs))


def _ones_and_zero(a: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    real = a.dtype.to_real() if a.is_complex() else a.dtype
    weights, damping = options.weights, options.damping
    if weights is None:
        weights = a.new_ones(a.shape[-2], dtype=real)
    if damping is None:
        damping = torch.zeros((), dtype=torch.float64)
    return _as_tensor("weights", weights), _as_tensor("damping", damping)


def _as_tensor(name: str, given: Any) -> Tensor:
    if isinstance(given, Tensor):
        if given.is_complex() or (given.is_floating_point() and given.dtype.itemsize < 4):
            raise TypeError(
                f"{name} has dtype {str(given.dtype).removeprefix('torch.')}; accepted are "
                "float32, float64, integers and booleans"
            )
        return given
    return torch.as_tensor(given, dtype=torch.float64, device="cpu")


# Answers.


def _answer_pinv(
    a: Tensor, weights: Tensor, damping: Tensor, *settings: Settings
) -> tuple[Tensor, ...]:
    *options, covariance = settings
    asked = _asked(weights, damping, options, covariance)
    found = _numpy.pinv(read(a, "a"), asked)
    return (
        torch.from_numpy(found.x),
        as_tensor(found.rank),
        as_rungs(found.rung),
        _or_empty(found.covariance, found.x),
    )


def _answer_lstsq(
    a: Tensor, b: Tensor, weights: Tensor, damping: Tensor, *settings: Settings
) -> tuple[Tensor, ...]:
    *options, residuals, covariance, leverage = settings
    asked = _asked(weights, damping, options, _COVARIANCES[covariance])
    asked = asked._replace(wants_residuals=residuals, wants_leverage=leverage)
    found = _numpy.lstsq(read(a, "a"), read(b, "b"), asked)
    real = found.x.real
    return (
        torch.from_numpy(found.x),
        as_tensor(found.rank),
        as_rungs(found.rung),
        _or_empty(found.residuals, real),
        _or_empty(found.covariance, found.x),
        _or_empty(found.leverage, real),
    )


def _asked(
    weights: Tensor, damping: Tensor, options: list[Settings], covariance: bool | str
) -> Options:
    atol, rtol, *settings = options
    asked = _options(atol, rtol, tuple(settings))
    return with_arrays(
        asked._replace(weights=weights, damping=damping, wants_covariance=covariance)
    )


def _or_empty(part: Any, like: Any) -> Tensor:
    """The part as a tensor. An operator returns all its results; an unwanted one is empty."""
    return as_tensor(np.empty((*like.shape[:-2], 0), like.dtype) if part is None else part)


def _check(
    a: Tensor, b: Tensor | None, weights: Tensor, damping: Tensor, *settings: Settings
) -> tuple[int, ...]:
    """The batch shape of the result."""
    batch = check_call(a, b, *settings)
    if weights.ndim < 1 or weights.shape[-1] != a.shape[-2]:
        raise ValueError(
            f"weights must have shape (*, m), one for each row of a: m is {a.shape[-2]}, and "
            f"weights has shape {tuple(weights.shape)}"
        )
    shapes = {"weights": tuple(weights.shape[:-1]), "damping": tuple(damping.shape)}
    return broadcast_batch(batch, (), (), **shapes)


def _pinv_shapes(
    a: Tensor, weights: Tensor, damping: Tensor, *settings: Settings
) -> tuple[Tensor, ...]:
    *options, covariance = settings
    batch = _check(a, None, weights, damping, *options)
    n = a.shape[-1]
    computed = a.dtype if a.dtype.is_floating_point or a.dtype.is_complex else torch.float64
    return (
        a.new_empty((*batch, n, a.shape[-2]), dtype=computed),
        a.new_empty(batch, dtype=torch.int64),
        a.new_empty(batch, dtype=torch.uint8),
        a.new_empty((*batch, n, n) if covariance else (*batch, 0), dtype=computed),
    )


def _lstsq_shapes(
    a: Tensor, b: Tensor, weights: Tensor, damping: Tensor, *settings: Settings
) -> tuple[Tensor, ...]:
    *options, residuals, covariance, leverage = settings
    batch = _check(a, b, weights, damping, *options)
    (m, n), k = a.shape[-2:], b.shape[-1]
    sizes = {"none": (0,), "diagonal": (n,), "full": (n, n)}[covariance]
    real = a.dtype.to_real()
    return (
        a.new_empty((*batch, n, k)),
        a.new_empty(batch, dtype=torch.int64),
        a.new_empty(batch, dtype=torch.uint8),
        a.new_empty((*batch, k if residuals else 0), dtype=real),
        a.new_empty((*batch, *sizes)),
        a.new_empty((*batch, m if leverage else 0), dtype=real),
    )


# Derivatives.


def _keep(ctx: Any, differentiable: tuple[int, ...], output: Any, *tensors: Tensor | None) -> None:
    ctx.mark_non_differentiable(*(part for i, part in enumerate(output) if i not in differentiable))
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _keep_pinv(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, weights, damping, atol, rtol, *ctx.settings, _ = inputs
    ctx.covariance = "full" if inputs[-1] else "none"
    _keep(ctx, (0, 3), output, a, weights, damping, output[0], atol, rtol)


def _keep_lstsq(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, b, weights, damping, atol, rtol, *ctx.settings, ctx.residuals, ctx.covariance, _ = inputs
    _keep(ctx, (0, 3, 4), output, a, b, weights, damping, output[0], atol, rtol)


def _system(
    ctx: Any,
    a: Tensor,
    b: Tensor | None,
    weights: Tensor,
    damping: Tensor,
    x: Tensor,
    *tolerances: Tensor | None,
) -> _derivatives.Weighted:
    """What the formulas need. For a pseudo-inverse b is None, which means I."""
    hermitian, lower, *_ = ctx.settings
    inputs = (a, weights, damping, *tolerances, *ctx.settings, True)
    if is_plain(a, weights, damping):
        inverse, _, _, covariance = _answer_pinv(*inputs)
    else:
        inverse, _, _, covariance = _choose(_pinv, _Pinv, a, weights, damping)(*inputs)
    whole = _whole(a, hermitian, lower)
    if b is None:
        b, x = torch.eye(a.shape[-2], dtype=a.dtype, device=a.device), inverse
    lost, absent = _find_lost(whole, b, weights)
    whole = torch.where(lost, 0, whole)
    residual = torch.where(absent, 0, b - whole @ x)
    # The formulas are computed in float64 if the weights are.
    dtype = torch.promote_types(a.dtype, weights.dtype)
    whole, inverse, covariance, x, residual = (
        part.to(dtype) for part in (whole, inverse, covariance, x, residual)
    )
    damping = damping.to(covariance.real.dtype)
    return _derivatives.Weighted(whole, weights, damping, inverse, covariance, x, residual)


def _find_lost(a: Tensor, b: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """What to ignore: rows of `a` of weight 0 that are not finite; and of `b` the same rows, and
    entries of weight 0 that are not finite themselves."""
    absent = (weights == 0)[..., None]
    lost = absent & ~torch.isfinite(a).all(-1, keepdim=True)
    return lost, lost | (absent & ~torch.isfinite(b))


def _gradients(
    ctx: Any, at: _derivatives.Weighted, gx: Tensor | None, gr: Tensor | None, gc: Tensor | None
) -> Any:
    gx = torch.zeros_like(at.x) if gx is None else gx.to(at.x.dtype)
    gr = None if gr is None else gr.to(at.x.real.dtype)
    if gc is not None and ctx.covariance == "diagonal":
        gc = torch.diag_embed(gc)
    gc = None if gc is None else gc.to(at.x.dtype)
    return _derivatives.weighted_vjp(at, gx, gr, gc, ctx.settings[0])


@_in_own_precision
def _pinv_backward(
    ctx: Any, gx: Tensor | None, _rank: object, _rung: object, gc: Tensor | None
) -> tuple[Tensor | None, ...]:
    a, weights, damping, x, *tolerances = ctx.saved_tensors
    if gx is None and gc is None:
        return (None,) * 11
    at = _system(ctx, a, None, weights, damping, x, *tolerances)
    ga, _, gw, gd = _gradients(ctx, at, gx, None, gc)
    return _fit(a, ga), _fit(weights, gw), _fit(damping, gd), *(None,) * 8


@_in_own_precision
def _lstsq_backward(
    ctx: Any,
    gx: Tensor | None,
    _rank: object,
    _rung: object,
    gr: Tensor | None,
    gc: Tensor | None,
    _leverage: object,
) -> tuple[Tensor | None, ...]:
    a, b, weights, damping, x, *tolerances = ctx.saved_tensors
    if gx is None and gr is None and gc is None:
        return (None,) * 14
    at = _system(ctx, a, b, weights, damping, x, *tolerances)
    ga, gb, gw, gd = _gradients(ctx, at, gx, gr, gc)
    return _fit(a, ga), _fit(b, gb), _fit(weights, gw), _fit(damping, gd), *(None,) * 10


def _fit(given: Tensor, gradient: Tensor) -> Tensor | None:
    """The gradient in the shape and dtype of the operand; None for integers."""
    if not (given.dtype.is_floating_point or given.is_complex()):
        return None
    return _sum_to(given, gradient).to(given.dtype)


def _directions(
    ctx: Any,
    at: _derivatives.Weighted,
    a: Tensor,
    b: Tensor | None,
    da: Tensor | None,
    db: Tensor | None,
    *others: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """The tangents of x, the residuals and the covariance."""
    lost, absent = _find_lost(a, a if b is None else b, at.weights)
    if da is not None:
        da = torch.where(lost, 0, da).to(at.x.dtype)
        if ctx.settings[0]:
            da = _derivatives.hermitian_part(da)
    if db is not None:
        db = torch.where(absent, 0, db).to(at.x.dtype)
    real = at.x.real.dtype
    others = tuple(None if change is None else change.to(real) for change in others)
    dx, dr, dc = _derivatives.weighted_jvp(at, da, db, *others)
    if not isinstance(dc, Tensor):  # none of the directions changes the covariance
        dc = torch.zeros_like(at.covariance)
    if ctx.covariance == "diagonal":
        dc = torch.diagonal(dc, dim1=-2, dim2=-1)
    return dx.to(a.dtype), dr.to(a.real.dtype), dc.to(a.dtype)


@_in_own_precision
@_with_outer_tangents
def _pinv_jvp(
    ctx: Any,
    a: Tensor,
    weights: Tensor,
    damping: Tensor,
    x: Tensor,
    atol: Tensor | None,
    rtol: Tensor | None,
    da: Tensor | None,
    dweights: Tensor | None,
    ddamping: Tensor | None,
    *_: object,
) -> tuple[Tensor | None, ...]:
    at = _system(ctx, a, None, weights, damping, x, atol, rtol)
    dx, _dr, dc = _directions(ctx, at, a, None, da, None, dweights, ddamping)
    return dx, None, None, dc if ctx.covariance == "full" else dx[..., 0, :0]


@_in_own_precision
@_with_outer_tangents
def _lstsq_jvp(
    ctx: Any,
    a: Tensor,
    b: Tensor,
    weights: Tensor,
    damping: Tensor,
    x: Tensor,
    atol: Tensor | None,
    rtol: Tensor | None,
    da: Tensor | None,
    db: Tensor | None,
    dweights: Tensor | None,
    ddamping: Tensor | None,
    *_: object,
) -> tuple[Tensor | None, ...]:
    at = _system(ctx, a, b, weights, damping, x, atol, rtol)
    dx, dr, dc = _directions(ctx, at, a, b, da, db, dweights, ddamping)
    none = dx[..., 0, :0]
    return (
        dx,
        None,
        None,
        dr if ctx.residuals else none.real,
        none if ctx.covariance == "none" else dc,
        None,
    )


# The functions, and the operators.


_Pinv = make_function(_answer_pinv, _keep_pinv, _pinv_backward, _pinv_jvp)
_Lstsq = make_function(_answer_lstsq, _keep_lstsq, _lstsq_backward, _lstsq_jvp)

_pinv = _define(
    f"weighted_pinv(Tensor a, Tensor weights, Tensor damping, {_SETTINGS}, bool covariance) -> "
    "(Tensor, Tensor, Tensor, Tensor)",
    ("CPU",),
    _answer_pinv,
    _pinv_shapes,
    _Pinv,
    _keep_pinv,
    (2, 1, 0, 0, 0),
)
_lstsq = _define(
    f"weighted_lstsq(Tensor a, Tensor b, Tensor weights, Tensor damping, {_SETTINGS}, "
    "bool residuals, str covariance, bool leverage) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    ("CPU",),
    _answer_lstsq,
    _lstsq_shapes,
    _Lstsq,
    _keep_lstsq,
    (2, 2, 1, 0, 0, 0),
)
