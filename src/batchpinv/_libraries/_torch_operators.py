"""`pinv` and `lstsq` of tensors that somebody differentiates, maps or records.

Each is there twice: as an autograd function, which has both modes of differentiation, and as an
operator, for what records: compilers, tracers and other modes. Both share the answer, the backward
formula, and the rule of vmap. Where nobody differentiates again, a gradient of a few small matrices
is computed as ndarrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, library
from torch.autograd import forward_ad

from .. import _derivatives
from .._arrays import ACCEPTED, check_matrices, check_sides
from .._options import Options, Result
from .._tolerance import broadcast_batch
from . import _numpy

_PLAIN = (Tensor, torch.nn.Parameter)
# Where PyTorch should no longer say so, all tensors take the longer way.
_transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)
_count_modes = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)
_is_tracing = getattr(torch._C, "_is_tracing", lambda: True)
# Of entries, up to which a formula is computed as ndarrays: in 0.55 to 1.1 of the time that one
# thread of PyTorch takes, for 1 to 25 matrices of 20x8. More may gain by its threads.
_SMALL = 4096

# hermitian, lower, driver, workers, on_failure; for lstsq whether residuals are wanted
Settings = Any


def is_recorded() -> bool:
    """Whether operators may be recorded rather than run."""
    return torch.compiler.is_compiling() or _is_tracing() or _count_modes() > 0


def is_plain(*tensors: Tensor) -> bool:
    """Whether nothing watches what is done to them."""
    watched = is_recorded() or getattr(forward_ad, "_current_level", 0) >= 0 or _transforms_active()
    return not watched and all(
        type(a) in _PLAIN
        and (a.is_cpu or a.is_cuda)
        and not (a.requires_grad and torch.is_grad_enabled())
        for a in tensors
    )


def read(given: Any) -> Any:
    """A tensor's memory as an ndarray; anything else as it is."""
    if not isinstance(given, Tensor):
        return given
    if given.dtype is torch.bfloat16:
        check_dtype("a tensor", given)
    if given.requires_grad:
        given = given.detach()
    return given.resolve_conj().resolve_neg().numpy()


def check_dtype(name: str, given: Tensor) -> None:
    dtype = given.dtype
    if dtype.itemsize < (8 if dtype.is_complex else 4 if dtype.is_floating_point else 1):
        raise TypeError(
            f"{name} has dtype {str(dtype).removeprefix('torch.')}; accepted are {ACCEPTED}"
        )


def with_arrays(options: Options) -> Options:
    """Tolerances as ndarrays, where they are tensors."""
    if options.atol is options.rtol is options.rcond is None:
        return options
    return options._replace(
        atol=read(options.atol), rtol=read(options.rtol), rcond=read(options.rcond)
    )


def as_tensor(part: Any) -> Tensor:
    """An ndarray, or the number of one matrix, on the CPU whatever PyTorch's default device."""
    return torch.from_numpy(np.asarray(part))


def answer_plain(a: Tensor, options: Options) -> Result:
    if a.is_cuda:
        from ..cuda import _compute as cuda

        return cuda.pinv(a.detach().resolve_conj().resolve_neg(), options)
    x, rank, rung, _ = _numpy.pinv(read(a), with_arrays(options))
    rank = as_tensor(rank) if options.wants_rank else None
    return Result(torch.from_numpy(x), rank, rung)


def pinv(a: Tensor, *settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """The pseudo-inverses, their ranks and rungs."""
    run = _choose(_pinv, _Pinv, a)
    if run is not _Pinv.at_once:  # which checks as it computes
        check_call(a, None, *settings)
    found: tuple[Tensor, Tensor, Tensor] = run(a, *settings)
    return found


def lstsq(a: Tensor, b: Tensor, *settings: Settings) -> tuple[Tensor, ...]:
    """The solutions for the columns of b, ranks, rungs, and the squares of the residuals."""
    run = _choose(_lstsq, _Lstsq, a, b)
    if run is not _Lstsq.at_once:
        check_call(a, b, *settings)
    found: tuple[Tensor, ...] = run(a, b, *settings)
    return found


def _choose(operator: Any, function: Any, *operands: Tensor) -> Any:
    """The operator where it may be recorded; else the function that is enough."""
    if is_recorded() or any(type(t) not in _PLAIN or t.is_meta for t in operands):
        return operator
    return function.apply if _transforms_active() else function.at_once


# ---- answers ------------------------------------------------------------------------------------


def _options(atol: Tensor | None, rtol: Tensor | None, settings: tuple[Settings, ...]) -> Options:
    hermitian, lower, driver, workers, on_failure, *wants_residuals = settings
    return Options(
        hermitian=hermitian,
        atol=atol,
        rtol=rtol,
        wants_rank=True,
        wants_rung=True,
        wants_residuals=any(wants_residuals),
        lower=lower,
        driver=driver,
        workers=workers,
        on_failure=on_failure,
    )


def _answer_pinv(
    a: Tensor, atol: Tensor | None, rtol: Tensor | None, *settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    x, rank, rung, _ = answer_plain(a, _options(atol, rtol, settings))
    rung = as_tensor(np.asarray(rung, np.uint8))
    return x, rank, rung.to(a.device) if a.is_cuda else rung


def _answer_lstsq(
    a: Tensor, b: Tensor, atol: Tensor | None, rtol: Tensor | None, *settings: Settings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    options = with_arrays(_options(atol, rtol, settings))
    x, rank, rung, residuals = _numpy.lstsq(read(a), read(b), options)
    rung = np.asarray(rung, np.uint8)
    if residuals is None:
        residuals = np.empty((*x.shape[:-2], 0), x.dtype.char.lower())
    return torch.from_numpy(x), as_tensor(rank), as_tensor(rung), as_tensor(residuals)


_SETTINGS = (
    "Tensor? atol, Tensor? rtol, bool hermitian, bool lower, str driver, SymInt? workers, "
    "str on_failure"
)
_pinv = library.custom_op(
    "batchpinv::pinv",
    _answer_pinv,
    mutates_args=(),
    device_types=("cpu", "cuda"),
    schema=f"(Tensor a, {_SETTINGS}) -> (Tensor, Tensor, Tensor)",
)
_lstsq = library.custom_op(
    "batchpinv::lstsq",
    _answer_lstsq,
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor a, Tensor b, {_SETTINGS}, bool residuals) -> (Tensor, Tensor, Tensor, Tensor)",
)


# ---- shapes -------------------------------------------------------------------------------------


def check_call(
    a: Tensor, b: Tensor | None, atol: Tensor | None, rtol: Tensor | None, *settings: Settings
) -> tuple[int, ...]:
    """The batch shape of the result; the errors are those of what computes it."""
    check_dtype("a", a)
    check_matrices(a.shape)
    if b is not None:
        check_dtype("b", b)
        check_sides(a.shape, b.shape)
    _options(None, None, settings).check(tuple(a.shape))
    atol_shape, rtol_shape = (() if t is None else tuple(t.shape) for t in (atol, rtol))
    sides = () if b is None else tuple(b.shape[:-2])
    return broadcast_batch(tuple(a.shape[:-2]), atol_shape, rtol_shape, sides)


@_pinv.register_fake
def _pinv_shapes(
    a: Tensor, atol: Tensor | None, rtol: Tensor | None, *settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    batch = check_call(a, None, atol, rtol, *settings)
    computed = a.dtype if a.dtype.is_floating_point or a.dtype.is_complex else torch.float64
    return (
        a.new_empty((*batch, a.shape[-1], a.shape[-2]), dtype=computed),
        a.new_empty(batch, dtype=torch.int64),
        a.new_empty(batch, dtype=torch.uint8),
    )


@_lstsq.register_fake
def _lstsq_shapes(
    a: Tensor, b: Tensor, atol: Tensor | None, rtol: Tensor | None, *settings: Settings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = check_call(a, b, atol, rtol, *settings)
    k = b.shape[-1]
    return (
        a.new_empty((*batch, a.shape[-1], k)),
        a.new_empty(batch, dtype=torch.int64),
        a.new_empty(batch, dtype=torch.uint8),
        a.new_empty((*batch, k if settings[-1] else 0), dtype=a.dtype.to_real()),
    )


# ---- derivatives --------------------------------------------------------------------------------


def _in_own_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without autocast, which would multiply in half the digits."""

    @functools.wraps(function)
    def run(ctx: Any, *arguments: Any) -> Any:
        if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
            return function(ctx, *arguments)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(ctx, *arguments)

    return run


def _run(function: Callable[..., Any], tensors: tuple[Tensor | None, ...]) -> Any:
    """A formula of one result or more, as ndarrays where that is faster and nobody watches."""
    given = [tensor for tensor in tensors if tensor is not None]
    if given[0].numel() > _SMALL or given[0].is_cuda or not is_plain(*given):
        return function(*tensors)
    try:
        arrays = [read(tensor) for tensor in tensors]
    except RuntimeError:  # of PyTorch's older vmap, which `is_grads_batched` uses
        return function(*tensors)
    found = _derivatives.run_as_usual(function, *arrays)
    return tuple(map(as_tensor, found)) if isinstance(found, tuple) else as_tensor(found)


def _sum_to(a: Tensor, ga: Tensor) -> Tensor:
    """A gradient of the shape of `a`, which may have been broadcast."""
    return ga if ga.shape == a.shape else ga.sum_to_size(a.shape)


def _whole(a: Tensor, hermitian: bool, lower: bool) -> Tensor:
    """The matrix whose pseudo-inverse it is, whichever triangle was read."""
    if not hermitian:
        return a
    strict = a.tril(-1) if lower else a.triu(1)
    diagonal = torch.diag_embed(a.diagonal(dim1=-2, dim2=-1).real)
    return strict + _derivatives.adjoint(strict) + diagonal


def _keep_pinv(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, _, _, ctx.hermitian, ctx.lower, *_ = inputs
    ctx.save_for_backward(a, output[0])


@_in_own_precision
def _pinv_backward(ctx: Any, gx: Tensor | None, *_: object) -> tuple[Tensor | None, ...]:
    a, x = ctx.saved_tensors
    ga = None
    if gx is not None and ctx.needs_input_grad[0]:
        whole = _whole(a, ctx.hermitian, ctx.lower)
        formula = functools.partial(_derivatives.vjp, hermitian=ctx.hermitian)
        ga = _sum_to(a, _run(formula, (whole, x, gx)))
    return ga, *(None,) * 7


def _keep_lstsq(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, b, atol, rtol, *ctx.settings = inputs
    ctx.save_for_backward(a, b, output[0], atol, rtol)


def _invert(ctx: Any, a: Tensor, atol: Tensor | None, rtol: Tensor | None) -> Tensor:
    if is_plain(a):
        return _answer_pinv(a, atol, rtol, *ctx.settings[:-1])[0]
    return pinv(a, atol, rtol, *ctx.settings[:-1])[0]


@_in_own_precision
def _lstsq_backward(
    ctx: Any, gx: Tensor | None, _rank: object, _rung: object, gr: Tensor | None
) -> tuple[Tensor | None, ...]:
    a, b, x, atol, rtol = ctx.saved_tensors
    hermitian, lower, _, _, _, wants_residuals = ctx.settings
    if not wants_residuals:
        gr = None
    if gx is None and gr is None:
        return (None,) * 10
    gx = torch.zeros_like(x) if gx is None else gx
    inverse = _invert(ctx, a, atol, rtol)
    formula = functools.partial(_derivatives.lstsq_vjp, hermitian=hermitian)
    ga, gb = _run(formula, (_whole(a, hermitian, lower), inverse, b, x, gx, gr))
    return _sum_to(a, ga), _sum_to(b, gb), *(None,) * 8


# ---- vmap ---------------------------------------------------------------------------------------


def _mapped(
    run: Callable[..., tuple[Tensor, ...]], cores: tuple[int, ...]
) -> Callable[..., tuple[tuple[Tensor, ...], tuple[int, ...]]]:
    """The rule of vmap: one more batch dimension, in front of all others. `cores`: how many
    dimensions each tensor among the arguments has beside those of the batch."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        tensors, settings = arguments[: len(cores)], arguments[len(cores) :]
        ndim = max(
            given.ndim - (dim is not None) - core
            for given, dim, core in zip(tensors, in_dims, cores, strict=False)
            if given is not None
        )

        def in_front(given: Tensor | None, dim: int | None, core: int) -> Tensor | None:
            if given is None:
                return None
            given = given.unsqueeze(0) if dim is None else given.movedim(dim, 0)
            missing = ndim + core + 1 - given.ndim
            return given.reshape(given.shape[0], *(1,) * missing, *given.shape[1:])

        found = run(*map(in_front, tensors, in_dims, cores), *settings)
        return found, (0,) * len(found)

    return rule


# ---- the operators, and the same with forward derivatives ---------------------------------------


class _Pinv(torch.autograd.Function):
    at_once: Any
    forward = staticmethod(_answer_pinv)
    backward = staticmethod(_pinv_backward)
    vmap = staticmethod(_mapped(lambda *given: pinv(*given), (2, 0, 0)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _keep_pinv(ctx, inputs, output)
        x, rank, rung = output
        ctx.mark_non_differentiable(rank, rung)
        ctx.set_materialize_grads(False)
        ctx.save_for_forward(inputs[0], x)

    @staticmethod
    @_in_own_precision
    def jvp(ctx: Any, da: Tensor | None, *_: object) -> tuple[Tensor | None, None, None]:
        a, x = ctx.saved_tensors
        if da is None:
            return None, None, None
        a = _whole(a, ctx.hermitian, ctx.lower)
        return _derivatives.jvp(a, x, da, ctx.hermitian), None, None


class _Lstsq(torch.autograd.Function):
    at_once: Any
    forward = staticmethod(_answer_lstsq)
    backward = staticmethod(_lstsq_backward)
    vmap = staticmethod(_mapped(lambda *given: lstsq(*given), (2, 2, 0, 0)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _keep_lstsq(ctx, inputs, output)
        a, b, atol, rtol, *_ = inputs
        ctx.mark_non_differentiable(*output[1:3])
        ctx.set_materialize_grads(False)
        ctx.save_for_forward(a, b, output[0], atol, rtol)

    @staticmethod
    @_in_own_precision
    def jvp(
        ctx: Any, da: Tensor | None, db: Tensor | None, *_: object
    ) -> tuple[Tensor, None, None, Tensor]:
        a, b, x, atol, rtol = ctx.saved_tensors
        hermitian, lower, _, _, _, wants_residuals = ctx.settings
        inverse = _invert(ctx, a, atol, rtol)
        whole = _whole(a, hermitian, lower)
        if da is not None and hermitian:
            da = _derivatives.hermitian_part(da)
        dx, dr = _derivatives.lstsq_jvp(whole, inverse, b, x, da, db)
        return dx, None, None, dr if wants_residuals else dr[..., :0]


def _at_once(function: Any) -> Any:
    """The same without transforms, for which PyTorch binds the arguments to a signature at each
    call: half the time of one small matrix."""

    class AtOnce(torch.autograd.Function):
        backward = staticmethod(function.backward)
        jvp = staticmethod(function.jvp)

        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            output = function.forward(*inputs)
            function.setup_context(ctx, inputs, output)
            return output

    return AtOnce.apply


_Pinv.at_once, _Lstsq.at_once = _at_once(_Pinv), _at_once(_Lstsq)

_pinv.register_autograd(_pinv_backward, setup_context=_keep_pinv)
_pinv.register_vmap(_mapped(_pinv, (2, 0, 0)))
_lstsq.register_autograd(_lstsq_backward, setup_context=_keep_lstsq)
_lstsq.register_vmap(_mapped(_lstsq, (2, 2, 0, 0)))
