"""A typed caller: mypy must infer these types, and refuse what `refused` holds. It runs, too."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import batchpinv
from batchpinv import (
    Info,
    LinAlgError,
    Rung,
    get_workers,
    lstsq,
    pinv,
    pinv_jvp,
    pinv_vjp,
    set_workers,
    show_config,
)

Rank = int | NDArray[np.int64]

f4: NDArray[np.float32] = np.eye(3, dtype=np.float32)
f8: NDArray[np.float64] = np.ones((2, 3, 3))
c8: NDArray[np.complex64] = np.eye(3, dtype=np.complex64)
c16: NDArray[np.complex128] = np.eye(3, dtype=np.complex128)
i8: NDArray[np.int64] = np.eye(3, dtype=np.int64)

assert_type(pinv(f4), NDArray[np.float32])
assert_type(pinv(f8), NDArray[np.float64])
assert_type(pinv(c8), NDArray[np.complex64])
assert_type(pinv(c16), NDArray[np.complex128])
assert_type(pinv(i8), NDArray[Any])
assert_type(pinv([[1.0, 2.0], [3.0, 4.0]]), NDArray[Any])
assert_type(pinv(f4, 1e-3, True), NDArray[np.float32])
assert_type(pinv(f8, atol=1e-3, rtol=[0.0, 1e-6], hermitian=True, lower=False), NDArray[np.float64])
assert_type(pinv(f8, out=np.empty((2, 3, 3)), workers=2), NDArray[np.float64])
assert_type(pinv(f8, driver="svd", on_failure="nan", progress=False), NDArray[np.float64])
assert_type(pinv(f8, progress=lambda done, total: None), NDArray[np.float64])
assert_type(pinv(f8, return_rank=False), NDArray[np.float64])
assert_type(pinv(f4, return_rank=True), tuple[NDArray[np.float32], Rank])
assert_type(pinv(c16, hermitian=True, return_rank=True), tuple[NDArray[np.complex128], Rank])
assert_type(pinv([[1, 2]], return_rank=True), tuple[NDArray[Any], Rank])
assert_type(pinv(f8, return_info=True), tuple[NDArray[np.float64], Info])
assert_type(pinv([[1, 2]], return_info=True), tuple[NDArray[Any], Info])
assert_type(pinv(f8, return_info=True)[1].counts(), dict[Rung, int])

Residuals = float | NDArray[Any]
assert_type(lstsq(f4, f8), NDArray[Any])
assert_type(lstsq([[1.0, 2.0]], [3.0], 1e-3, return_rank=False), NDArray[Any])
assert_type(lstsq(f8, f8, return_rank=True), tuple[NDArray[Any], Rank])
assert_type(lstsq(f8, f8, hermitian=True, return_residuals=True), tuple[NDArray[Any], Residuals])
assert_type(
    lstsq(f8, f8, return_rank=True, return_residuals=True), tuple[NDArray[Any], Rank, Residuals]
)
assert_type(lstsq(f8, f8, return_info=True), tuple[NDArray[Any], Info])
assert_type(
    lstsq(f8, f8, return_info=True, return_residuals=True), tuple[NDArray[Any], Info, Residuals]
)


def either(wanted: bool) -> NDArray[Any] | tuple[NDArray[Any], Rank]:
    return assert_type(
        pinv(f8, return_rank=wanted), NDArray[Any] | tuple[NDArray[Any], Rank]
    )  # fmt: skip


AnyResults = (
    NDArray[Any]
    | tuple[NDArray[Any], Rank]
    | tuple[NDArray[Any], Residuals]
    | tuple[NDArray[Any], Rank, Residuals]
)


def either_of_lstsq(wanted: bool) -> None:
    assert_type(
        lstsq(f8, f8, return_residuals=wanted), NDArray[Any] | tuple[NDArray[Any], Residuals]
    )
    assert_type(lstsq(f8, f8, return_rank=wanted), AnyResults)
    assert_type(lstsq(f8, f8, return_rank=wanted, return_residuals=wanted), AnyResults)


assert_type(get_workers(), int)
assert_type(show_config(), None)
assert_type(show_config("dicts"), dict[str, Any])
assert_type(batchpinv.__version__, str)

with set_workers(np.int64(2)):
    pinv(f8)


@set_workers(1)
def decorated(a: NDArray[np.float64]) -> NDArray[np.float64]:
    return pinv(a)


assert_type(decorated(f8), NDArray[np.float64])
try:
    pinv(np.full((3, 2, 2), np.nan))
except LinAlgError as error:
    assert_type(error.indices, tuple[NDArray[np.intp], ...])
    assert_type(error.count, int)
    linalg_error: np.linalg.LinAlgError = error


class Tensor:
    """The part of another library's array that the types look at."""

    requires_grad = False


def with_another_library(a: Tensor) -> None:
    assert_type(pinv(a, rtol=a, out=a), Tensor)
    assert_type(pinv(a, return_rank=True), tuple[Tensor, Tensor])
    assert_type(pinv(a, return_info=True), tuple[Tensor, Info])
    assert_type(lstsq(a, a, rtol=a, out=a), Tensor)
    assert_type(lstsq(a, a, return_rank=True), tuple[Tensor, Tensor])
    assert_type(lstsq(a, a, return_residuals=True, return_rank=True), tuple[Tensor, Tensor, Tensor])


class Lazy:
    """The same for Dask."""

    def compute_chunk_sizes(self) -> "Lazy":
        return self


def with_chunks(a: Lazy) -> None:
    assert_type(pinv(a), Lazy)
    assert_type(pinv(a, rtol=a, return_rank=True), tuple[Lazy, Lazy])
    assert_type(lstsq(a, a, return_residuals=True), tuple[Lazy, Lazy])


class Labelled:
    """The same for xarray."""

    def broadcast_like(self, other: Any) -> "Labelled":
        return self


def with_labels(a: Labelled) -> None:
    assert_type(pinv(a), Labelled)
    assert_type(lstsq(a, a, return_rank=True), tuple[Labelled, Labelled])


assert_type(pinv_jvp(f8, f8, f8), NDArray[Any])
assert_type(pinv_vjp(f8, f8, f8, hermitian=True), NDArray[Any])


def refused() -> None:
    pinv(f8, driver="gesdd")  # type: ignore[call-overload]
    pinv(f8, on_failure="ignore")  # type: ignore[call-overload]
    pinv(f8, None, False, 1e-3)  # type: ignore[call-overload]
    pinv(f8, workers="all")  # type: ignore[call-overload]
    pinv(f8, tol=1e-3)  # type: ignore[call-overload]
    pinv(f8, return_rank=True, return_info=True)  # type: ignore[call-overload]
    pinv(f8, progress="yes")  # type: ignore[call-overload]
    lstsq(f8)  # type: ignore[call-overload]
    lstsq(f8, f8, driver="gelsd")  # type: ignore[call-overload]
    show_config("json")  # type: ignore[call-overload]
    set_workers("all")  # type: ignore[arg-type]
