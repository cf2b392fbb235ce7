"""PyTorch's tensors, on the CPU and on CUDA. A plain one, which nothing differentiates, maps or
records, is read and written in place; all others take the operators of `_torch_operators`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _small
from .._arrays import check_matrices, check_sides
from .._options import Options, Result
from .._tolerance import read_tolerance
from .._workers import resolve_workers
from . import _torch_operators
from ._torch_operators import PLAIN, answer_plain, check_dtype, is_plain, is_recorded, is_watched


def pinv(a: Any, options: Options) -> Result:
    if (x := _answer_at_once(options, _small.pinv, a)) is not None:
        return Result(x)
    (a,) = _as_tensors(a=a)
    _check("a", a, cuda=True)
    _check_tolerances(options, a)
    weights = _check_weights(options, a)
    if options.out is not None:
        return _into(options, a)
    if is_plain(a, *weights):
        return answer_plain(options, a)
    if options.is_weighted:
        from . import _torch_weighted

        return _wanted(options, _torch_weighted.pinv(a, options, _settings(options)))
    return _wanted(options, Result(*_torch_operators.pinv(a, *_settings(options))))


def lstsq(a: Any, b: Any, options: Options) -> Result:
    if (x := _answer_at_once(options, _small.lstsq, a, b)) is not None:
        return Result(x)
    a, b = _as_tensors(a=a, b=b)
    _check("a", a, cuda=True)
    _check("b", b, cuda=True)
    _check_tolerances(options, a)
    weights = _check_weights(options, a)
    _check_device("b", b, a)
    if options.out is not None:
        return _into(options, a, b)
    if is_plain(a, b, *weights):
        return answer_plain(options, a, b)
    return _watched_lstsq(a, b, options)


def _answer_at_once(options: Options, small: Any, *operands: Any) -> Tensor | None:
    """The answer if `_small` knows the options and the tensors, and the tensors are neither mapped
    nor recorded; else None."""
    if options.out is not None or options.wants_rank or not options.is_plain() or is_watched():
        return None
    records = False
    arrays = []
    for given in operands:
        if type(given) not in PLAIN:
            return None
        if given.requires_grad:
            records = torch.is_grad_enabled()
            given = given.detach()
        try:
            arrays.append(given.numpy())
        except (RuntimeError, TypeError):  # of a dtype, layout or device that NumPy lacks, or lazy
            return None
    if records and options.hermitian:
        return None
    x = small(*arrays, *options[:4])
    if x is None:
        return None
    if records:
        return _torch_operators.differentiable(x, options.rtol, *operands)
    return torch.from_numpy(x)


def _watched_lstsq(a: Tensor, b: Tensor, options: Options) -> Result:
    settings = _settings(options)
    check_dtype("a", a)
    check_matrices(tuple(a.shape))
    check_dtype("b", b)
    weights_shape = None if options.weights is None else tuple(np.shape(options.weights))
    is_vector = check_sides(tuple(a.shape), tuple(b.shape), weights_shape)
    sides = b[..., None] if is_vector else b
    dtype = torch.promote_types(_computed(a.dtype), _computed(b.dtype))
    a, sides = a.to(dtype), sides.to(dtype)
    if options.is_weighted:
        from . import _torch_weighted

        found = _torch_weighted.lstsq(a, sides, options, settings)
    else:
        found = Result(*_torch_operators.lstsq(a, sides, *settings, options.wants_residuals))
    found = _wanted(options, found)
    if not is_vector:
        return found
    residuals = found.residuals[..., 0] if options.wants_residuals else None
    return found._replace(x=found.x[..., 0], residuals=residuals)


def _wanted(options: Options, found: Result) -> Result:
    wanted = (
        True,
        options.wants_rank,
        options.wants_rung,
        options.wants_residuals,
        options.wants_covariance,
        options.wants_leverage,
    )
    return Result(*(part if wants else None for part, wants in zip(found, wanted, strict=True)))


def _as_tensors(**operands: Any) -> Iterator[Tensor]:
    """New tensors are put on the device of those that are there, not on PyTorch's default."""
    for name, given in operands.items():
        if hasattr(given, "__dask_graph__"):
            raise TypeError(
                f"{name} is an array of Dask, and another operand is a tensor of PyTorch: "
                f"give {name}.compute(), or make all arrays of Dask"
            )
    devices = (given.device for given in operands.values() if isinstance(given, Tensor))
    device = next(devices, "cpu")
    return (
        given if isinstance(given, Tensor) else torch.as_tensor(given, device=device)
        for given in operands.values()
    )


def _computed(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype.is_floating_point or dtype.is_complex else torch.float64


def _settings(options: Options) -> tuple[Any, ...]:
    """The arguments of the operators beside matrices."""
    if options.rcond is not None and options.rtol is not None:
        raise ValueError("rcond is the old name of rtol: give one of them, not both")
    if options.progress:
        raise ValueError("progress cannot be reported under a gradient, a transform or a compiler")
    if options.workers is not None and not torch.compiler.is_compiling():
        resolve_workers(options.workers)
    name = "rtol" if options.rcond is None else "rcond"
    return (
        _as_tolerance("atol", options.atol),
        _as_tolerance(name, getattr(options, name)),
        options.hermitian,
        options.lower,
        options.driver,
        options.workers,
        options.on_failure,
    )


def _as_tolerance(name: str, tolerance: Any) -> Tensor | None:
    if tolerance is None or isinstance(tolerance, Tensor):
        return tolerance
    if not torch.compiler.is_compiling():
        read_tolerance(name, tolerance)
    return torch.as_tensor(tolerance, dtype=torch.float64, device="cpu")


def _check_tolerances(options: Options, a: Tensor) -> None:
    for name in ("atol", "rtol", "rcond"):
        given = getattr(options, name)
        if isinstance(given, Tensor):
            _check(name, given, cuda=a.is_cuda)
            if not given.is_cpu:  # on the CPU it goes with every matrix, as a number does
                _check_device(name, given, a)
            if given.requires_grad:
                raise ValueError(
                    f"there is no derivative with respect to {name}; give {name}.detach()"
                )


def _check_weights(options: Options, a: Tensor) -> list[Tensor]:
    """The weights and the damping, if they are tensors."""
    if options.is_weighted and a.is_cuda:
        raise TypeError(
            "weights, damping and covariances are computed on the CPU, and a is on the device "
            f"{a.device}: give a.cpu()"
        )
    given = {"weights": options.weights, "damping": options.damping}
    tensors = {name: part for name, part in given.items() if isinstance(part, Tensor)}
    for name, part in tensors.items():
        _check(name, part)
    return list(tensors.values())


def _check(name: str, given: Tensor, cuda: bool = False) -> None:
    if given.device.type not in ("cpu", "meta") and not (cuda and given.is_cuda):
        raise TypeError(
            f"{name} is on the device {given.device}; batchpinv does not compute there: "
            f"give {name}.cpu()"
        )
    if given.is_nested:
        raise TypeError(f"{name} is a nested tensor: give {name}.to_padded_tensor(0), or its parts")
    if given.layout is not torch.strided:
        raise TypeError(f"{name} has the layout {given.layout}; give {name}.to_dense()")


def _check_device(name: str, given: Tensor, a: Tensor) -> None:
    if given.device != a.device:
        raise ValueError(
            f"{name} is on the device {given.device}, but a is on {a.device}: move one to the other"
        )


def _check_out(out: Any, *operands: Tensor) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"out must be a torch.Tensor, as a is; got {type(out).__name__}")
    _check("out", out, cuda=operands[0].is_cuda)
    _check_device("out", out, operands[0])
    if torch.is_grad_enabled() and any(given.requires_grad for given in (out, *operands)):
        raise ValueError("out= supports no automatic differentiation, but a tensor requires grad")
    if is_recorded():
        raise ValueError("out= cannot be recorded by a compiler or a mode of PyTorch")
    if out.is_conj() or out.is_neg():
        raise ValueError("out is a lazy conjugate or negative; give a plain tensor")


def _into(options: Options, *operands: Tensor) -> Result:
    out = options.out
    _check_out(out, *operands, *_check_weights(options, operands[0]))
    try:
        return answer_plain(options._replace(out=out.detach()), *operands)._replace(x=out)
    finally:
        _note_change(out)


def _note_change(out: Tensor) -> None:
    """Tell autograd, after failures too, that what it saved of `out` is no longer valid."""
    if not out.is_inference():
        torch.autograd.graph.increment_version(out)
