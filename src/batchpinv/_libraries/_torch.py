"""PyTorch's tensors, on the CPU and on CUDA: with gradients, forward derivatives, torch.func,
and torch.compile.

A tensor that nobody differentiates is read and written in place. Others take `_Pinv`, which knows
both modes of differentiation and vmap; compilers and fake tensors take the operator
`batchpinv::pinv`. The three share `_answer_plain` and the formulas.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library
from torch.autograd import forward_ad

from .. import _derivatives
from .._arrays import ACCEPTED, check_matrices, check_sides
from .._options import Options, Result
from .._tolerance import read_tolerance
from . import _numpy

_PLAIN = (Tensor, torch.nn.Parameter)
# Where PyTorch should no longer say so, all tensors take the longer way.
_transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


def pinv(a: Any, options: Options) -> Result:
    _check("a", a, cuda=True)
    _check_tolerances(options, cuda=a.is_cuda)
    if options.out is not None:
        return _into(a, options)
    if not torch.compiler.is_compiling() and _is_plain(a):
        return _answer_plain(a, options)
    x, rank, rung = _traced(a, options)
    return x, rank if options.wants_rank else None, rung if options.wants_rung else None


def lstsq(a: Any, b: Any, options: Options) -> Result:
    _check_tolerances(options)
    a, b = (given if isinstance(given, Tensor) else torch.as_tensor(given) for given in (a, b))
    _check("a", a)
    _check("b", b)
    if options.out is not None:
        _check_out(options.out, a, b)
    elif torch.compiler.is_compiling() or not (_is_plain(a) and _is_plain(b)):
        return _differentiable_lstsq(a, b, options)
    plain = _with_arrays(options)._replace(out=_read(options.out))
    x, rank, residuals = _numpy.lstsq(_read(a), _read(b), plain)
    return (
        torch.from_numpy(x) if options.out is None else options.out,
        torch.as_tensor(rank) if options.wants_rank else None,
        torch.as_tensor(residuals) if options.wants_residuals else None,
    )


def _differentiable_lstsq(a: Tensor, b: Tensor, options: Options) -> Result:
    """By the pseudo-inverse, which the derivatives need anyway; refined, as `lstsq` is."""
    computed = [torch.float64 if _is_integer(given) else given.dtype for given in (a, b)]
    dtype = torch.promote_types(*computed)
    a, b = a.to(dtype), b.to(dtype)
    check_matrices(a.shape)
    is_vector = check_sides(a.shape, b.shape)
    columns = b[..., None] if is_vector else b
    inverse, rank, _ = _traced(a, options)
    whole = _whole(a, options.hermitian, options.lower)
    x = inverse @ columns
    x = x + (inverse @ (columns - whole @ x)).detach()
    residuals = (columns - whole @ x).abs().square().sum(-2)
    rank = rank.expand(x.shape[:-2])
    if is_vector:
        x, residuals = x[..., 0], residuals[..., 0]
    return x, rank if options.wants_rank else None, residuals if options.wants_residuals else None


def _is_integer(given: Tensor) -> bool:
    return not (given.dtype.is_floating_point or given.dtype.is_complex)


def _check_tolerances(options: Options, cuda: bool = False) -> None:
    for name in ("atol", "rtol", "rcond"):
        given = getattr(options, name)
        if isinstance(given, Tensor):
            _check(name, given, cuda)
            if given.requires_grad:
                raise ValueError(f"there is no derivative by {name}; give {name}.detach()")


def _with_arrays(options: Options) -> Options:
    """Tolerances as ndarrays, where they are tensors."""
    return options._replace(
        atol=_read(options.atol), rtol=_read(options.rtol), rcond=_read(options.rcond)
    )


def _check(name: str, given: Tensor, cuda: bool = False) -> None:
    if given.device.type not in ("cpu", "meta") and not (cuda and given.is_cuda):
        raise TypeError(
            f"{name} is on the device {given.device}; batchpinv does not compute it there: "
            f"give {name}.cpu()"
        )
    if given.layout is not torch.strided:
        raise TypeError(f"{name} has the layout {given.layout}; give {name}.to_dense()")


def _is_plain(a: Tensor) -> bool:
    """Whether nothing watches what is done to it."""
    return (
        type(a) in _PLAIN
        and not (a.requires_grad and torch.is_grad_enabled())
        and getattr(forward_ad, "_current_level", 0) < 0
        and a.device.type in ("cpu", "cuda")
        and not _transforms_active()
    )


def _read(given: Any) -> Any:
    """A tensor's memory as an ndarray; anything else as it is."""
    if not isinstance(given, Tensor):
        return given
    if given.dtype is torch.bfloat16:
        raise TypeError(f"a tensor has dtype {given.dtype}; accepted are {ACCEPTED}")
    return given.detach().resolve_conj().resolve_neg().numpy()


def _answer_plain(a: Tensor, options: Options) -> Result:
    if a.is_cuda:
        from ..cuda import _compute as cuda

        return cuda.pinv(a.detach().resolve_conj().resolve_neg(), options)
    x, rank, rung = _numpy.pinv(_read(a), _with_arrays(options))
    return torch.from_numpy(x), torch.as_tensor(rank) if options.wants_rank else None, rung


def _check_out(out: Any, *operands: Tensor) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"out must be a torch.Tensor, as a is; got {type(out).__name__}")
    _check("out", out, cuda=operands[0].is_cuda)
    if torch.is_grad_enabled() and any(given.requires_grad for given in (out, *operands)):
        raise ValueError("out= supports no automatic differentiation, but a tensor requires grad")
    if out.is_conj() or out.is_neg():
        raise ValueError("out is a lazy conjugate or negative; give a plain tensor")


def _into(a: Tensor, options: Options) -> Result:
    out = options.out
    _check_out(out, a)
    plain = out.detach() if a.is_cuda else out.detach().numpy()
    _, rank, rung = _answer_plain(a, options._replace(out=plain))
    return out, rank, rung


def _traced(a: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    if options.rcond is not None and options.rtol is not None:
        raise ValueError("rcond is the old name of rtol: give one of them, not both")
    if options.progress:
        raise ValueError("there is no progress under a gradient, a transform or a compiler")
    rtol = options.rtol if options.rcond is None else options.rcond
    arguments = (
        a,
        _as_tensor("atol", options.atol),
        _as_tensor("rtol", rtol),
        options.hermitian,
        options.lower,
        options.driver,
        options.workers,
        options.on_failure,
    )
    if torch.compiler.is_compiling() or type(a) not in _PLAIN or a.device.type == "meta":
        found: tuple[Tensor, Tensor, Tensor] = _operator(*arguments)
    else:
        found = _Pinv.apply(*arguments)
    return found


def _as_tensor(name: str, tolerance: Any) -> Tensor | None:
    if tolerance is None or isinstance(tolerance, Tensor):
        return tolerance
    if not torch.compiler.is_compiling():
        read_tolerance(name, tolerance)
    return torch.as_tensor(tolerance, dtype=torch.float64)


# ---- the operator, for compilers ----------------------------------------------------------------


def _answer(
    a: Tensor,
    atol: Tensor | None,
    rtol: Tensor | None,
    hermitian: bool,
    lower: bool,
    driver: str,
    workers: int | None,
    on_failure: str,
) -> tuple[Tensor, Tensor, Tensor]:
    options = Options(
        hermitian=hermitian,
        atol=atol,
        rtol=rtol,
        wants_rank=True,
        wants_rung=True,
        lower=lower,
        driver=driver,
        workers=workers,
        on_failure=on_failure,
    )
    x, rank, rung = _answer_plain(a, options)
    return x, rank, torch.as_tensor(rung, dtype=torch.uint8, device=a.device)


_operator = library.custom_op(
    "batchpinv::pinv",
    _answer,
    mutates_args=(),
    device_types=("cpu", "cuda"),
    schema="(Tensor a, Tensor? atol, Tensor? rtol, bool hermitian, bool lower, str driver, "
    "SymInt? workers, str on_failure) -> (Tensor, Tensor, Tensor)",
)


@_operator.register_fake
def _shapes(
    a: Tensor, atol: Tensor | None, rtol: Tensor | None, *_: object
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = [given.shape for given in (atol, rtol) if given is not None]
    batch = torch.broadcast_shapes(a.shape[:-2], *shapes)
    computed = a.dtype if a.dtype.is_floating_point or a.dtype.is_complex else torch.float64
    return (
        a.new_empty((*batch, a.shape[-1], a.shape[-2]), dtype=computed),
        a.new_empty(batch, dtype=torch.int64),
        a.new_empty(batch, dtype=torch.uint8),
    )


# ---- derivatives --------------------------------------------------------------------------------


def _whole(a: Tensor, hermitian: bool, lower: bool) -> Tensor:
    """The matrix whose pseudo-inverse it is, whichever triangle was read."""
    if not hermitian:
        return a
    strict = a.tril(-1) if lower else a.triu(1)
    diagonal = torch.diag_embed(a.diagonal(dim1=-2, dim2=-1).real)
    return strict + _derivatives.adjoint(strict) + diagonal


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    a, _, _, ctx.hermitian, ctx.lower, *_ = inputs
    x, rank, rung = output
    ctx.mark_non_differentiable(rank, rung)
    ctx.save_for_backward(a, x)
    ctx.save_for_forward(a, x)


def _keep_for_operator(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, _, _, ctx.hermitian, ctx.lower, *_ = inputs
    ctx.save_for_backward(a, output[0])


def _backward(ctx: Any, gx: Tensor | None, *_: object) -> tuple[Tensor | None, ...]:
    a, x = ctx.saved_tensors
    ga = None
    if gx is not None and ctx.needs_input_grad[0]:
        ga = _derivatives.vjp(_whole(a, ctx.hermitian, ctx.lower), x, gx, ctx.hermitian)
        ga = ga.sum_to_size(a.shape)
    return ga, *(None,) * 7


def _batched(
    info: Any, in_dims: tuple[int | None, ...], a: Tensor, *arguments: Any
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[int, int, int]]:
    """The rule of vmap: one more batch dimension, in front of all others."""
    ndim = max(
        given.ndim - (dim is not None) + extra
        for given, dim, extra in zip((a, *arguments[:2]), in_dims, (0, 2, 2), strict=False)
        if given is not None
    )

    def in_front(given: Tensor | None, dim: int | None, ndim: int) -> Tensor | None:
        if given is None:
            return None
        given = given.unsqueeze(0) if dim is None else given.movedim(dim, 0)
        return given.reshape(given.shape[0], *(1,) * (ndim + 1 - given.ndim), *given.shape[1:])

    a, atol, rtol = (  # in line with each other's batch dimensions
        in_front(given, dim, ndim - missing)
        for given, dim, missing in zip((a, *arguments[:2]), in_dims, (0, 2, 2), strict=False)
    )
    if in_dims[0] is None:
        a = a.expand(info.batch_size, *a.shape[1:])
    run = _operator if torch.compiler.is_compiling() else _Pinv.apply
    return run(a, atol, rtol, *arguments[2:]), (0, 0, 0)


class _Pinv(torch.autograd.Function):
    """The same with both modes of differentiation, which operators cannot have."""

    forward = staticmethod(_answer)
    setup_context = staticmethod(_keep)
    backward = staticmethod(_backward)
    vmap = staticmethod(_batched)

    @staticmethod
    def jvp(ctx: Any, da: Tensor | None, *_: object) -> tuple[Tensor | None, None, None]:
        a, x = ctx.saved_tensors
        if da is None:
            return None, None, None
        a = _whole(a, ctx.hermitian, ctx.lower)
        return _derivatives.jvp(a, x, da, ctx.hermitian), None, None


_operator.register_autograd(_backward, setup_context=_keep_for_operator)
_operator.register_vmap(_batched)
