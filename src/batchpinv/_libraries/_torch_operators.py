"""`pinv` and `lstsq` of tensors that are differentiated, mapped or recorded.

Each exists twice. The operator is for compilers, tracers, transforms and modes: its autograd kernel
has forward and reverse mode, so recorded code has them, too. The autograd function is for all else,
and faster. Both share the computation and the formulas. A gradient of few small matrices that is
not differentiated again is computed by the engine, or by NumPy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, library
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad

from .. import _derivatives, _small
from .._arrays import ACCEPTED, check_matrices, check_sides
from .._options import Options, Result
from .._tolerance import broadcast_batch
from . import _numpy

PLAIN = (Tensor, torch.nn.Parameter)
# If a version of PyTorch lacks one of these, all tensors take the operators.
_transforms_active = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)
_count_modes = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 1)
_is_tracing = getattr(torch._C, "_is_tracing", lambda: True)
# Formulas of at most this many entries are computed by NumPy: in 0.55 to 1.1 of the time of one
# thread of PyTorch, for 1 to 25 matrices of 20x8. Larger ones may gain from PyTorch's threads.
_SMALL = 4096
_MOST_COMPILED = 32768  # see _small.pyx

_ARRAYS = "atol", "rtol", "rcond", "out", "weights", "damping"
# hermitian, lower, driver, workers, on_failure; for lstsq whether residuals are wanted
Settings = Any
_DEFAULTS: tuple[Settings, ...] = False, True, "auto", None, "raise"


def is_recorded() -> bool:
    """Whether operators may be recorded rather than run."""
    return torch.compiler.is_compiling() or _is_tracing() or _count_modes() > 0


def is_watched() -> bool:
    """Whether something may differentiate forwards, map or record what is done."""
    return is_recorded() or getattr(forward_ad, "_current_level", 0) >= 0 or _transforms_active()


def is_plain(*tensors: Tensor) -> bool:
    """Whether nothing differentiates, maps or records what is done to them."""
    return not is_watched() and all(
        type(a) in PLAIN
        and (a.is_cpu or a.is_cuda)
        and not (a.requires_grad and torch.is_grad_enabled())
        for a in tensors
    )


def read(given: Any, name: str) -> Any:
    """A tensor's memory as an ndarray; anything else as it is."""
    if not isinstance(given, Tensor):
        return given
    if given.dtype is torch.bfloat16:
        check_dtype(name, given)
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
    """The options with their tensors as ndarrays."""
    if all(getattr(options, name) is None for name in _ARRAYS):
        return options
    return options._replace(**{name: read(getattr(options, name), name) for name in _ARRAYS})


def as_tensor(part: Any) -> Tensor:
    """An ndarray or a number as a tensor on the CPU, whatever PyTorch's default device."""
    return torch.from_numpy(np.asarray(part))


def as_rungs(rung: Any) -> Tensor:
    return torch.from_numpy(np.asarray(rung, np.uint8))


def answer_plain(options: Options, *operands: Tensor) -> Result:
    """The results for plain tensors: `pinv` of one, or `lstsq` of two."""
    name = "pinv" if len(operands) == 1 else "lstsq"
    if operands[0].is_cuda:
        from ..cuda import _compute as cuda

        given = [each.detach().resolve_conj().resolve_neg() for each in operands]
        found: Result = getattr(cuda, name)(*given, options)
        rung = as_rungs(found.rung).to(operands[0].device) if options.wants_rung else None
        return found._replace(rung=rung)
    arrays = [read(each, at) for each, at in zip(operands, "ab", strict=False)]
    found = getattr(_numpy, name)(*arrays, with_arrays(options))
    return Result(
        torch.from_numpy(found.x),
        as_tensor(found.rank) if options.wants_rank else None,
        as_rungs(found.rung) if options.wants_rung else None,
        as_tensor(found.residuals) if options.wants_residuals else None,
        as_tensor(found.covariance) if options.wants_covariance else None,
        as_tensor(found.leverage) if options.wants_leverage else None,
    )


def pinv(a: Tensor, *settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """The pseudo-inverses, their ranks and rungs."""
    run = _choose(_pinv, _Pinv, a)
    if run is _pinv:  # the function checks while it computes
        check_call(a, None, *settings)
        run = _in_own_precision(run)  # `torch.func` computes tangents in this call
    found: tuple[Tensor, Tensor, Tensor] = run(a, *settings)
    return found


def lstsq(a: Tensor, b: Tensor, *settings: Settings) -> tuple[Tensor, ...]:
    """The solutions for the columns of b, ranks, rungs, and the squares of the residuals."""
    run = _choose(_lstsq, _Lstsq, a, b)
    if run is _lstsq:
        check_call(a, b, *settings)
        run = _in_own_precision(run)
    found: tuple[Tensor, ...] = run(a, b, *settings)
    return found


def _in_own_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without autocast, which would multiply with fewer digits."""

    def run(*arguments: Any) -> Any:
        if not (torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")):
            return function(*arguments)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*arguments)

    return run


def _choose(operator: Any, function: Any, *operands: Tensor) -> Any:
    """The operator if it may be recorded or transformed; else the function, which is faster."""
    if is_recorded() or _transforms_active():
        return operator
    if any(type(given) not in PLAIN or given.is_meta for given in operands):
        return operator
    return function.apply


# Answers.


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
    x, rank, rung, *_ = answer_plain(_options(atol, rtol, settings), a)
    return x, rank, rung


def _answer_lstsq(
    a: Tensor, b: Tensor, atol: Tensor | None, rtol: Tensor | None, *settings: Settings
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, rank, rung, residuals, *_ = answer_plain(_options(atol, rtol, settings), a, b)
    if residuals is None:
        residuals = x.new_empty((*x.shape[:-2], 0), dtype=x.dtype.to_real())
    return x, rank, rung, residuals


# Shapes.


def check_call(
    a: Tensor, b: Tensor | None, atol: Tensor | None, rtol: Tensor | None, *settings: Settings
) -> tuple[int, ...]:
    """The batch shape of the result. Raises the errors that the computation would raise."""
    check_dtype("a", a)
    check_matrices(tuple(a.shape))
    if b is not None:
        check_dtype("b", b)
        check_sides(tuple(a.shape), tuple(b.shape))
    _options(None, None, settings).check(tuple(a.shape))
    atol_shape, rtol_shape = (() if t is None else tuple(t.shape) for t in (atol, rtol))
    sides = () if b is None else tuple(b.shape[:-2])
    return broadcast_batch(tuple(a.shape[:-2]), atol_shape, rtol_shape, sides)


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


# Derivatives.


def _run(function: Callable[..., Any], compiled: Any, tensors: tuple[Tensor | None, ...]) -> Any:
    """The results of a formula, of few plain tensors by its compiled form, if that knows them, or
    by NumPy."""
    given = [tensor for tensor in tensors if tensor is not None]
    if given[0].numel() > _MOST_COMPILED or given[0].is_cuda or not is_plain(*given):
        return function(*tensors)
    try:
        arrays = [read(tensor, "a tensor") for tensor in tensors]
    except RuntimeError:  # from PyTorch's older vmap, which `is_grads_batched` uses
        return function(*tensors)
    found = compiled and compiled(*arrays)
    if found is None:
        if given[0].numel() > _SMALL:
            return function(*tensors)
        found = _derivatives.run_as_usual(function, *arrays)
    return tuple(map(as_tensor, found)) if isinstance(found, tuple) else as_tensor(found)


def _sum_to(a: Tensor, ga: Tensor) -> Tensor:
    """The gradient summed to the shape of `a`, which may have been broadcast."""
    return ga if ga.shape == a.shape else ga.sum_to_size(a.shape)


def _whole(a: Tensor, hermitian: bool, lower: bool) -> Tensor:
    """The whole matrix, made from the triangle that was read if it is Hermitian."""
    if not hermitian:
        return a
    strict = a.tril(-1) if lower else a.triu(1)
    diagonal = torch.diag_embed(a.diagonal(dim1=-2, dim2=-1).real)
    return strict + _derivatives.adjoint(strict) + diagonal


def _keep(ctx: Any, output: tuple[Tensor, ...], *tensors: Tensor | None) -> None:
    ctx.mark_non_differentiable(*output[1:3])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


def _keep_pinv(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, _, _, ctx.hermitian, ctx.lower, *_ = inputs
    _keep(ctx, output, a, output[0])


@_in_own_precision
def _pinv_backward(ctx: Any, gx: Tensor | None, *_: object) -> tuple[Tensor | None, ...]:
    a, x = ctx.saved_tensors
    ga = None
    if gx is not None and ctx.needs_input_grad[0]:
        whole = _whole(a, ctx.hermitian, ctx.lower)
        formula = functools.partial(_derivatives.vjp, hermitian=ctx.hermitian)
        compiled = None if ctx.hermitian else _small.pinv_vjp
        ga = _sum_to(a, _run(formula, compiled, (whole, x, gx)))
    return ga, *(None,) * 7


def _keep_lstsq(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, b, atol, rtol, *ctx.settings = inputs
    _keep(ctx, output, a, b, output[0], atol, rtol)


def _invert(ctx: Any, a: Tensor, atol: Tensor | None, rtol: Tensor | None) -> Tensor:
    if is_plain(a):
        plain = atol is None and tuple(ctx.settings[:-1]) == _DEFAULTS
        x = _small.pinv(read(a, "a"), read(rtol, "rtol"), None) if plain else None
        if x is not None:
            return torch.from_numpy(x)
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
    compiled = None if hermitian else _small.lstsq_vjp
    ga, gb = _run(formula, compiled, (_whole(a, hermitian, lower), inverse, b, x, gx, gr))
    return _sum_to(a, ga), _sum_to(b, gb), *(None,) * 8


# Vmap.


def _mapped(
    run: Callable[..., tuple[Tensor, ...]], cores: tuple[int, ...]
) -> Callable[..., tuple[tuple[Tensor, ...], tuple[int, ...]]]:
    """The rule of vmap: one more batch dimension, in front of all others. `cores` says how many
    dimensions each tensor argument has beside those of the batch."""

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


# Forward derivatives.


def _with_outer_tangents(jvp: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch runs a function's jvp with all tangents switched off, so forward mode over forward
    mode loses the second derivative (PyTorch's issue 197867). Here only those of this level are."""

    def run(ctx: Any, *tangents: Any) -> Any:
        saved = [
            t if t is None else forward_ad.unpack_dual(t, level=0).primal for t in ctx.saved_tensors
        ]
        with forward_ad._set_fwd_grad_enabled(True):
            return jvp(ctx, *saved, *tangents)

    return run


@_in_own_precision
@_with_outer_tangents
def _pinv_jvp(
    ctx: Any, a: Tensor, x: Tensor, da: Tensor | None, *_: object
) -> tuple[Tensor | None, None, None]:
    if da is None:
        return None, None, None
    a = _whole(a, ctx.hermitian, ctx.lower)
    return _derivatives.jvp(a, x, da, ctx.hermitian), None, None


@_in_own_precision
@_with_outer_tangents
def _lstsq_jvp(
    ctx: Any,
    a: Tensor,
    b: Tensor,
    x: Tensor,
    atol: Tensor | None,
    rtol: Tensor | None,
    da: Tensor | None,
    db: Tensor | None,
    *_: object,
) -> tuple[Tensor, None, None, Tensor]:
    hermitian, lower, _, _, _, wants_residuals = ctx.settings
    inverse = _invert(ctx, a, atol, rtol)
    whole = _whole(a, hermitian, lower)
    if da is not None and hermitian:
        da = _derivatives.hermitian_part(da)
    dx, dr = _derivatives.lstsq_jvp(whole, inverse, b, x, da, db)
    return dx, None, None, dr if wants_residuals else dr[..., :0]


# The functions, and the operators.


def make_function(
    answer: Callable[..., Any],
    keep: Callable[..., None],
    backward: Callable[..., Any],
    jvp: Callable[..., Any],
) -> Any:
    """The autograd function that answers, keeps what its derivatives need, and has these formulas.

    It has no `setup_context`: for that PyTorch would bind the arguments to a signature at each
    call, which takes half the time of one small matrix."""

    def forward(ctx: Any, *inputs: Any) -> Any:
        output = answer(*inputs)
        keep(ctx, inputs, output)
        return output

    formulas = {"forward": forward, "backward": backward, "jvp": jvp}
    name = answer.__name__.replace("_answer_", "").capitalize()
    methods = {method: staticmethod(formula) for method, formula in formulas.items()}
    return type(name, (torch.autograd.Function,), methods)


_Pinv = make_function(_answer_pinv, _keep_pinv, _pinv_backward, _pinv_jvp)
_Lstsq = make_function(_answer_lstsq, _keep_lstsq, _lstsq_backward, _lstsq_jvp)


def _make_recorder(
    keep: Callable[..., None], backward: Callable[..., Any], settings: tuple[Settings, ...]
) -> Any:
    """The autograd function for results that are there already: those of a few small tensors, by
    default options but rtol."""

    class Recorder(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Tensor:
            *operands, rtol, x = inputs
            if rtol is not None:
                rtol = torch.as_tensor(rtol, dtype=torch.float64, device="cpu")
            output = torch.from_numpy(x)
            keep(ctx, (*operands, None, rtol, *settings), (output,))
            return output

        @staticmethod
        def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
            operands = len(ctx.needs_input_grad) - 2
            return *backward(ctx, *grad_outputs, None, None, None)[:operands], None, None

    return Recorder


_RecordedPinv = _make_recorder(_keep_pinv, _pinv_backward, _DEFAULTS)
_RecordedLstsq = _make_recorder(_keep_lstsq, _lstsq_backward, (*_DEFAULTS, False))


def differentiable(x: NDArray[Any], rtol: Any, a: Tensor, b: Tensor | None = None) -> Tensor:
    """The pseudo-inverses or solutions x as a tensor that has derivatives."""
    if b is None:
        inverse: Tensor = _RecordedPinv.apply(a, rtol, x)
        return inverse
    if b.ndim == a.ndim:
        solution: Tensor = _RecordedLstsq.apply(a, b, rtol, x)
        return solution
    column: Tensor = _RecordedLstsq.apply(a, b[..., None], rtol, x[..., None])
    return column[..., 0]


def _make_kernel(operator: Any, function: Any, keep: Callable[..., None]) -> Callable[..., Any]:
    """The autograd kernel: records the formulas of `function` around the operator itself.

    The dispatcher calls it once for each level of `torch.func`, so it needs a function of a single
    level, which PyTorch must be told. Inside, derivatives stay on for the other levels."""

    class Recorded(torch.autograd.function._SingleLevelFunction):
        backward = function.backward
        jvp = function.jvp

        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            with (
                torch._C._AutoDispatchBelowAutograd(),
                torch.enable_grad(),
                forward_ad._set_fwd_grad_enabled(True),
            ):
                output = operator(*inputs)
            keep(ctx, inputs, output)
            return output

    recorded: Any = Recorded  # PyTorch's stubs do not declare its `apply`

    def kernel(*inputs: Any) -> Any:
        with enable_single_level_autograd_function():
            return recorded.apply(*inputs)

    return kernel


_SETTINGS = (
    "Tensor? atol, Tensor? rtol, bool hermitian, bool lower, str driver, SymInt? workers, "
    "str on_failure"
)
_LIBRARY = library.Library("batchpinv", "DEF")


def _define(
    schema: str,
    keys: tuple[str, ...],
    answer: Callable[..., Any],
    shapes: Callable[..., Any],
    function: Any,
    keep: Callable[..., None],
    cores: tuple[int, ...],
) -> Any:
    name = _LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    operator = getattr(torch.ops.batchpinv, name).default
    for key in keys:
        _LIBRARY.impl(name, answer, key)
    _LIBRARY.impl(name, _make_kernel(operator, function, keep), "Autograd")
    library.register_fake(operator, shapes, lib=_LIBRARY)
    library.register_vmap(operator, _mapped(operator, cores), lib=_LIBRARY)
    return operator


_pinv = _define(
    f"pinv(Tensor a, {_SETTINGS}) -> (Tensor, Tensor, Tensor)",
    ("CPU", "CUDA"),
    _answer_pinv,
    _pinv_shapes,
    _Pinv,
    _keep_pinv,
    (2, 0, 0),
)
_lstsq = _define(
    f"lstsq(Tensor a, Tensor b, {_SETTINGS}, bool residuals) -> (Tensor, Tensor, Tensor, Tensor)",
    ("CPU", "CUDA"),
    _answer_lstsq,
    _lstsq_shapes,
    _Lstsq,
    _keep_lstsq,
    (2, 2, 0, 0),
)
