"""Labelled arrays of xarray. Dimensions are matched by name and keep their coordinates; chunks of
Dask stay lazy.

`pinv` exchanges the last two dimensions. `lstsq` of `a` with dimensions (*, m, n) fits over the
dimension m of `b`. The other dimensions of `b` may come in any order; those that `a` does not have
are right-hand sides. The solution has n in the place of m.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod
from typing import Any

import numpy as np
import xarray as xr

from .._options import Options, Result
from . import find_library

_BY_MATRIX = "rcond", "atol", "rtol", "damping"

Dims = Sequence[Hashable]


def pinv(a: Any, options: Options) -> Result:
    if not isinstance(a, xr.DataArray):
        return find_library(a).pinv(a, options)
    if a.ndim < 2:
        return find_library(a.data).pinv(a.data, options)
    *batch, m, n = a.dims
    batch = [*_extra_dims(options, a), *batch]
    out = options.out
    if isinstance(out, xr.DataArray):
        if out.dims != (*batch, n, m):
            raise ValueError(f"out must have the dimensions {(*batch, n, m)}; got {out.dims}")
        options = options._replace(out=out.data)
    matrices = _order(a, [*batch, m, n]).data
    found = find_library(matrices).pinv(matrices, _read_options(options, a, batch))
    x = found.x if isinstance(out, xr.DataArray) else _label(found.x, (*batch, n, m), a)
    return Result(
        out if isinstance(out, xr.DataArray) else x,
        _label(found.rank, batch, a),
        _label(found.rung, batch, a),
    )


def lstsq(a: Any, b: Any, options: Options) -> Result:
    if not (isinstance(a, xr.DataArray) and isinstance(b, xr.DataArray)):  # no names to match
        a, b = (getattr(x, "data", x) if isinstance(x, xr.DataArray) else x for x in (a, b))
        return find_library(a, b).lstsq(a, b, options)
    if a.ndim < 2:
        return find_library(a.data).lstsq(a.data, b.data, options)
    if options.out is not None:
        raise TypeError("lstsq of labelled arrays takes no out; assign the result")
    *batch, m, n = a.dims
    batch = [*_extra_dims(options, a), *batch]
    if m not in b.dims or n in b.dims:
        raise ValueError(
            f"b must have the dimension {m!r} of a, and not {n!r}; it has {b.dims}, a has {a.dims}"
        )
    xr.align(a, b, join="exact", copy=False)
    sides = [dim for dim in b.dims if dim != m and dim not in batch]
    shape = tuple(b.sizes[dim] for dim in sides)
    columns = _order(b, [*batch, m, *sides]).data
    columns = columns.reshape((*columns.shape[: len(batch) + 1], prod(shape)))
    matrices = _order(a, [*batch, m, n]).data
    options = _read_options(options, a, batch)
    found = find_library(matrices, columns).lstsq(matrices, columns, options)

    def spread(part: Any, core: Dims) -> Any:
        """The part with the dimensions of b, and n in the place of m."""
        if part is None:
            return None
        part = part.reshape((*part.shape[:-1], *shape))
        dims = [n if dim == m else dim for dim in b.dims if dim != m or core]
        labelled = _label(part, (*batch, *core, *sides), a, b)
        return labelled.transpose(*(dim for dim in batch if dim not in dims), *dims)

    return Result(
        spread(found.x, [n]),
        _label(found.rank, batch, a),
        _label(found.rung, batch, a),
        spread(found.residuals, []),
        _label(found.covariance, _covariance_dims(options, batch, n), a),
        _label(found.leverage, (*batch, m), a, b),
    )


def _covariance_dims(options: Options, batch: Dims, n: Hashable) -> Dims:
    return (*batch, n) if options.wants_covariance == "diagonal" else (*batch, n, f"{n}_2")


def _extra_dims(options: Options, a: Any) -> list[Hashable]:
    """The batch dimensions that only the weights or the damping have."""
    given = (options.weights, options.damping)
    dims = [dim for part in given if isinstance(part, xr.DataArray) for dim in part.dims]
    return [dim for dim in dict.fromkeys(dims) if dim not in a.dims]


def _label(part: Any, dims: Dims, *operands: Any) -> Any:
    """As a DataArray, with the operands' coordinates along its dimensions."""
    if part is None or not hasattr(part, "ndim"):  # a number, of one matrix
        return part
    coords = {
        name: coord
        for operand in operands
        for name, coord in operand.coords.items()
        if set(coord.dims) <= set(dims)
    }
    return xr.DataArray(part, coords, dims)


def _order(array: Any, dims: Dims) -> Any:
    """The array with these dimensions in this order; missing ones get length 1."""
    missing = [dim for dim in dims if dim not in array.dims]
    return array.expand_dims(missing).transpose(*dims)


def _read_options(options: Options, a: Any, batch: Dims) -> Options:
    read = {}
    for name in (*_BY_MATRIX, "weights"):
        given = getattr(options, name)
        if given is not None and not isinstance(given, xr.DataArray):
            batched = np.ndim(given) - (name == "weights")
            if batched > len(batch):
                raise TypeError(
                    f"{name} of labelled arrays must be one, too, if it has more dimensions than "
                    f"they; got an array of shape {np.shape(given)}"
                )
        if isinstance(given, xr.DataArray):
            if name == "weights" and a.dims[-2] not in given.dims:
                raise ValueError(
                    f"weights must have the dimension {a.dims[-2]!r} of the rows of a; it has "
                    f"{given.dims}"
                )
            dims = [*batch, a.dims[-2]] if name == "weights" else list(batch)
            if not set(given.dims) <= set(dims):
                raise ValueError(f"{name} must have dimensions among {dims}; got {given.dims}")
            xr.align(a, given, join="exact", copy=False)
            read[name] = _order(given, dims).data
    return options._replace(**read)
